"""Softmax attention, linear attention, S6, SSD and qLSTM as one dynamical system.

``h[i] = Lam[i] h[i-1] + B[i] u[i]``, ``y[i] = C[i] h[i] + D[i] u[i]`` (arXiv 2405.15731), run as
the cascade ``dsf`` with matrices made here, and compared with each method's own reference.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from einsum_cascade import Cascade
from workloads.references import find_reference

Array = np.ndarray[Any, Any]
P, E, D = 6, 3, 2


def run_system(lam: Array, b: Array, c: Array, d: Array, u: Array) -> Array:
    system = {"LAM": lam, "BU": b, "CY": c, "DY": d, "U": u}
    return Cascade.load("dsf").evaluate(system)["Y"]


def reference(name: str, **inputs: Array) -> Array:
    found = find_reference(name)
    assert found is not None
    (result,) = found(**inputs).values()
    return result


def kernel_system(
    phi: Array, psi: Array, values: Array, eta: Array
) -> tuple[Array, Array, Array, Array]:
    """Attention with weights phi(q) . psi(k) / eta: the state is I (x) psi, of n D numbers.

    ``Lam = eta[i-1] / eta[i]``, ``B = (1 / eta[i]) (I (x) psi(k[i]))``, ``C = I (x) phi(q[i])``.
    """
    width = values.shape[-1]
    eye = np.eye(width)
    before = np.concatenate([[0.0], eta[:-1]])
    lam = np.repeat((before / eta)[:, None], width * psi.shape[-1], axis=1)
    b = np.stack([np.kron(eye, k[:, None]) / e for k, e in zip(psi, eta, strict=True)])
    c = np.stack([np.kron(eye, q[None, :]) for q in phi])
    return lam, b, c, np.zeros((len(values), width, width))


@pytest.fixture
def qkv() -> tuple[Array, Array, Array]:
    rng = np.random.default_rng(4)
    return rng.normal(size=(P, E)), rng.normal(size=(P, E)), rng.normal(size=(P, D))


def test_linear_attention(qkv: tuple[Array, Array, Array]) -> None:
    q, k, v = qkv
    phi, psi = (np.where(x > 0, x + 1, np.exp(x)) for x in (q, k))
    eta = (np.tril(phi @ psi.T)).sum(axis=1)
    found = run_system(*kernel_system(phi, psi, v, eta), v)
    np.testing.assert_allclose(
        found, reference("linear_attention_causal", Q=q, K=k, V=v), rtol=1e-11
    )


def test_softmax_attention(qkv: tuple[Array, Array, Array]) -> None:
    """Features that give exp(q . k) exactly on these queries: one number for every query.

    Features that do so for any query are infinitely many; a state of P D numbers is what is
    left of them for P queries, and it grows with the sequence, as the keys kept do.
    """
    q, k, v = qkv
    psi = np.exp(k @ q.T)
    phi = np.eye(P)
    eta = np.tril(np.exp(q @ k.T)).sum(axis=1)
    found = run_system(*kernel_system(phi, psi, v, eta), v)
    np.testing.assert_allclose(
        found, reference("softmax_attention_causal", Q=q, K=k, V=v), rtol=1e-11
    )


def test_softmax_attention_by_a_series(qkv: tuple[Array, Array, Array]) -> None:
    """With features of finite degree the system comes as near as one likes."""
    q, k, v = (0.1 * x for x in qkv)
    expected = reference("softmax_attention_causal", Q=q, K=k, V=v)
    errors = []
    for degree in range(4):
        phi, psi = (_powers(x, degree) for x in (q, k))
        eta = np.tril(phi @ psi.T).sum(axis=1)
        errors.append(np.abs(run_system(*kernel_system(phi, psi, v, eta), v) - expected).max())
    for fewer, more in pairwise(errors):
        assert more < fewer / 8
    assert errors[3] < 1e-6


def _powers(x: Array, degree: int) -> Array:
    """Features whose products sum (q . k)^n / n! for n up to a degree."""
    found, last, factorial = [np.ones((len(x), 1))], np.ones((len(x), 1)), 1
    for n in range(1, degree + 1):
        last = np.stack([np.kron(a, b) for a, b in zip(last, x, strict=True)])
        factorial *= n
        found.append(last / factorial**0.5)
    return np.concatenate(found, axis=1)


def test_s6() -> None:
    """``Lam = exp(delta (x) A)``, ``B = delta (x) b``, ``C = I (x) c``; the gate is outside."""
    rng = np.random.default_rng(5)
    states, channels = 3, D
    u, dt, z = (rng.normal(size=(P, channels)) for _ in range(3))
    b, c = (rng.normal(size=(P, states)) for _ in range(2))
    a, skip, bias = -rng.uniform(0.2, 4, (channels, states)), rng.normal(size=D), rng.normal(size=D)
    delta = np.log1p(np.exp(dt + bias))
    lam = np.exp(delta[:, :, None] * a).reshape(P, -1)
    eye = np.eye(channels)
    into = np.stack([np.kron(np.diag(d), row[:, None]) for d, row in zip(delta, b, strict=True)])
    out = np.stack([np.kron(eye, row[None, :]) for row in c])
    y = run_system(lam, into, out, np.broadcast_to(np.diag(skip), (P, D, D)).copy(), u)
    expected = reference("selective_scan", U=u, DT=dt, BD=bias, A=a, BT=b, CT=c, DS=skip, Z=z)
    np.testing.assert_allclose(y * z / (1 + np.exp(-z)), expected, rtol=1e-11)


def test_ssd() -> None:
    """S6 with one decay for all: ``Lam = exp(a) I``."""
    rng = np.random.default_rng(6)
    x, b, c = (rng.normal(size=(P, n)) for n in (D, E, E))
    a = -rng.uniform(0, 1, P)
    lam = np.repeat(np.exp(a)[:, None], D * E, axis=1)
    into = np.stack([np.kron(np.eye(D), row[:, None]) for row in b])
    out = np.stack([np.kron(np.eye(D), row[None, :]) for row in c])
    found = run_system(lam, into, out, np.zeros((P, D, D)), x)
    np.testing.assert_allclose(
        found, reference("state_space_dual", X=x, A=a, BT=b, CT=c), rtol=1e-11
    )


def test_qlstm() -> None:
    """One state a channel, all three matrices diagonal gates."""
    rng = np.random.default_rng(7)
    u = rng.normal(size=(P, D))
    weights = {n: rng.normal(size=(D, D)) for n in ("WF", "WI", "WO")}
    forget, enter, leave = (1 / (1 + np.exp(-u @ w)) for w in weights.values())
    into, out = (np.stack([np.diag(row) for row in gate]) for gate in (enter, leave))
    found = run_system(forget, into, out, np.zeros((P, D, D)), u)
    np.testing.assert_allclose(found, reference("qlstm", U=u, **weights), rtol=1e-11)
