"""GloVe rows: the real file, words with spaces, words without a row, and damaged files."""

from pathlib import Path

import numpy as np
import pytest

from captioning.data import load_dataset
from captioning.errors import CaptioningError
from captioning.glove import load_glove
from captioning.text import PAPER, clean
from captioning.vocabulary import Vocabulary

WORDS = ("<pad>", "dog", "zebra", "cat")
ROWS = "the 9 9 9\ndog 1 2 3\ncat -1 0.5 1e-2\n"


def write(folder: Path, text: str) -> Path:
    path = folder / "glove.txt"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.data
def test_the_real_rows_of_the_papers_vocabulary(real_data: Path) -> None:
    training = load_dataset(real_data / "flickr8k").pairs("train")
    vocabulary = Vocabulary.build((clean(caption, PAPER) for _, caption in training), 10)
    rows = load_glove(real_data / "glove" / "glove.6B.200d.flickr8k-words.txt", vocabulary.words, 200)
    assert rows.matrix.shape == (1_652, 200)
    assert rows.matrix.dtype == np.float32
    assert sum(rows.found) == 1_642
    assert len(rows.missing) == 9
    assert {"startseq", "endseq", "tshirt"} <= set(rows.missing)
    child = rows.matrix[vocabulary.index["child"]]
    np.testing.assert_allclose(child[:3], [0.4934, -0.0085568, -0.4605], rtol=1e-6)
    assert not rows.matrix[0].any()


def test_rows_come_in_the_order_of_the_words(tmp_path: Path) -> None:
    rows = load_glove(write(tmp_path, ROWS), WORDS, 3)
    np.testing.assert_array_equal(rows.matrix, np.array([[0, 0, 0], [1, 2, 3], [0, 0, 0], [-1, 0.5, 0.01]], np.float32))
    assert rows.found == (False, True, False, True)
    assert rows.missing == ("zebra",)


def test_missing_words_can_be_drawn_with_a_seed(tmp_path: Path) -> None:
    words = ("<pad>", *(f"w{i}" for i in range(4_000)))
    path = write(tmp_path, ROWS)
    drawn = load_glove(path, words, 3, scale=0.1, seed=5).matrix
    assert abs(drawn[1:].std() - 0.1) < 0.005
    assert not drawn[0].any()
    np.testing.assert_array_equal(drawn, load_glove(path, words, 3, scale=0.1, seed=5).matrix)
    assert (drawn != load_glove(path, words, 3, scale=0.1, seed=6).matrix)[1:].any()


def test_words_with_spaces_and_other_alphabets(tmp_path: Path) -> None:
    path = write(tmp_path, ". . . 7 8 9\nnaïve 4 5 6\nat home 1 1 1\ndog 1 2 3\n")
    rows = load_glove(path, ("<pad>", ". . .", "naïve", "dog", "home"), 3)
    assert rows.matrix[1:4].tolist() == [[7, 8, 9], [4, 5, 6], [1, 2, 3]]
    assert rows.missing == ("home",)


def test_header_blank_lines_and_trailing_spaces_are_passed_over(tmp_path: Path) -> None:
    rows = load_glove(write(tmp_path, "2 3\ndog 1 2 3 \r\n\ncat 4 5 6"), WORDS, 3)
    assert rows.matrix[[1, 3]].tolist() == [[1, 2, 3], [4, 5, 6]]


def test_the_first_of_two_rows_counts(tmp_path: Path) -> None:
    assert load_glove(write(tmp_path, ROWS + "dog 7 7 7\n"), WORDS, 3).matrix[1].tolist() == [1, 2, 3]


@pytest.mark.parametrize(
    ("text", "size", "message"),
    [
        (ROWS, 2, "line 1: 3 numbers where a row has 2"),
        (ROWS, 4, "line 1: 3 numbers where a row has 4"),
        (ROWS + "bird 1 2", 3, "line 4: 2 numbers where a row has 3; either the file is damaged or cut short"),
        ("the 9 9 9\ndog 1 x 3\n", 3, "line 2: the row of 'dog' holds something not a number"),
        ("the 9 9 9\ndog 1 nan 3\n", 3, "line 2: the row of 'dog'"),
        ("the 9 9 9\ndog 1 1e300 3\n", 3, "line 2: the row of 'dog'"),
    ],
)
def test_damaged_files_are_named_with_the_line(tmp_path: Path, text: str, size: int, message: str) -> None:
    with pytest.raises(CaptioningError, match=message):
        load_glove(write(tmp_path, text), WORDS, size)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(CaptioningError, match=r"glove\.txt cannot be read: No such file"):
        load_glove(tmp_path / "glove.txt", WORDS, 3)


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CaptioningError, match="holds no rows"):
        load_glove(write(tmp_path, ""), WORDS, 3)
