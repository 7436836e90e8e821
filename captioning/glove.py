"""GloVe's text files: the rows of some words, read in one pass (Pennington et al., EMNLP 2014)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from captioning.errors import CaptioningError
from captioning.vocabulary import PAD


@dataclass(frozen=True)
class GloveRows:
    """The vectors of some words.

    matrix: (words, size) float32, in the order of the words; padding's row is zero.
    found: for each word, whether the file has a row for it.
    missing: the words without one, padding apart.
    """

    matrix: npt.NDArray[np.float32]
    found: tuple[bool, ...]
    missing: tuple[str, ...]


def load_glove(path: str | Path, words: Sequence[str], size: int, *, scale: float = 0.0, seed: int = 0) -> GloveRows:
    """Reads the rows of `words` from a file of lines `word number number ...`.

    Only wanted rows are parsed, so that the whole 400,000-row file takes a few seconds. The numbers are the
    last `size` fields of a line, because some words of the 840B file contain spaces.

    size: the numbers in a row, such as 200 for `glove.6B.200d.txt`.
    scale: words without a row get normal numbers of this standard deviation, drawn with `seed`; 0, the
        default, makes them zero.
    """
    path = Path(path)
    places = {word.encode(): place for place, word in enumerate(words) if word != PAD}
    matrix = np.zeros((len(words), size), dtype=np.float32)
    found = [False] * len(words)
    for number, word, numbers in _rows(path, size):
        place = places.get(word)
        if place is not None and not found[place]:
            matrix[place] = _parsed(path, number, word, numbers)
            found[place] = True
    lacking = [place for word, place in places.items() if not found[place]]
    draws = np.random.default_rng(seed).standard_normal((len(lacking), size))
    matrix[lacking] = scale * draws
    return GloveRows(matrix, tuple(found), tuple(words[place] for place in lacking))


def _rows(path: Path, size: int) -> Iterator[tuple[int, bytes, bytes]]:
    """(line, word, numbers not yet parsed) of each row; every row's field count is checked."""
    first = True
    try:
        with path.open("rb") as file:
            for line, raw in enumerate(file, start=1):
                row = raw.rstrip()
                fields = row.count(b" ")
                if not row or (line == 1 and fields == 1 and row.replace(b" ", b"").isdigit()):
                    continue  # a blank line, or word2vec's header of two counts
                if fields < size or (first and fields > size and _is_number(row.split(b" ")[1])):
                    raise CaptioningError(
                        f"{path}, line {line}: {fields} numbers where a row has {size}; either the file is "
                        f"damaged or cut short, or the embedding size in the recipe is not the file's"
                    )
                first = False
                word, numbers = row.split(b" ", 1) if fields == size else _split_from_right(row, size)
                yield line, word, numbers
        if first:
            raise CaptioningError(f"{path} holds no rows; the download may have been cut short")
    except OSError as error:
        raise CaptioningError(
            f"the GloVe vectors {path} cannot be read: {error.strerror or error}; glove.6B.zip from "
            f"nlp.stanford.edu/projects/glove holds them"
        ) from error


def _split_from_right(row: bytes, size: int) -> tuple[bytes, bytes]:
    """The word, which holds spaces itself, and the numbers after it."""
    word, *numbers = row.rsplit(b" ", size)
    return word, b" ".join(numbers)


def _is_number(field: bytes) -> bool:
    try:
        float(field)
    except ValueError:
        return False
    return True


def _parsed(path: Path, line: int, word: bytes, numbers: bytes) -> npt.NDArray[np.float32]:
    try:
        vector = np.array(numbers.split(b" "), dtype=np.float64)
    except ValueError:
        vector = np.array([np.nan])
    if not (np.abs(vector) <= np.finfo(np.float32).max).all():
        raise CaptioningError(f"{path}, line {line}: the row of {word.decode()!r} holds something not a number")
    return vector.astype(np.float32)
