"""Is a program well formed? Every problem of a file, at once."""
