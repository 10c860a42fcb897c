"""Parts that run: an attention, the layers or a model, as cascades with shapes."""
