"""The captioner of `captioning.model` in PyTorch: the peer of the benchmarks, as good as PyTorch lets it be."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn
from torch.nn.utils.rnn import PackedSequence, pad_packed_sequence

from captioning.model import Batch
from captioning.train import Trainer
from rnncore.array import Array, to_host

# PyTorch's order of the gates, in terms of ours.
GATES = {"LSTM": (0, 1, 3, 2), "GRU": (0, 1, 2)}


class TorchCaptioner(nn.Module):
    """The merge model with an LSTM or a GRU, its parameters copied from a trainer's model, on the trainer's device.

    packed : run the recurrent layer over a PackedSequence; otherwise over padded sequences.
    agree : how far the losses of the two models may be apart before anything is learnt.
    """

    def __init__(self, trainer: Trainer, packed: bool, agree: float = 1e-4) -> None:
        super().__init__()
        recipe, ours = trainer.recipe, trainer.model
        model, size = recipe.model, recipe.embedding.size
        self.packed, self.clip = packed, recipe.training.clip_norm
        self.picture = nn.Linear(ours.parts.features, model.hidden)
        self.embedding = nn.Embedding(ours.parts.embedding.words, size, padding_idx=0)
        own = ours.parts.cells[0]
        cell = type(getattr(own, "cell", own)).__name__  # a fused cell holds the one that it does the work of
        self.rnn = getattr(nn, cell)(size, model.hidden)
        self.dense = nn.Linear(model.hidden, model.dense)
        self.words = nn.Linear(model.dense, ours.parts.embedding.words)
        rates = (model.picture_dropout, model.word_dropout, model.output_dropout)
        self.on_picture, self.on_words, self.on_output = (nn.Dropout(rate) for rate in rates)
        self._copy(trainer, GATES[cell])
        self.to("cpu" if trainer.model.xp is np else "cuda")
        self.embedding.weight.requires_grad_(recipe.embedding.train)
        trained = [p for p in self.parameters() if p.requires_grad]
        self.adam = torch.optim.Adam(trained, lr=recipe.training.learning_rate, fused=True)
        self._check_equal_loss(trainer, agree)

    def _copy(self, trainer: Trainer, gates: tuple[int, ...]) -> None:
        tensors = {name: to_host(a) for name, a in trainer.model.tensors().items()}
        hidden = self.rnn.hidden_size

        def permuted(name: str) -> torch.Tensor:
            blocks = tensors[f"rnn.{name}"].reshape(len(gates), hidden, *tensors[f"rnn.{name}"].shape[1:])
            return torch.from_numpy(np.ascontiguousarray(blocks[list(gates)]).reshape(-1, *blocks.shape[2:]))

        with torch.no_grad():
            for part in ("picture", "dense", "words"):
                getattr(self, part).weight.copy_(torch.from_numpy(tensors[f"{part}.W"]))
                getattr(self, part).bias.copy_(torch.from_numpy(tensors[f"{part}.b"]))
            self.embedding.weight.copy_(torch.from_numpy(tensors["embedding.E"]))
            self.rnn.weight_ih_l0.copy_(permuted("W"))
            self.rnn.weight_hh_l0.copy_(permuted("U"))
            self.rnn.bias_ih_l0.copy_(permuted("b"))
            self.rnn.bias_hh_l0.copy_(permuted("b_U") if "rnn.b_U" in tensors else torch.zeros(len(gates) * hidden))

    def forward(self, batch: Batch) -> torch.Tensor:
        """Return the logits (N, V) of the packed rows."""
        sizes = torch.tensor(batch.packing.batch_sizes)
        picture = torch.relu(self.picture(self.on_picture(tensor(batch.vectors))))
        embedded = self.on_words(self.embedding(tensor(batch.inputs)))
        packed = PackedSequence(embedded, sizes)
        if self.packed:
            output = self.rnn(packed)[0].data
        else:
            padded, _ = pad_packed_sequence(packed)
            rows = tensor(batch.packing.index("padded_row", batch.vectors))  # a mask would make the host wait
            output = self.rnn(padded)[0].flatten(0, 1).index_select(0, rows)
        merged = output + picture[tensor(batch.packing.index("sequence_of_row", batch.vectors))]
        return self.words(self.on_output(torch.relu(self.dense(merged))))

    def training_step(self, batch: Batch) -> float:
        """Forward, backward, clipping and Adam; return the loss."""
        self.train()
        self.adam.zero_grad()
        loss = nn.functional.cross_entropy(self(batch), tensor(batch.targets))
        loss.backward()
        if self.clip:
            nn.utils.clip_grad_norm_(self.parameters(), self.clip)
        self.adam.step()
        return float(loss.detach())

    def _check_equal_loss(self, trainer: Trainer, agree: float) -> None:
        """The two are one model: equal parameters give equal losses."""
        self.eval()
        batch = next(trainer.train_split.batches(4))
        with torch.no_grad():
            theirs = float(nn.functional.cross_entropy(self(batch), tensor(batch.targets)))
        mine = trainer.model.loss(batch)
        if not abs(mine - theirs) < agree:
            raise RuntimeError(f"the two models differ: our loss {mine}, PyTorch's {theirs}")


def tensor(x: Array) -> torch.Tensor:
    """Return a tensor that is the same memory, on the host or on the GPU."""
    return torch.from_numpy(x) if isinstance(x, np.ndarray) else torch.from_dlpack(x)
