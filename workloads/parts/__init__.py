"""What runs: attention, a layer or a model taken apart into cascades on shapes."""
