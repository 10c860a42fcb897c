"""A product whose points a mask lets through, to be written in for ``MASK``."""

CASCADE = """
cascade: masked-product
ranks: {P: queries, M: keys, E: width}
inputs: {Q: [P, E], K: [M, E]}
output: S
einsums: |
  S[p, m] = Q[p, e] * K[m, e] where MASK
"""
