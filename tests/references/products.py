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

TWO_LAYERS = """
cascade: two-layers
ranks: [M, K, H, N]
inputs: {X: [M, K], W: [K, H], V: [H, N]}
output: Z
einsums: |
  Y[m, h] = X[m, k] * W[k, h]
  S[h] = Y[m, h]
  R[m, h] = Y[m, h] * S[h]
  Z[m, n] = R[m, h] * V[h, n]
"""
"""Two products, the second of what the first made times its sums: two nests may be better."""
