"""Step programs and the order in which resources issue tasks."""
