"""Mappings for any cascade that keep what Einsums hand on in the inner memories."""
