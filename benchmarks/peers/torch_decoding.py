"""Greedy and beam search in PyTorch, written for speed: batched, stateful, and only what still grows is run."""

from __future__ import annotations

from typing import Any

import torch

from benchmarks.peers.torch_captioner import TorchCaptioner
from captioning.vocabulary import Vocabulary

State = tuple[torch.Tensor, ...]


class TorchDecoder:
    """Captions from features (n, F): `beam` hypotheses a picture, `longest` words at most; a beam of 1 is greedy.

    whole_beams : run the finished hypotheses of a picture on until all are finished, as simpler loops do.
    """

    def __init__(
        self, model: TorchCaptioner, vocabulary: Vocabulary, beam: int, longest: int, whole_beams: bool = False
    ) -> None:
        self.model, self.vocabulary, self.beam, self.longest = model.eval(), vocabulary, beam, longest
        self.never, self.whole_beams = torch.tensor(sorted(vocabulary.never_emitted)), whole_beams

    @torch.inference_mode()
    def __call__(self, features: torch.Tensor) -> torch.Tensor:
        """Return the words of each picture's best caption, (n, longest), filled up with the end marker."""
        n, K, end = len(features), self.beam, self.vocabulary.end
        words, score = torch.full((n, K, self.longest), end), torch.full((n, K), -torch.inf)
        score[:, 0] = 0
        active, going = torch.arange(n), score == 0  # one may multiply
        run = torch.ones_like(going) if self.whole_beams else going
        picture = torch.relu(self.model.picture(features))[run.nonzero()[:, 0]]
        last, state = torch.full((len(picture),), self.vocabulary.start), None
        for length in range(self.longest):
            log_p, state = self._step(picture, last, state)
            if length == 0:
                log_p[:, end] = -torch.inf  # a caption has words
            gain, word = self._ways(log_p, run, going)
            best, choice = (score[active][:, :, None] + gain).flatten(1).topk(K)
            parent, word = choice // K, word.flatten(1).gather(1, choice)
            history = words[active[:, None], parent]
            history[:, :, length] = word
            words[active], score[active] = history, best
            going = (word != end) & (best > -torch.inf)
            more = going.any(1)
            if not bool(more.any()):
                break
            row = run.flatten().cumsum(0).view_as(run) - 1
            run = more[:, None].expand_as(going) if self.whole_beams else going
            source = row.gather(1, parent)[run]
            last, picture, state = word[run], picture[source], tuple(s[:, source] for s in state)
            active, run, going = active[more], run[more], going[more]
        return words[torch.arange(n), score.argmax(1)]

    def _ways(self, log_p: torch.Tensor, run: torch.Tensor, going: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return what the best words after every hypothesis add to its score, and the words; a finished one stays."""
        shape, end = (*run.shape, self.beam), self.vocabulary.end
        gain, word = torch.full(shape, -torch.inf), torch.full(shape, end)
        gain[run], word[run] = log_p.topk(self.beam)
        gain[~going] = -torch.inf
        gain[..., 0][~going] = 0
        word[~going] = end
        return gain, word

    def _step(self, picture: torch.Tensor, words: torch.Tensor, state: State | None) -> tuple[torch.Tensor, State]:
        model = self.model
        given: Any = state if state is None or len(state) == 2 else state[0]
        output, after = model.rnn(model.embedding(words)[None], given)
        dense = torch.relu(model.dense(output[0] + picture))
        log_p = torch.log_softmax(model.words(dense), -1)
        log_p[:, self.never] = -torch.inf
        return log_p, after if isinstance(after, tuple) else (after,)
