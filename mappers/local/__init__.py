"""Local search: small changes of the best mapping found."""
