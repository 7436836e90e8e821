"""A cell run in another way against the cell itself: every field of the Trace, every gradient."""

from typing import Any

import numpy as np

from rnncore import to_host
from rnncore.sequence import backward, forward
from tests.rnncore.problems import Problem


def close(got: Any, expected: Any, tolerance: float) -> None:
    got = to_host(got)
    assert got.dtype == expected.dtype
    np.testing.assert_allclose(got, expected, rtol=tolerance, atol=tolerance)


def assert_same(
    case: Problem, cell: Any, there: Any, passes: int, keep: bool, tolerance: float, **options: Any
) -> None:
    """Run `cell` over `there`, which is `case` on its device, several times on one Trace."""
    plain = forward(case.cell, case.p, case.x, case.initial, case.lengths, **options)
    want = backward(case.cell, case.p, plain, case.dh, case.dlast, keep_state_gradients=keep)
    trace = None
    for _ in range(passes):
        trace = forward(cell, there.p, there.x, there.initial, there.lengths, trace, **options)
        got = backward(cell, there.p, trace, there.dh, there.dlast, keep_state_gradients=keep)
        for name in plain.names:
            close(trace[name], plain[name], tolerance)
        for name in dict.fromkeys((*plain.cell.preactivations, *(plain.cell.state if keep else ()))):
            close(trace.gradient(name), plain.gradient(name), tolerance)
        close(trace.output, plain.output, tolerance)
        close(got.x, want.x, tolerance)
        for name, value in want.params.items():
            close(got.params[name], value, tolerance)
        for pair in zip((*trace.last, *got.initial), (*plain.last, *want.initial), strict=True):
            close(*pair, tolerance)
