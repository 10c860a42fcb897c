"""Cascades with known passes: the reference list, then normalisations, losses, scans.

``CASES`` holds YAML text by name; ``PASSES`` what is expected, derived by hand from the
definition (the reason stands beside each).
"""

from __future__ import annotations


def cascade(
    body: str, ranks: str, inputs: str, output: str, init: str = "", extra: str = ""
) -> str:
    """YAML text of a cascade from its parts."""
    start = f"init: {init}\n" if init else ""
    lines = "\n".join("  " + line.strip() for line in body.strip().splitlines())
    head = f"cascade: case\nranks: {{{ranks}}}\ninputs: {{{inputs}}}\noutput: {output}\n"
    return f"{head}{extra}{start}einsums: |\n{lines}\n"


ATTENTION = "E: width, F: value width, P: queries, M: keys"
TILED = "E: width, F: value width, P: queries, M: {is: keys, partition: [M1, M0]}"
QKV = "Q: [P, E], K: [M, E], V: [M, F]"
ROWS = "N: tokens, D: features"


def attention(body: str, output: str = "AV", ranks: str = ATTENTION) -> str:
    """A cascade over Q, K and V."""
    return cascade(body, ranks, QKV, output)


CASES: dict[str, str] = {
    # -- Nayak et al., Cascades 1 to 3
    "two-pass": cascade("Y = A[k] * B[k]\nZ = Y * A[k]", "K: k", "A: [K], B: [K]", "Z"),
    "deferred": cascade("Y = A[k] * B[k]\nX = A[k]\nZ = X * Y", "K: k", "A: [K], B: [K]", "Z"),
    "iterative": cascade(
        """RY[k+1] = RY[k] + A[k] * B[k]
        RZ[k+1] = RZ[k] * RY[k+1] / RY[k] + RY[k+1] * A[k]
        Z = RZ[K] * 1""",
        "K: k",
        "A: [K], B: [K]",
        "Z",
        init='"RY[0] = 1; RZ[0] = 0"',
    ),
    # -- attention over the keys
    "naive": attention(
        """QK[m, p] = Q[p, e] * K[m, e]
        SN[m, p] = exp(QK[m, p])
        SD[p] = SN[m, p]
        A[m, p] = SN[m, p] / SD[p]
        AV[p, f] = A[m, p] * V[m, f]"""
    ),
    "naive-deferred": attention(
        """QK[m, p] = Q[p, e] * K[m, e]
        SN[m, p] = exp(QK[m, p])
        SD[p] = SN[m, p]
        SNV[p, f] = SN[m, p] * V[m, f]
        AV[p, f] = SNV[p, f] / SD[p]"""
    ),
    "three-pass": attention(
        """QK[m, p] = Q[p, e] * K[m, e]
        GM[p] = QK[m, p] :: max[m]
        SN[m, p] = exp(QK[m, p] - GM[p])
        SD[p] = SN[m, p]
        A[m, p] = SN[m, p] / SD[p]
        AV[p, f] = A[m, p] * V[m, f]"""
    ),
    "three-pass-causal": attention(
        """QK[m, p] = Q[p, e] * K[m, e] where m <= p
        GM[p] = QK[m, p] :: max[m] where m <= p
        SN[m, p] = exp(QK[m, p] - GM[p]) where m <= p
        SD[p] = SN[m, p] where m <= p
        A[m, p] = SN[m, p] / SD[p] where m <= p
        AV[p, f] = A[m, p] * V[m, f] where m <= p"""
    ),
    "three-pass-window": cascade(
        """QK[m, p] = Q[p, e] * K[m, e] where m <= p and p - W < m
        GM[p] = QK[m, p] :: max[m] where m <= p and p - W < m
        SN[m, p] = exp(QK[m, p] - GM[p]) where m <= p and p - W < m
        SD[p] = SN[m, p] where m <= p and p - W < m
        A[m, p] = SN[m, p] / SD[p] where m <= p and p - W < m
        AV[p, f] = A[m, p] * V[m, f] * G[w] where m <= p and p - W < m""",
        ATTENTION + ", W: window",
        QKV + ", G: [W]",
        "AV",
    ),
    "three-pass-deferred": attention(
        """QK[m, p] = Q[p, e] * K[m, e]
        GM[p] = QK[m, p] :: max[m]
        SN[m, p] = exp(QK[m, p] - GM[p])
        SD[p] = SN[m, p]
        SNV[p, f] = SN[m, p] * V[m, f]
        AV[p, f] = SNV[p, f] / SD[p]"""
    ),
    "local-maxima": attention(
        """BQK[m1, m0, p] = Q[p, e] * K[m1*M0 + m0, e]
        LM[m1, p] = BQK[m1, m0, p] :: max[m0]
        SLN[m1, m0, p] = exp(BQK[m1, m0, p] - LM[m1, p])
        SLD[m1, p] = SLN[m1, m0, p]
        GM[p] = LM[m1, p] :: max[m1]
        PLM[m1, p] = exp(LM[m1, p] - GM[p])
        SD[p] = SLD[m1, p] * PLM[m1, p]
        A[m1, m0, p] = SLN[m1, m0, p] * PLM[m1, p] / SD[p]
        AV[p, f] = A[m1, m0, p] * V[m1*M0 + m0, f]""",
        ranks=TILED,
    ),
    "split-keys": attention(
        """BQK[m1, m0, p] = Q[p, e] * K[m1*M0 + m0, e]
        LM[m1, p] = BQK[m1, m0, p] :: max[m0]
        SLN[m1, m0, p] = exp(BQK[m1, m0, p] - LM[m1, p])
        SLD[m1, p] = SLN[m1, m0, p]
        SLNV[m1, p, f] = SLN[m1, m0, p] * V[m1*M0 + m0, f]
        GM[p] = LM[m1, p] :: max[m1]
        PLM[m1, p] = exp(LM[m1, p] - GM[p])
        SD[p] = SLD[m1, p] * PLM[m1, p]
        SNV[p, f] = SLNV[m1, p, f] * PLM[m1, p]
        AV[p, f] = SNV[p, f] / SD[p]""",
        ranks=TILED,
    ),
    "online": cascade(
        """BQK[m1, m0, p] = Q[p, e] * K[m1*M0 + m0, e]
        LM[m1, p] = BQK[m1, m0, p] :: max[m0]
        RM[m1+1, p] = max(RM[m1, p], LM[m1, p])
        SLN[m1, m0, p] = exp(BQK[m1, m0, p] - RM[m1+1, p])
        SLD[m1, p] = SLN[m1, m0, p]
        SLNV[m1, p, f] = SLN[m1, m0, p] * V[m1*M0 + m0, f]
        PRM[m1, p] = exp(RM[m1, p] - RM[m1+1, p])
        SPD[m1, p] = RD[m1, p] * PRM[m1, p]
        RD[m1+1, p] = SLD[m1, p] + SPD[m1, p]
        SPNV[m1, p, f] = RNV[m1, p, f] * PRM[m1, p]
        RNV[m1+1, p, f] = SLNV[m1, p, f] + SPNV[m1, p, f]
        AV[p, f] = RNV[M1, p, f] / RD[M1, p]""",
        TILED,
        QKV,
        "AV",
        init='"RM[0, p] = -inf; RD[0, p] = 0; RNV[0, p, f] = 0"',
    ),
    "three-members": cascade(
        """L2[m2, m1] = X[m2*M1*M0 + m1*M0 + m0] :: max[m0]
        L1[m2] = L2[m2, m1] :: max[m1]
        Y[m2, m1, m0] = X[m2*M1*M0 + m1*M0 + m0] - L1[m2]
        S[m2] = Y[m2, m1, m0]
        T = S[m2]
        Z[m2, m1, m0] = Y[m2, m1, m0] / T""",
        "M: {is: elements, partition: [M2, M1, M0]}",
        "X: [M]",
        "Z",
    ),
    "squared-relu": attention(
        """QK[m, p] = Q[p, e] * K[m, e]
        R[m, p] = relu(QK[m, p]) ** 2
        AV[p, f] = R[m, p] * V[m, f]"""
    ),
    "squared-relu-normalised": attention(
        """QK[m, p] = Q[p, e] * K[m, e]
        R[m, p] = relu(QK[m, p]) ** 2
        D[p] = R[m, p]
        A[m, p] = R[m, p] / D[p]
        AV[p, f] = A[m, p] * V[m, f]"""
    ),
    "sum-temperature": attention(
        """QK[m, p] = Q[p, e] * K[m, e]
        T[p] = QK[m, p] * QK[m, p]
        S[m, p] = QK[m, p] / T[p]
        GM[p] = S[m, p] :: max[m]
        SN[m, p] = exp(S[m, p] - GM[p])
        SD[p] = SN[m, p]
        A[m, p] = SN[m, p] / SD[p]
        AV[p, f] = A[m, p] * V[m, f]"""
    ),
    "reversed": cascade(
        """S[i, j] = Q[j, e] * K[i, e]
        L[j] = S[i, j] :: max[i]
        X[i, j] = exp(S[i, j] - L[j])
        D[j] = X[i, j]
        Y[i, f] = X[i, j] * V[j, f] / D[j]""",
        "I: receivers, J: senders, E: width, F: value width",
        "Q: [J, E], K: [I, E], V: [J, F]",
        "Y",
    ),
    "top-k": cascade(
        """S[p, m] = Q[p, e] * K[m, e]
        IDX[p, j] << topk(S[p, m], j)
        SJ[p, j] = Q[p, e] * K[IDX[p, j], e]
        GM[p] = SJ[p, j] :: max[j]
        SN[p, j] = exp(SJ[p, j] - GM[p])
        SD[p] = SN[p, j]
        SNV[p, f] = SN[p, j] * V[IDX[p, j], f]
        AV[p, f] = SNV[p, f] / SD[p]""",
        ATTENTION + ", J: kept",
        QKV,
        "AV",
    ),
    # -- the linear family
    "linear": cascade(
        """KV[e, f] = K[m, e] * V[m, f]
        Z[e] = K[m, e]
        N[p, f] = Q[p, e] * KV[e, f]
        D[p] = Q[p, e] * Z[e]
        O[p, f] = N[p, f] / D[p]""",
        ATTENTION,
        QKV,
        "O",
    ),
    "linear-causal": cascade(
        """W[p, m] = Q[p, e] * K[m, e] where m <= p
        D[p] = W[p, m] where m <= p
        N[p, f] = W[p, m] * V[m, f] where m <= p
        O[p, f] = N[p, f] / D[p]""",
        ATTENTION,
        QKV,
        "O",
    ),
    "retnet": cascade(
        """S[t+1, a, f] = gamma * S[t, a, f] + K[t, a] * V[t, f]
        O[t, f] = Q[t, a] * S[t+1, a, f]""",
        "T: tokens, A: width, F: value width",
        "Q: [T, A], K: [T, A], V: [T, F]",
        "O",
        init='"S[0, a, f] = 0"',
        extra="parameters: [gamma]\n",
    ),
    "lightning-chunks": cascade(
        """QK[c, r, s] = Q[c, r, a] * K[c, s, a] where s <= r
        OI[c, r, f] = QK[c, r, s] * V[c, s, f] where s <= r
        OX[c, r, f] = Q[c, r, a] * KV[c, a, f]
        O[c, r, f] = OI[c, r, f] + OX[c, r, f]
        DKV[c, a, f] = KV[c, a, f] * lam
        SKV[c, a, f] = K[c, s, a] * V[c, s, f]
        KV[c+1, a, f] = DKV[c, a, f] + SKV[c, a, f]""",
        "C: chunks, R: rows, S: columns, A: width, F: value width",
        "Q: [C, R, A], K: [C, S, A], V: [C, S, F]",
        "O",
        init='"KV[0, a, f] = 0"',
        extra="parameters: [lam]\n",
    ),
    "ssd": cascade(
        """H[t+1, n, p] = exp(A[t]) * H[t, n, p] + B[t, n] * X[t, p]
        Y[t, p] = C[t, n] * H[t+1, n, p]""",
        "T: tokens, N: state, P: width",
        "A: [T], B: [T, N], C: [T, N], X: [T, P]",
        "Y",
        init='"H[0, n, p] = 0"',
    ),
    "delta-rule": cascade(
        """U[t, f] = K[t, a] * S[t, a, f]
        D[t, f] = V[t, f] - U[t, f]
        S[t+1, a, f] = S[t, a, f] + K[t, a] * D[t, f]
        O[t, f] = Q[t, a] * S[t+1, a, f]""",
        "T: tokens, A: width, F: value width",
        "Q: [T, A], K: [T, A], V: [T, F]",
        "O",
        init='"S[0, a, f] = 0"',
    ),
    # -- normalisations and losses
    "rms-norm": cascade(
        """SS[n] = X[n, d] * X[n, d]
        Y[n, d] = X[n, d] * rsqrt(SS[n] / D) * G[d]""",
        ROWS,
        "X: [N, D], G: [D]",
        "Y",
    ),
    "layer-norm": cascade(
        """MU[n] = X[n, d] / D
        C[n, d] = X[n, d] - MU[n]
        VAR[n] = C[n, d] * C[n, d] / D
        Y[n, d] = C[n, d] * rsqrt(VAR[n])""",
        ROWS,
        "X: [N, D]",
        "Y",
    ),
    "layer-norm-moments": cascade(
        """S1[n] = X[n, d]
        S2[n] = X[n, d] * X[n, d]
        MU[n] = S1[n] / D
        VAR[n] = S2[n] / D - MU[n] * MU[n]
        Y[n, d] = (X[n, d] - MU[n]) * rsqrt(VAR[n])""",
        ROWS,
        "X: [N, D]",
        "Y",
    ),
    "cross-entropy": cascade(
        """GM[n] = X[n, v] :: max[v]
        SN[n, v] = exp(X[n, v] - GM[n])
        SD[n] = SN[n, v]
        LOSS[n] = log(SD[n]) + GM[n] - X[n, T[n]]""",
        "N: tokens, V: vocabulary",
        "X: [N, V], T: [N]",
        "LOSS",
    ),
    "log-softmax": cascade(
        """GM[n] = X[n, v] :: max[v]
        SN[n, v] = exp(X[n, v] - GM[n])
        SD[n] = SN[n, v]
        Y[n, v] = X[n, v] - GM[n] - log(SD[n])""",
        "N: tokens, V: vocabulary",
        "X: [N, V]",
        "Y",
    ),
    "min-max": cascade(
        """LO = X[n] :: min[n]
        HI = X[n] :: max[n]
        Y[n] = (X[n] - LO) / (HI - LO)""",
        "N: elements",
        "X: [N]",
        "Y",
    ),
    # -- running statistics and scans
    "running-mean": cascade(
        "S[t+1] = S[t] + X[t]\nY[t] = S[t+1] / (t + 1)", "T: t", "X: [T]", "Y", init='"S[0] = 0"'
    ),
    "welford": cascade(
        """MU[t+1] = MU[t] + (X[t] - MU[t]) / (t + 1)
        M2[t+1] = M2[t] + (X[t] - MU[t]) * (X[t] - MU[t+1])
        V = M2[T] / T""",
        "T: t",
        "X: [T]",
        "V",
        init='"MU[0] = 0; M2[0] = 0"',
    ),
    "divide-by-total": cascade(
        "S[t+1] = S[t] + X[t]\nY[t] = X[t] / S[T]", "T: t", "X: [T]", "Y", init='"S[0] = 0"'
    ),
    "prefix-over-total": cascade(
        "S[t+1] = S[t] + X[t]\nY[t] = S[t+1] / S[T]", "T: t", "X: [T]", "Y", init='"S[0] = 0"'
    ),
    "reverse-scan": cascade(
        "R[t+1] = R[t] + X[T-1-t]\nY[t] = X[t] * R[T-t]", "T: t", "X: [T]", "Y", init='"R[0] = 0"'
    ),
    "both-ways": cascade(
        """S[t+1] = S[t] + X[t]
        R[t+1] = R[t] + X[T-1-t]
        Y[t] = S[t+1] * R[T-t]""",
        "T: t",
        "X: [T]",
        "Y",
        init='"S[0] = 0; R[0] = 0"',
    ),
    "both-ways-apart": cascade(
        """S[t+1] = S[t] + X[t]
        R[t+1] = R[t] + X[T-1-t]
        Y[t] = S[t+1] * 2
        Z[t] = R[t+1] * 2""",
        "T: t",
        "X: [T]",
        "[Y, Z]",
        init='"S[0] = 0; R[0] = 0"',
    ),
    # -- the edges of the definition
    "other-tensor": cascade("Y = A[k]\nZ = Y * B[k]", "K: k", "A: [K], B: [K]", "Z"),
    "one-tensor-then-another": cascade(
        """Y = A[k]
        X = Y * A[k]
        Z = X * B[k]
        W = Z * B[k]""",
        "K: k",
        "A: [K], B: [K]",
        "W",
    ),
    "other-tensor-between": cascade(
        """Y = A[k]
        Z = Y * B[k]
        X[k] = B[k] * Z
        W = X[k] * A[k]""",
        "K: k",
        "A: [K], B: [K]",
        "W",
    ),
    "fresh-rank": cascade("Y = A[k]\nZ[k] = Y * k", "K: k", "A: [K]", "Z"),
    "minus-first": cascade("B[k] = 2 * A[k]\nF = B[0] * 1\nZ[k] = B[k] - F", "K: k", "A: [K]", "Z"),
    "minus-last": cascade(
        "B[k] = 2 * A[k]\nF = B[K-1] * 1\nZ[k] = B[k] - F", "K: k", "A: [K]", "Z"
    ),
    "convolution": cascade(
        """Y[t] = X[t+s] * W[s] where t + s < T
        Z[t] = Y[t] * X[t]""",
        "T: t, S: taps",
        "X: [T], W: [S]",
        "Z",
    ),
    "rows-then-columns": cascade(
        """G[m] = S[m, p] :: max[p]
        T[m, p] = S[m, p] - G[m]
        H[p] = T[m, p] :: max[m]
        U[m, p] = T[m, p] - H[p]""",
        "M: rows, P: columns",
        "S: [M, P]",
        "U",
    ),
    "whole-matrix": cascade(
        "G = S[m, p] :: max[m, p]\nU[m, p] = S[m, p] - G", "M: rows, P: columns", "S: [M, P]", "U"
    ),
}

