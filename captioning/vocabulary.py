"""Words and their numbers: padding is 0, the rest by falling count, then alphabetically."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from captioning.errors import CaptioningError
from captioning.text import END, START

PAD, UNKNOWN = "<pad>", "<unk>"  # cleaning deletes < and >, so no caption can hold these


@dataclass(frozen=True)
class Vocabulary:
    """An immutable list of words; a word's number is its place.

    words: `<pad>` first, then `<unk>` where the vocabulary has an unknown token, then the words of the
        captions with the markers `startseq` and `endseq` among them.
    """

    words: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.words or self.words[0] != PAD:
            raise CaptioningError(f"a vocabulary begins with {PAD!r}, this one with {self.words[:1]}")
        if len(self.index) != len(self.words):
            twice = [word for word, count in Counter(self.words).items() if count > 1]
            raise CaptioningError(f"a vocabulary holds each word once; twice here: {', '.join(twice[:5])}")
        if missing := {START, END} - self.index.keys():
            raise CaptioningError(f"a vocabulary needs the markers {START} and {END}; missing: {missing}")

    @classmethod
    def build(cls, captions: Iterable[Sequence[str]], min_count: int, unknown: bool = False) -> "Vocabulary":
        """The words that occur at least `min_count` times in cleaned captions.

        The captions come without markers; each caption counts one `startseq` and one `endseq`, which are
        always kept. With `unknown` there is a token for all other words, otherwise `encode` drops them.
        """
        counts: Counter[str] = Counter()
        total = 0
        for caption in captions:
            counts.update(caption)
            total += 1
        if not total:
            raise CaptioningError("a vocabulary needs captions, but there are none")
        if clash := {PAD, UNKNOWN, START, END} & counts.keys():
            raise CaptioningError(f"captions must come without the reserved words, but hold {sorted(clash)}")
        kept = {word: count for word, count in counts.items() if count >= min_count}
        kept |= {START: total, END: total}
        ordered = sorted(kept, key=lambda word: (-kept[word], word))
        return cls((PAD, *([UNKNOWN] if unknown else []), *ordered))

    def __len__(self) -> int:
        return len(self.words)

    @cached_property
    def index(self) -> dict[str, int]:
        """The number of each word."""
        return {word: number for number, word in enumerate(self.words)}

    @property
    def pad(self) -> int:
        """The number of padding, always 0."""
        return 0

    @property
    def start(self) -> int:
        """The number of `startseq`."""
        return self.index[START]

    @property
    def end(self) -> int:
        """The number of `endseq`."""
        return self.index[END]

    @property
    def unknown(self) -> int | None:
        """The number of the unknown token, or None where unknown words are dropped."""
        return self.index.get(UNKNOWN)

    @property
    def never_emitted(self) -> tuple[int, ...]:
        """The numbers that no decoder may choose: padding, start, and unknown where there is one."""
        fixed = (self.pad, self.start)
        return fixed if self.unknown is None else (*fixed, self.unknown)

    def encode(self, tokens: Sequence[str], max_length: int | None = None) -> list[int]:
        """The numbers of a cleaned caption between both markers.

        Words outside the vocabulary become the unknown token, or are dropped where there is none. What
        exceeds `max_length` (markers included) is cut from the end of the words; both markers stay.
        """
        if max_length is not None and max_length < 2:
            raise CaptioningError(f"max_length counts both markers, so it is at least 2, not {max_length}")
        found = (self.index.get(token, self.unknown) for token in tokens)
        numbers = [number for number in found if number is not None]
        if max_length is not None:
            numbers = numbers[: max_length - 2]
        return [self.start, *numbers, self.end]

    def decode(self, ids: Iterable[int]) -> str:
        """The caption of some numbers: stops at `endseq`, skips padding and `startseq`."""
        words = []
        for number in ids:
            if not 0 <= number < len(self):
                raise CaptioningError(f"word number {number} is outside a vocabulary of {len(self)} words")
            if number == self.end:
                break
            if number not in (self.pad, self.start):
                words.append(self.words[number])
        return " ".join(words)

    @cached_property
    def hash(self) -> str:
        """sha256 (hexadecimal) of `to_json`."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()

    def to_json(self) -> str:
        """The canonical JSON: `{"words": [...]}` without spaces, ASCII only."""
        return json.dumps({"words": self.words}, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> "Vocabulary":
        """The vocabulary that `to_json` wrote; raises CaptioningError for anything else."""
        try:
            read = json.loads(text)
        except ValueError as error:
            raise CaptioningError(f"the vocabulary is not JSON: {error}") from error
        words = read.get("words") if isinstance(read, dict) else None
        if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
            raise CaptioningError('the vocabulary must be {"words": [...]} with a list of strings')
        return cls(tuple(words))
