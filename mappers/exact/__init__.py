"""Exact search of a mapspace: branch and bound, with a certificate."""
