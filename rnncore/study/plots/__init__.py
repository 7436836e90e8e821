"""Pictures of a `Run`, each one call: it draws into the axes given, or into new ones, and returns them.

Matplotlib is imported when something is drawn. Colours are those of Okabe & Ito and maps that people with any colour
vision can read.

>>> import matplotlib
>>> matplotlib.use("agg")
>>> import numpy as np
>>> from rnncore import LSTM
>>> from rnncore.study import Run, plots
>>> lstm = LSTM(3, 8)
>>> _ = lstm(np.ones((5, 1, 3), "float32"))
>>> axes = plots.heat(Run.of(lstm, [["the", "dog", "runs", "on", "grass"]]), "forget")
>>> [label.get_text() for label in axes.get_xticklabels()]
['the', 'dog', 'runs', 'on', 'grass']
>>> import matplotlib.pyplot as plt
>>> plt.close("all")
"""

from rnncore.study.plots.flow import gradient_flow, memory, saturation_over_epochs, usage_over_epochs
from rnncore.study.plots.steps import heat, lines, side_by_side, trajectory
from rnncore.study.plots.style import save
from rnncore.study.plots.units import eigenvalues, half_lives, histogram, saturation_scatter, weights

__all__ = [
    "eigenvalues",
    "gradient_flow",
    "half_lives",
    "heat",
    "histogram",
    "lines",
    "memory",
    "saturation_over_epochs",
    "saturation_scatter",
    "save",
    "side_by_side",
    "trajectory",
    "usage_over_epochs",
    "weights",
]
