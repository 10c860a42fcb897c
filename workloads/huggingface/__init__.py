"""Readers of Hugging Face configurations."""
