"""Running mapped cascades on numbers, and comparing them with references."""
