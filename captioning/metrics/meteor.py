"""METEOR by nltk: exact, stemmed and synonymous words, aligned (Lavie and Agarwal, WMT 2007, section 2).

It needs WordNet's data, which nltk does not bring along. Where they are absent METEOR is not measured, and
`meteor_label` says so: an alignment without synonyms would be another metric.

This is not the METEOR 1.5 of COCO's toolkit, a Java program with other parameters and a table of paraphrases: its
figures are to be compared with figures made by nltk alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache, lru_cache
from typing import Any, NamedTuple

import nltk
from nltk.corpus import wordnet
from nltk.stem.porter import PorterStemmer
from nltk.translate.meteor_score import meteor_score

Tokens = Sequence[str]
REMEDY = "python -m nltk.downloader wordnet"


class _Stemmer:
    """Porter's stemmer, which remembers: captions have few different words."""

    def __init__(self) -> None:
        self.stem = cache(PorterStemmer().stem)


class _Synset(NamedTuple):
    names: tuple[str, ...]

    def lemmas(self) -> list[_Lemma]:
        return [_Lemma(name) for name in self.names]


class _Lemma(NamedTuple):
    word: str

    def name(self) -> str:
        return self.word


class _Synonyms:
    """WordNet's synonyms of a word as nltk's aligner asks for them, looked up once a word."""

    def __init__(self, reader: Any) -> None:
        self._reader = reader
        self.synsets = cache(self._synsets)

    def _synsets(self, word: str) -> list[_Synset]:
        found = {lemma.name() for synset in self._reader.synsets(word) for lemma in synset.lemmas()}
        return [_Synset(tuple(sorted(found)))]


@lru_cache(maxsize=1)
def _tools() -> tuple[_Stemmer, _Synonyms, str] | None:
    """Stemmer, synonyms and WordNet's version; None where nltk finds no WordNet data, or not all of its files."""
    try:
        version = str(wordnet.get_version())
    except (LookupError, OSError):
        return None
    return _Stemmer(), _Synonyms(wordnet), version


def meteor_label() -> str:
    """What METEOR was measured with, or why it was not."""
    tools = _tools()
    if tools is None:
        return f"not measured: nltk finds no WordNet data here, or not all; `{REMEDY}` gets them"
    return (
        f"by nltk {nltk.__version__} with WordNet {tools[2]}, mean over pictures of the best reference; "
        "not COCO's METEOR 1.5, whose parameters and paraphrases are others"
    )


def meteor(candidates: Mapping[str, Tokens], references: Mapping[str, Sequence[Tokens]]) -> list[float] | None:
    """METEOR of each picture, from 0 to 100; None where nltk finds no WordNet data."""
    tools = _tools()
    if tools is None:
        return None
    stemmer, synonyms, _ = tools
    return [
        100 * float(meteor_score(references[name], words, stemmer=stemmer, wordnet=synonyms))
        for name, words in candidates.items()
    ]
