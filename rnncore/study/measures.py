"""What gates do, in numbers that are averages over the real steps of a `Run`: nothing is counted in the padding."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rnncore.study.gates import carry_of, check_gate, squash_of
from rnncore.study.run import Floats, Run


@dataclass(frozen=True)
class Saturation:
    """The share of steps at which each unit of a gate is closed (left) and open (right), (H,) each."""

    gate: str
    left: Floats
    right: Floats


def saturation(run: Run, gate: str, low: float = 0.1, high: float = 0.9) -> Saturation:
    r"""Return how often each unit of a gate is saturated.

    .. math::
        \text{left}_k = \frac1N \sum_{t,b} [g_{tbk} < 0.1] \qquad
        \text{right}_k = \frac1N \sum_{t,b} [g_{tbk} > 0.9]

    over all N real steps. A gate that is no sigmoid but a tanh is taken as (g + 1) / 2, so that the bounds mean the
    same share of its range.

    Source: A. Karpathy, J. Johnson & L. Fei-Fei, Visualizing and understanding recurrent networks, 2015
    (arXiv 1506.02078), section 4.2.
    """
    check_gate(run.cell, gate)
    values = _on_unit_range(run, gate)
    return Saturation(gate, (values < low).mean(0), (values > high).mean(0))


def _on_unit_range(run: Run, gate: str) -> Floats:
    values = run.rows(gate)
    try:
        squash = squash_of(run.cell, gate)
    except ValueError:  # of a normalised pre-activation: then by where the values lie
        squash = "tanh" if values.min(initial=0) < 0 else "sigmoid"
    return (values + 1) / 2 if squash == "tanh" else values


def half_life(run: Run, gate: str | None = None) -> Floats:
    r"""Return how many steps it takes until half of what a unit remembers is gone, (H,).

    What is in the state is multiplied by the gate at every step, so that after k steps the product of k gates is left:

    .. math::
        \frac12 = \left(\exp \frac1N \sum_{t,b} \ln f_{tb}\right)^{\tau}
        \quad\Rightarrow\quad \tau = \frac{\ln \frac12}{\overline{\ln f}}

    f is the forget gate of an LSTM, the update gate of a GRU; of a cell of one's own it is found by
    `rnncore.study.gates.carry_of`. It is infinite where nothing is ever forgotten. It counts the direct path alone:
    what comes back through U is not in it; `rnncore.study.influence.perturbation` measures all.

    gate : another gate to take as f.

    Source: S. Mahto, V. Vo, J. Turek & A. Huth, Multi-timescale representation learning in LSTM language models, ICLR
    2021, section 2.1, where :math:`T = -1 / \ln f`, which is :math:`\tau / \ln 2`.
    """
    if gate is None:
        carry = carry_of(run.cell)
        if carry.gate is None:
            return np.full(run.hidden, np.inf)
        kept = carry.share(run.rows(carry.gate))
    else:
        check_gate(run.cell, gate)
        kept = run.rows(gate)
    with np.errstate(divide="ignore"):
        mean = np.log(kept.astype(np.float64)).mean(0)
        out: Floats = np.where(mean < 0, np.log(0.5) / mean, np.inf)
    return out


@dataclass(frozen=True)
class Usage:
    """How a gate is used on average over steps and units: mean, deviation, and saturation as of `saturation`."""

    mean: float
    deviation: float
    left: float
    right: float


def usage(run: Run) -> dict[str, Usage]:
    """Return the usage of every gate, by name; of one run after every epoch it is the story of a training."""
    out = {}
    for gate in run.cell.gates:
        values, sides = run.rows(gate).astype(np.float64), saturation(run, gate)
        out[gate] = Usage(
            float(values.mean()), float(values.std()), float(sides.left.mean()), float(sides.right.mean())
        )
    return out


@dataclass(frozen=True)
class Correlation:
    """How the units of a value go with tokens: `table` (V, H), a row for each of `tokens`; how often each is read."""

    name: str
    tokens: tuple[str, ...]
    counts: tuple[int, ...]
    table: Floats

    def strongest(self, unit: int, n: int = 5) -> list[tuple[str, float]]:
        """Return the tokens that a unit goes with most, for or against, and their correlation."""
        order = np.argsort(-np.abs(self.table[:, unit]), kind="stable")[:n]
        return [(self.tokens[k], float(self.table[k, unit])) for k in order]

    def best_units(self, n: int = 10) -> list[tuple[int, str, float]]:
        """Return the units that go with some token most: (unit, token, correlation), each unit once."""
        if not self.tokens:
            return []
        rows, units = np.abs(self.table).argmax(0), np.abs(self.table).max(0)
        order = np.argsort(-units, kind="stable")[:n]
        return [(int(k), self.tokens[rows[k]], float(self.table[rows[k], k])) for k in order]


def token_correlation(run: Run, name: str, tokens: Sequence[str] | None = None, least: int = 5) -> Correlation:
    r"""Return the correlation of every unit with the presence of each token.

    .. math:: \rho_{wk} = \frac{\overline{1_w v_k} - \overline{1_w}\,\overline{v_k}}
        {\sqrt{\overline{1_w} (1 - \overline{1_w})}\; \sigma(v_k)}

    with :math:`1_w` = 1 at steps where w is read, averages over all real steps: Pearson's correlation with an
    indicator, known as the point-biserial one. It is 0 for a unit that never changes.

    tokens : which to look at; when None, all that are read at least `least` times, and not at every step.

    Source: R. Tate, Correlation between a discrete and a continuous variable, Annals of Mathematical Statistics 25
    (1954). For units of LSTMs that follow one kind of token see Karpathy et al. 2015, section 4.2.
    """
    read, values = run.words(), run.rows(name).astype(np.float64)
    counts = Counter(read)
    if tokens is None:
        chosen = sorted(w for w, n in counts.items() if least <= n < len(read))
    else:
        chosen = list(tokens)
    if missing := [w for w in chosen if not 0 < counts[w] < len(read)]:
        raise ValueError(f"tokens: a correlation needs steps with and without them, which {missing} do not have")
    place = {w: k for k, w in enumerate(chosen)}
    sums = np.zeros((len(chosen), values.shape[1]))
    here = np.array([place.get(w, -1) for w in read])
    np.add.at(sums, here[here >= 0], values[here >= 0])
    share = np.array([counts[w] for w in chosen]) / len(read)
    deviation = values.std(0)
    alive = deviation > 1e-12 * np.abs(values).max(initial=1.0)
    scale = np.sqrt(share * (1 - share))[:, None] * np.where(alive, deviation, 1)
    table = np.where(alive, (sums / len(read) - share[:, None] * values.mean(0)) / scale, 0.0)
    return Correlation(name, tuple(chosen), tuple(counts[w] for w in chosen), table)


def token_share(run: Run, name: str) -> Floats:
    r"""Return how much of what each unit does is settled by the token that is read alone, (H,); the rest is history.

    .. math:: \epsilon^2 = 1 - \frac{N - 1}{N - V} \,
        \frac{\sum_{n} (v_n - \bar v_{w(n)})^2}{\sum_n (v_n - \bar v)^2}

    over N steps and V tokens, :math:`\bar v_w` the mean where w is read: the correlation ratio, corrected for the
    number of tokens, so that it is 0 on average where tokens say nothing. It is 0 for a unit that never changes.

    Source: T. L. Kelley, An unbiased correlation ratio measure, PNAS 21 (1935).
    """
    read, values = run.words(), run.rows(name).astype(np.float64)
    tokens, place = np.unique(read, return_inverse=True)
    N, V = len(read), len(tokens)
    if V >= N:
        raise ValueError(f"{N} steps have {V} different tokens; give a longer run, in which tokens come back")
    sums = np.zeros((V, values.shape[1]))
    np.add.at(sums, place, values)
    within = ((values - (sums / np.bincount(place)[:, None])[place]) ** 2).sum(0)
    total = ((values - values.mean(0)) ** 2).sum(0)
    out: Floats = np.where(total > 0, 1 - (N - 1) / (N - V) * within / np.where(total > 0, total, 1), 0.0)
    return out
