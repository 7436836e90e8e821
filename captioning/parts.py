"""What a captioner of a recipe consists of, and how large each part is: definitions, no numbers yet."""

from __future__ import annotations

from typing import Any

import numpy as np

from captioning.config import Recipe
from captioning.entry import KINDS, Sizes
from captioning.errors import CaptioningError
from captioning.grid import Grid
from captioning.head import Head
from captioning.network import cells_of, names_of
from rnncore.array import array_module
from rnncore.layers import Embedding
from rnncore.params import Params, Shapes
from rnncore.trace import sizes_of


class Parts:
    """The layers and cells of a recipe, by the names under which their parameters are kept.

    recipe : see there. words : of the vocabulary. features : numbers in a picture's vector.
    grid : (C, rows, columns) of a picture's grid, where the recipe has attention.
    """

    def __init__(self, recipe: Recipe, words: int, features: int, grid: tuple[int, ...] | None) -> None:
        model, size = recipe.model, recipe.embedding.size
        if model.attention != "none" and grid is None:
            raise CaptioningError(
                "this recipe's attention looks at a grid of each picture, and the features have none: encode the "
                "pictures with both, `--output features --output grid`"
            )
        self.recipe, self.features = recipe, features
        self.grid = None if model.attention == "none" or grid is None else Grid(model, grid)
        self.cells = cells_of(model, self.grid.places if self.grid else 0)
        self.layers = names_of(model.layers)
        states = tuple(tuple(sizes_of(cell, model.hidden)[name] for name in cell.state) for cell in self.cells)
        self.entry = KINDS[model.picture](Sizes(features, size, states))
        self.reads = (self.entry.reads, *(layer[0] for layer in states[:-1]))
        self.embedding = Embedding(words, size, padding=None if model.tied else 0)
        self.head = Head(self.entry.merged, model.dense, words, model.dense_activation, model.tied)
        if model.tied and self.head.words.input_size != size:
            raise CaptioningError(
                f"model.tied needs as many numbers before the vocabulary as a word has: embedding.size is {size}, "
                f"but {self.head.words.input_size} come there; set model.dense = {size}"
            )

    def trained(self) -> dict[str, Shapes]:
        """Return the shapes of all that is trained, by part."""
        shapes: dict[str, Shapes] = {"picture": self.entry.picture.shapes()}
        for name, cell, reads in zip(self.layers, self.cells, self.reads, strict=True):
            shapes[name] = cell.shapes(reads, self.recipe.model.hidden)
        shapes |= self.head.shapes()
        shapes |= {name: layer.shapes() for name, layer in (self.grid.layers() if self.grid else {}).items()}
        return shapes | ({"embedding": self.embedding.shapes()} if self.recipe.embedding.train else {})

    def constant(self) -> dict[str, Shapes]:
        """Return the shapes of what is not trained: of the features, and a frozen embedding."""
        shapes: dict[str, Shapes] = {"picture": {"mean": (self.features,), "deviation": (self.features,)}}
        shapes |= self.grid.constants() if self.grid else {}
        return shapes | ({} if self.recipe.embedding.train else {"embedding": self.embedding.shapes()})

    def initialise(self, params: Params, constants: Params) -> None:
        """Give all parameters their first values.

        Each part draws from a generator of its own, so that two cells start from equal other parts.
        """
        makers: dict[str, Any] = {"picture": self.entry.picture, "embedding": self.embedding, "rnn": self.cells[0]}
        makers |= {"dense": self.head.dense, "words": self.head.words}
        makers |= {"grid": self.grid and self.grid.vectors, "keys": self.grid and self.grid.keys}
        makers |= dict(zip(self.layers[1:], self.cells[1:], strict=True))
        xp = array_module(params.flat)
        for home in (params, constants):
            for k, (part, maker) in enumerate(makers.items()):
                rng = np.random.default_rng([self.recipe.training.seed, k])
                for name, fill in maker.initialisers().items() if maker else ():
                    if (view := home.get(f"{part}.{name}")) is not None:
                        view[...] = xp.asarray(fill(rng, view.shape))
        constants["picture.deviation"][...] = 1
