"""What one batch teaches: the gradients of the captions' likelihood, or of the reward of captions of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Protocol

import numpy as np

from captioning.batch import Batch
from captioning.choice import drawn
from captioning.config import Recipe
from captioning.corpus import Integers, Split
from captioning.decode import Hypothesis, beam_search, draw
from captioning.metrics import CiderD
from captioning.model import Captioner
from captioning.text import END
from captioning.vocabulary import Vocabulary
from rnncore.array import Array, array_module
from rnncore.losses import log_softmax
from rnncore.packing import Packing


class Objective(Protocol):
    """What training minimises."""

    def gradients(self, pictures: Integers, epoch: int, rng: np.random.Generator) -> tuple[float, int]:
        """Write the gradients of some pictures of the training split into the model.

        Returns
        -------
        The loss, and over how many words it is the mean.
        """
        ...


class Likelihood:
    """The loss of the captions in nats a word, reading their words, or some of the model's own.

    With scheduled sampling a share of the words read is replaced by words drawn from what the model predicts there
    when it reads the captions themselves; that share rises evenly from 0 in the first epoch to
    `training.scheduled_sampling` in the last. All words of a batch are drawn at once.

    Source: S. Bengio et al., Scheduled sampling for sequence prediction with recurrent neural networks, NIPS 2015; the
    two passes are those of D. Duckworth et al., Parallel scheduled sampling, 2019 (arXiv 1906.04331), section 3.
    """

    def __init__(self, model: Captioner, split: Split, recipe: Recipe) -> None:
        self.model, self.split = model, split
        self.share, self.epochs = recipe.training.scheduled_sampling, recipe.training.epochs

    def gradients(self, pictures: Integers, epoch: int, rng: np.random.Generator) -> tuple[float, int]:
        """Write the gradients of the captions of some pictures."""
        batch = self.split.batch(self.split.captions_of(pictures))
        if share := self.share * (epoch - 1) / max(self.epochs - 1, 1):
            batch = self.mixed(batch, share, rng)
        return self.model.loss_and_gradients(batch), batch.packing.rows

    def mixed(self, batch: Batch, share: float, rng: np.random.Generator) -> Batch:
        """Return the batch with a share of the words read, never the first, replaced by the model's own."""
        xp, packing = self.model.xp, batch.packing
        own = drawn(log_softmax(self.model.logits(batch)), xp.asarray(rng.random(packing.rows)))
        before = packing.previous - packing.batch  # the row of the word before; negative at a caption's first word
        taken = np.flatnonzero((rng.random(packing.rows) < share) & (before >= 0))
        inputs = batch.inputs.copy()
        inputs[xp.asarray(taken)] = own[xp.asarray(before[taken])]
        return replace(batch, inputs=inputs)


