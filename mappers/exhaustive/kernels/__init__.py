"""What is compiled: measures of tilings, and the branch and bound over choices."""