PASSES: dict[str, dict[str, int]] = {
    "two-pass": {"K": 2},
    "deferred": {"K": 1},
    "iterative": {"K": 1},
    "naive": {"M": 2, "P": 1, "E": 1, "F": 1},
    "naive-deferred": {"M": 1},
    "three-pass": {"M": 3, "P": 1, "E": 1, "F": 1},
    "three-pass-causal": {"M": 3, "P": 1},
    "three-pass-window": {"M": 3, "P": 1},
    "three-pass-deferred": {"M": 2},  # V is read in pass 2 only, K's products twice
    "local-maxima": {"M": 2, "M1": 3, "M0": 3},
    "split-keys": {"M": 1, "M1": 2, "M0": 2},  # later passes touch tile summaries only
    "online": {"M": 1, "M1": 1, "M0": 2, "P": 1},
    "three-members": {"M": 2, "M2": 2, "M1": 3, "M0": 3},
    "squared-relu": {"M": 1},
    "squared-relu-normalised": {"M": 2},
    "sum-temperature": {"M": 4},
    "reversed": {"I": 3, "J": 1},  # max, sum, and the weights, per sender
    "top-k": {"M": 2, "J": 2, "E": 2},  # the chosen keys are looked at again
    "linear": {"M": 1, "P": 1, "E": 1},
    "linear-causal": {"M": 1, "P": 1},
    "retnet": {"T": 1, "A": 1, "F": 1},
    "lightning-chunks": {"C": 1, "R": 1, "S": 1, "A": 1, "F": 1},
    "ssd": {"T": 1, "N": 1, "P": 1},
    "delta-rule": {"T": 1, "A": 2, "F": 1},  # per token: K is used to read and to write S
    "rms-norm": {"D": 2, "N": 1},
    "layer-norm": {"D": 3, "N": 1},
    "layer-norm-moments": {"D": 2},
    "cross-entropy": {"V": 2, "N": 1},  # the label's logit can be picked up in pass 1
    "log-softmax": {"V": 3},
    "min-max": {"N": 2},
    "running-mean": {"T": 1},
    "welford": {"T": 1},
    "divide-by-total": {"T": 2},
    "prefix-over-total": {"T": 2},
    "reverse-scan": {"T": 1},  # from the end to the start, once
    "both-ways": {"T": 2},
    "both-ways-apart": {"T": 2},
    "other-tensor": {"K": 1},
    "other-tensor-between": {"K": 2},  # A again and B again, in one and the same pass
    "one-tensor-then-another": {"K": 3},  # A again after Y, then B again after Z
    "fresh-rank": {"K": 1},
    "minus-first": {"K": 1},
    "minus-last": {"K": 1},
    "convolution": {"T": 1},
    "rows-then-columns": {"M": 2, "P": 2},
    "whole-matrix": {"M": 2, "P": 2},
}

TURNED: dict[str, tuple[str, ...]] = {
    "reverse-scan": ("R",),
    "both-ways": ("R",),
    "both-ways-apart": ("R", "Z"),
}
"""Einsums that walk their rank from its end to its start."""
