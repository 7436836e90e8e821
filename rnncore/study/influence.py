"""How one state moves later ones: exact Jacobians, gradients by lag, perturbations, and the spectrum of U."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rnncore import sequence
from rnncore.packing import Packing
from rnncore.study.gates import carried_state
from rnncore.study.run import Floats, Run


@dataclass(frozen=True)
class Jacobians:
    r"""The derivatives of all states in all states one step before, of one sequence.

    matrix : (T, S, S), :math:`J_{t,ij} = \partial s_{t,i} / \partial s_{t-1,j}`, s the states behind one another.
    parts : where each state lies in s, by name.
    """

    matrix: Floats
    parts: dict[str, slice]

    def block(self, of: str, by: str | None = None) -> Floats:
        r"""Return :math:`\partial \text{of}_t / \partial \text{by}_{t-1}`, (T, H, H); by the same state when None."""
        return self.matrix[:, self.parts[of], self.parts[by or of]]

    def norms(self, of: str | None = None, by: str | None = None) -> Floats:
        """Return the largest singular value at every step, (T,): how much a step can enlarge a change at most."""
        found: Floats = np.linalg.norm(self.matrix if of is None else self.block(of, by), 2, axis=(1, 2))
        return found

    def between(self, first: int, last: int) -> Floats:
        r"""Return :math:`\partial s_{last} / \partial s_{first} = J_{last} \cdots J_{first+1}`, (S, S)."""
        out: Floats = np.eye(self.matrix.shape[1], dtype=self.matrix.dtype)
        for J in self.matrix[first + 1 : last + 1]:
            out = J @ out
        return out


def jacobians(run: Run, sequence_number: int = 0, steps: Sequence[int] | None = None) -> Jacobians:
    r"""Return the exact Jacobian of a step at each of `steps` (all real ones when None), by S products each.

    Row i of :math:`J_t` is what `step_backward` makes of the i-th unit vector: the cell's own derivatives, which
    `check_cell` holds to finite differences. If all singular values of the :math:`J_t` are below 1 gradients vanish.

    Source: R. Pascanu, T. Mikolov & Y. Bengio, On the difficulty of training recurrent neural networks, ICML 2013,
    section 2.1.
    """
    b = sequence_number
    chosen = range(int(run.lengths[b])) if steps is None else steps
    sizes = [s.shape[1] for s in run.initial]
    ends = np.cumsum(sizes)
    parts = {name: slice(int(e - n), int(e)) for name, e, n in zip(run.cell.state, ends, sizes, strict=True)}
    S = int(ends[-1])
    identity = np.eye(S, dtype=run.x.dtype)
    dlast = [np.ascontiguousarray(identity[:, part]) for part in parts.values()]
    before = [run.before(name)[:, b] for name in run.cell.state]
    out = np.empty((len(chosen), S, S), run.x.dtype)
    trace = None
    for k, t in enumerate(chosen):
        x = np.repeat(run.x[t : t + 1, b : b + 1], S, axis=1)
        trace = sequence.forward(
            run.cell, run.weights, x, [np.repeat(s[t : t + 1], S, axis=0) for s in before], trace=trace
        )
        got = sequence.backward(run.cell, run.weights, trace, dlast=dlast, need_dx=False)
        out[k] = np.concatenate(got.initial, axis=1)
    return Jacobians(out, parts)


def gradient_by_lag(run: Run, state: str | None = None, directions: int = 4, seed: int = 0) -> Floats:
    r"""Return how much of a gradient that enters at each sequence's end is left so many steps before, (T, B).

    .. math:: G_{kb} = \frac{\lVert \partial (v \cdot h_{T_b}) / \partial s_{T_b-k} \rVert}
        {\lVert \partial (v \cdot h_{T_b}) / \partial s_{T_b} \rVert}

    averaged over random v, the row k for the lag; NaN where a sequence is not that long. It vanishes or explodes
    about exponentially in a tanh RNN, which the LSTM was made against.

    state : s; the state that remembers when None, c of an LSTM and h of a GRU.

    Source: S. Hochreiter, Y. Bengio, P. Frasconi & J. Schmidhuber, Gradient flow in recurrent nets, 2001; Pascanu et
    al. 2013, section 2.1.
    """
    state, rng = state or carried_state(run.cell), np.random.default_rng(seed)
    trace, total = run.again(), np.zeros((run.steps, run.batch))
    for _ in range(directions):
        v = np.asarray(rng.normal(size=run.initial[0].shape), run.x.dtype)
        dlast = [v, *[None] * (len(run.cell.state) - 1)]
        sequence.backward(run.cell, run.weights, trace, dlast=dlast, need_dx=False, keep_state_gradients=True)
        norms: Floats = np.linalg.norm(np.asarray(trace.gradient(state), np.float64), axis=2)
        total += _from_the_end(norms, run.lengths)
    with np.errstate(invalid="ignore"):
        relative: Floats = total / total[0]
    return relative


def _from_the_end(values: Floats, lengths: np.ndarray[Any, Any]) -> Floats:
    """Turn (T, B) by step into (T, B) by lag behind each sequence's last step."""
    out = np.full(values.shape, np.nan)
    for b, n in enumerate(lengths):
        out[:n, b] = values[:n, b][::-1]
    return out


