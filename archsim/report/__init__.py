"""What analyses, validations and lists say to a person."""
