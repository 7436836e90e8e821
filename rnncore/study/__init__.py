"""See what every gate does: tables, measures, interventions, pictures, and a page to step through.

Begin with `Run.of(layer)` after a call of a layer; everything here takes a `Run`. Pictures are in
`rnncore.study.plots`, the interactive page is `python -m rnncore.study`.
"""

from rnncore.study.gates import Carry, carry_of
from rnncore.study.influence import Jacobians, gradient_by_lag, jacobians, lag_below, perturbation, spectrum
from rnncore.study.intervene import Clamp, Intervened, Shift, frozen, removed, silenced
from rnncore.study.measures import (
    Correlation,
    Saturation,
    Usage,
    half_life,
    saturation,
    token_correlation,
    token_share,
    usage,
)
from rnncore.study.run import Run, run_cell
from rnncore.study.tables import table, text, write_csv, write_safetensors

__all__ = [
    "Carry",
    "Clamp",
    "Correlation",
    "Intervened",
    "Jacobians",
    "Run",
    "Saturation",
    "Shift",
    "Usage",
    "carry_of",
    "frozen",
    "gradient_by_lag",
    "half_life",
    "jacobians",
    "lag_below",
    "perturbation",
    "removed",
    "run_cell",
    "saturation",
    "silenced",
    "spectrum",
    "table",
    "text",
    "token_correlation",
    "token_share",
    "usage",
    "write_csv",
    "write_safetensors",
]
