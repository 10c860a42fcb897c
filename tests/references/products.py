"""The smallest cascade there is something to spread of: a product of matrices."""

from __future__ import annotations

PRODUCT = """
cascade: product
ranks: {M: rows, N: columns, K: summed}
inputs: {A: [M, K], B: [K, N]}
output: C
einsums: |
  C[m, n] = A[m, k] * B[k, n]
"""
