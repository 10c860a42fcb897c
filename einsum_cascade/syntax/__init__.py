"""Parser: the text of a cascade file to the IR."""
