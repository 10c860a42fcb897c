"""Energy and area: prices of a technology, and the charges of a run."""
