"""What a simulation returns, and how it shows itself."""
