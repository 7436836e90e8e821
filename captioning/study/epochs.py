"""How the gates change while a captioner is trained: measured after every epoch, and shown beside those of others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rich.table import Table

from captioning.corpus import EVALUATED_TOGETHER, Split
from captioning.errors import CaptioningError
from captioning.model import Captioner
from rnncore.study import Run, Usage, usage

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Story = list[dict[str, Usage]]


def gates_used(model: Captioner, split: Split) -> list[dict[str, dict[str, float]]]:
    """Return the usage of every gate of every layer over the captions of the split's first pictures, ready for JSON.

    They are those of one batch of the validation loss, without dropout: 250 captions of Flickr8k, 2,900 words.
    """
    model.logits(next(split.batches(EVALUATED_TOGETHER)))
    network, found = model.network, []
    for trace, weights in zip(network.traces, network.params, strict=True):
        assert trace is not None  # the pass above has left it
        used = usage(Run.from_trace(trace, weights)).items()
        found.append({gate: {name: round(v, 5) for name, v in asdict(each).items()} for gate, each in used})
    return found


def story(name: str, history: Sequence[Mapping[str, Any]], layer: int = -1) -> Story:
    """Return how the gates of a layer were used after each epoch of a training.

    Raises
    ------
    CaptioningError
        If the history does not say it.
    """
    if not history or any("gates" not in record for record in history):
        raise CaptioningError(
            f"{name}: its log does not say how gates were used, so an older version trained it; train it again to see"
        )
    return [{gate: Usage(**used) for gate, used in record["gates"][layer].items()} for record in history]


def story_table(name: str, told: Story) -> Table:
    """Return each gate's mean after every epoch, and the shares of steps at which its units are closed and open."""
    caption = "mean; % of steps and units below 0.1 | above 0.9, of a candidate's (g + 1) / 2"
    table = Table(title=f"{name}: gates by epoch", title_justify="left", caption=caption, caption_justify="left")
    table.add_column("epoch", justify="right")
    for gate in told[0]:
        table.add_column(gate, justify="right")
    for epoch, used in enumerate(told, 1):
        table.add_row(str(epoch), *(f"{u.mean:+.3f} {100 * u.left:3.0f}|{100 * u.right:2.0f}" for u in used.values()))
    return table


def story_figure(stories: Mapping[str, Story]) -> Figure:
    """Draw the stories side by side: each gate's mean above, how often its units are at an end below."""
    from matplotlib.figure import Figure

    from rnncore.study import plots

    figure = Figure(figsize=(0.8 + 3.9 * len(stories), 5.6), layout="constrained")
    grid = figure.subplots(2, len(stories), squeeze=False, sharey="row", sharex="col")
    for (name, told), above, below in zip(stories.items(), *grid, strict=True):
        epochs = range(1, len(told) + 1)
        plots.usage_over_epochs(told, epochs, above).set(title=name, xlabel="")
        plots.saturation_over_epochs(told, epochs, below)
        below.get_legend().remove()
    for axes in grid[:, 1:].flat:
        axes.set_ylabel("")
    return figure
