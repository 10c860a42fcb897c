"""Expressions of a cascade as algebra: terms, conditions, and what sympy says of them."""