class SelfCritical:
    r"""The expected reward of captions that the model draws, CIDEr-D against the picture's own, by REINFORCE.

    .. math:: \nabla L = -\tfrac1N \sum_k (r_k - b_k) \sum_t \nabla \log p(w_{kt})

    over k captions of N words in all. b is the reward of the picture's greedy caption, or the mean reward of its other
    draws. The end counts as a word in the reward, or else captions learn to stop in the middle of a phrase.

    p is what words are drawn from, and nothing else: without dropout (nor attention's penalty), without the words that
    no caption may have, at `training.temperature`. At 1 a model that was trained with label smoothing draws a wrong
    word every few words. What pays there is to stop early and to be vague, which a beam has no need of; low enough,
    what is drawn is like what is decoded.

    Source: S. Rennie et al., Self-critical sequence training for image captioning, CVPR 2017, section 3; the mean of
    the other draws from R. Luo, A better variant of self-critical sequence training, 2020 (arXiv 2003.09971).
    """

    def __init__(
        self, model: Captioner, split: Split, recipe: Recipe, vocabulary: Vocabulary, references: dict[str, Any]
    ) -> None:
        self.model, self.split, self.vocabulary = model, split, vocabulary
        self.samples, self.greedy = recipe.training.samples, recipe.training.baseline == "greedy"
        self.temperature = recipe.training.temperature
        plain = replace(recipe.decoding, groups=1, no_repeat=0, temperature=self.temperature, top_k=0, nucleus=1.0)
        self.drawing, self.best = replace(plain, sample=True, beam=self.samples), replace(plain, beam=1)
        self.scorer = CiderD({name: [[*words, END] for words in own] for name, own in references.items()})

    def gradients(self, pictures: Integers, epoch: int, rng: np.random.Generator) -> tuple[float, int]:
        """Write the gradients of the reward of captions drawn for some pictures; the loss is minus the mean reward."""
        some = self.split.features[self.model.xp.asarray(pictures)]
        found = draw(self.model, some, self.vocabulary, self.drawing, rng)
        rewards = self.rewards(pictures, found)
        if self.greedy:
            baseline = self.rewards(pictures, beam_search(self.model, some, self.vocabulary, self.best))
        else:
            baseline = (rewards.sum(1, keepdims=True) - rewards) / max(self.samples - 1, 1)
        captions = [caption for own in found for caption in own]
        batch, advantage = self.batch(pictures, captions, (rewards - baseline).ravel())
        self.reinforce(batch, advantage)
        return -float(rewards.mean()), batch.packing.rows

    def reinforce(self, batch: Batch, advantage: Array) -> None:
        """Write the gradients of `policy_loss` of drawn captions into the model."""

        def objective(logits: Array) -> tuple[float, Array]:
            logits[:, list(self.vocabulary.never_emitted)] = -np.inf
            logits[: batch.packing.batch, self.vocabulary.end] = -np.inf  # `draw` lets no caption begin with its end
            logits /= self.temperature
            loss, gradient = policy_loss(logits, batch.targets, advantage)
            gradient /= self.temperature
            return loss, gradient

        self.model.loss_and_gradients(batch, train=False, objective=objective)

    def rewards(self, pictures: Integers, found: Sequence[Sequence[Hypothesis]]) -> np.ndarray:
        """Return the CIDEr-D of every caption of every picture, (n, K)."""
        names = [self.split.names[p] for p, own in zip(pictures, found, strict=True) for _ in own]
        said = [[self.vocabulary.words[w] for w in self._whole(h)] for own in found for h in own]
        rewards: np.ndarray = self.scorer.rewards(names, said)
        return rewards.reshape(len(found), -1)

    def _whole(self, caption: Hypothesis) -> tuple[int, ...]:
        """A caption's words, and its end unless it was cut off."""
        ended = len(caption.words) < self.drawing.max_length
        return (*caption.words, self.vocabulary.end) if ended else caption.words

    def batch(self, pictures: Integers, captions: Sequence[Hypothesis], advantage: np.ndarray) -> tuple[Batch, Array]:
        """Return the captions as a batch, and the advantage of each of its rows (N,); every picture has as many."""
        said = [self._whole(caption) for caption in captions]
        lengths = np.array([len(words) for words in said])
        order = np.argsort(-lengths, kind="stable")
        ids = np.full((len(said), int(lengths.max()) + 1), self.vocabulary.start, np.intp)
        for row, k in enumerate(order):
            ids[row, 1 : lengths[k] + 1] = said[k]
        packing, xp = Packing(lengths[order]), self.model.xp
        owner = np.repeat(np.arange(len(pictures)), len(said) // len(pictures))[order]
        inputs, targets = (xp.asarray(packing.gather(ids, first)) for first in (0, 1))
        some = self.split.features[xp.asarray(pictures)]
        share = xp.asarray(advantage[order].astype(self.model.params.flat.dtype))
        return Batch(some, xp.asarray(owner), inputs, targets, packing), packing.spread(share)


def policy_loss(logits: Array, targets: Array, advantage: Array) -> tuple[float, Array]:
    r"""Return :math:`-\tfrac1N \sum_n A_n \log p(y_n)`, A (N,) of any sign, and its gradient in the logits (N, V)."""
    xp, log_p = array_module(logits), log_softmax(logits)
    rows = xp.arange(len(targets))
    loss = -float((log_p[rows, targets] * advantage).mean())
    with np.errstate(under="ignore"):
        gradient = xp.exp(log_p, out=log_p)
    gradient[rows, targets] -= 1
    gradient *= (advantage / len(targets))[:, None]
    return loss, gradient
