"""The field's toy tasks: adding, copy, temporal order, parity, Reber grammar, text; and studies of cells on them.

>>> import numpy as np
>>> from rnncore.cells import LSTM
>>> from rnncore.tasks import Network, make_task
>>> task = make_task("adding", length=20)
>>> task.baseline().loss                                                    # always to say 1: 1/6
0.16666666666666666
>>> batch = task.batch(np.random.default_rng(0), 50)
>>> batch.x.shape, batch.targets.shape
((20, 50, 2), (50, 1))
>>> network = Network(task, LSTM(), hidden=16)
>>> network.loss_and_gradients(batch) > 0
True

`python -m rnncore.tasks` lists them; `python -m rnncore.tasks study adding` trains cells on one and compares them.
"""

from importlib import import_module
from typing import Any

from rnncore.tasks.adding import Adding
from rnncore.tasks.base import Baseline, Batch, Task
from rnncore.tasks.copying import CopyMemory
from rnncore.tasks.network import Network, hidden_for, parameters_of
from rnncore.tasks.order import TemporalOrder
from rnncore.tasks.parity import Parity
from rnncore.tasks.reber import Reber
from rnncore.tasks.text import Text

#: Every task by its name.
TASKS: dict[str, type[Task]] = {kind.name: kind for kind in (Adding, CopyMemory, TemporalOrder, Parity, Reber, Text)}


def make_task(name: str, **settings: Any) -> Task:
    """Return a task by its name, or your own as `module:Class`, with some of its fields set, as numbers or as text.

    Raises
    ------
    ValueError
        If there is no such task or no such field, or a value does not suit it.
    """
    if name in TASKS:
        return TASKS[name].of(settings)
    module, colon, attribute = name.partition(":")
    if not colon:
        raise ValueError(f"no task {name!r}; there are {', '.join(TASKS)}, or write module:Class for one of your own")
    try:
        task: Task = getattr(import_module(module), attribute).of(settings)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"the task {name!r} cannot be loaded: {error}") from error
    return task


__all__ = [
    "TASKS",
    "Adding",
    "Baseline",
    "Batch",
    "CopyMemory",
    "Network",
    "Parity",
    "Reber",
    "Task",
    "TemporalOrder",
    "Text",
    "hidden_for",
    "make_task",
    "parameters_of",
]
