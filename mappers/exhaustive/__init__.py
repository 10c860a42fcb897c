"""Exhaustive search: branch and bound over a mapspace, with a certificate."""
