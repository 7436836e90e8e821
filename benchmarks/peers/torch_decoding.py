"""Greedy and beam search in PyTorch, written for speed: batched, stateful, finished pictures left out."""

from __future__ import annotations

from typing import Any

import torch

from benchmarks.peers.torch_captioner import TorchCaptioner
from captioning.vocabulary import Vocabulary

State = tuple[torch.Tensor, ...]


class TorchDecoder:
    """Captions from features (n, F): `beam` hypotheses a picture, `longest` words at most; a beam of 1 is greedy."""

    def __init__(self, model: TorchCaptioner, vocabulary: Vocabulary, beam: int, longest: int) -> None:
        self.model, self.vocabulary, self.beam, self.longest = model.eval(), vocabulary, beam, longest
        self.never = torch.tensor(sorted(vocabulary.never_emitted))

    @torch.inference_mode()
    def __call__(self, features: torch.Tensor) -> torch.Tensor:
        """Return the words of each picture's best caption, (n, longest), filled up with the end marker."""
        n, K, end = len(features), self.beam, self.vocabulary.end
        picture = torch.relu(self.model.picture(features)).repeat_interleave(K, 0)
        words = torch.full((n, K, self.longest), end)
        score = torch.full((n, K), -torch.inf)
        score[:, 0] = 0
        active, last = torch.arange(n), torch.full((n * K,), self.vocabulary.start)
        state: State | None = None
        for length in range(self.longest):
            log_p, state = self._step(picture, last, state)
            if length == 0:
                log_p[:, end] = -torch.inf  # a caption has words
            total = self._continued(log_p.view(len(active), K, -1), score[active], last.view(-1, K) == end)
            best, choice = total.flatten(1).topk(K)
            parent, word = choice // total.shape[2], choice % total.shape[2]
            row = torch.arange(len(active))[:, None]
            history = words[active[:, None], parent]
            history[:, :, length] = word
            words[active], score[active] = history, best
            going = ~(word == end).all(1)
            if not bool(going.any()):
                break
            source = (row * K + parent)[going].flatten()
            active, last, picture = active[going], word[going].flatten(), picture[source]
            state = tuple(s[:, source] for s in state)
        return words[torch.arange(n), score.argmax(1)]

    def _step(self, picture: torch.Tensor, words: torch.Tensor, state: State | None) -> tuple[torch.Tensor, State]:
        model = self.model
        given: Any = state if state is None or len(state) == 2 else state[0]
        output, after = model.rnn(model.embedding(words)[None], given)
        dense = torch.relu(model.dense(output[0] + picture))
        log_p = torch.log_softmax(model.words(dense), -1)
        log_p[:, self.never] = -torch.inf
        return log_p, after if isinstance(after, tuple) else (after,)

    def _continued(self, log_p: torch.Tensor, score: torch.Tensor, finished: torch.Tensor) -> torch.Tensor:
        """Return the score of every word after every hypothesis; a finished one stays as it is, once."""
        if self.beam > 1:
            log_p[finished] = -torch.inf
            log_p[..., self.vocabulary.end][finished] = 0
        return score[:, :, None] + log_p
