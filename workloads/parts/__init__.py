"""Parts that run: the attention, the layers or a model as cascades with shapes."""
