"""Search problem and search result: objective, constraints, incumbents, certificate."""
