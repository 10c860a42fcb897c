"""Parser from the text of a cascade file to the intermediate representation."""
