"""Results, cascades and comparisons as text, tables and pictures."""