def perturbation(
    run: Run,
    state: str | None = None,
    at: Sequence[int] | None = None,
    size: float = 1e-2,
    directions: int = 4,
    seed: int = 0,
) -> Floats:
    r"""Change a state a little at one step and watch what is left of the change later, (T, B), a row for each lag.

    .. math:: M_{kb} = \frac1{|A|} \sum_{t \in A}
        \frac{\lVert \tilde s_{t+k} - s_{t+k} \rVert}{\lVert \tilde s_t - s_t \rVert},
        \qquad \tilde s_t = s_t + \varepsilon \lVert s_t \rVert \, v

    with v a random unit vector; averaged over directions and over the steps A = `at` at which it is changed. This is
    the memory of the whole cell, U included, where `half_life` is that of the direct path. NaN where a sequence is not
    that long.

    state : s; the one that remembers when None. at : sixteen steps evenly spread when None. size : the epsilon.

    Source: what follows a displaced trajectory, as in the definition of Lyapunov exponents; in recurrent networks
    K. Doya, Bifurcations in the learning of recurrent neural networks, ISCAS 1992.
    """
    k = run.cell.state.index(state or carried_state(run.cell))
    rng = np.random.default_rng(seed)
    starts = np.unique(np.linspace(0, max(run.steps - 2, 0), 16).astype(int)) if at is None else np.asarray(at)
    total, count = np.zeros((run.steps, run.batch)), np.zeros((run.steps, run.batch))
    for t in starts:
        rest = np.maximum(run.lengths - t - 1, 0)
        states = [run[name][t] for name in run.cell.state]
        for _ in range(directions):
            v = rng.normal(size=states[k].shape)
            v *= size * np.linalg.norm(states[k], axis=1, keepdims=True) / np.linalg.norm(v, axis=1, keepdims=True)
            moved = [s + v.astype(s.dtype) if j == k else s for j, s in enumerate(states)]
            left, running = _displacement(run, int(t), k, states, moved, rest)
            total[: len(left)] += np.where(running, left, 0)
            count[: len(left)] += running
    with np.errstate(invalid="ignore"):
        return total / count


def _displacement(
    run: Run, t: int, k: int, states: list[Floats], moved: list[Floats], rest: np.ndarray[Any, Any]
) -> tuple[Floats, np.ndarray[Any, Any]]:
    """How far the moved trajectory is from its own after 0, 1, ... steps, relative to the first, and where it runs."""
    start = np.linalg.norm((moved[k] - states[k]).astype(np.float64), axis=1)
    running = np.concatenate([(rest > 0)[None], np.arange(1, run.steps - t)[:, None] <= rest[None]])
    running &= start > 0
    far = [start]
    if rest.max() > 0:
        packing = Packing(rest, run.steps - t - 1)
        trace = sequence.forward(run.cell, run.weights, packing.pack(run.x[t + 1 :]), moved, packing)
        after = trace[run.cell.state[k]].astype(np.float64)
        far += list(np.linalg.norm(after - run[run.cell.state[k]][t + 1 :], axis=2))
    distances = np.stack([*far, *[np.zeros_like(start)] * (run.steps - t - len(far))])
    return distances / np.where(start > 0, start, 1), running


def lag_below(curve: Floats, share: float = 0.5) -> float:
    """Return the lag at which the mean over sequences of a curve (T, B) first falls below `share`, interpolated.

    Infinite if it never does within the steps that there are.
    """
    known = ~np.isnan(curve)
    mean = np.where(known, curve, 0).sum(1)[known.any(1)] / known.sum(1)[known.any(1)]
    under = np.flatnonzero(mean < share)
    if not len(under):
        return float("inf")
    k = int(under[0])
    return 0.0 if k == 0 else k - 1 + float((mean[k - 1] - share) / (mean[k - 1] - mean[k]))


def spectrum(run: Run) -> dict[str, np.ndarray[Any, np.dtype[np.complex128]]]:
    """Return the eigenvalues of each gate's block of U, by gate, by falling modulus.

    Of a tanh RNN near 0 they are those of the step itself: above 1 a change grows, below 1 it dies.

    Source: Pascanu et al. 2013, section 2.1.
    """
    H = run.hidden
    U = run.weights.get("U")
    if U is None or U.shape != (len(run.cell.gates) * H, H):
        raise ValueError(f"{type(run.cell).__name__} has no U of one square block a gate, so there is no spectrum")
    out = {}
    for k, gate in enumerate(run.cell.gates):
        values = np.linalg.eigvals(U[k * H : (k + 1) * H].astype(np.float64)).astype(np.complex128)
        out[gate] = values[np.argsort(-np.abs(values), kind="stable")]
    return out
