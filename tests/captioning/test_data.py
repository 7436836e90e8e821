"""Loading captions: the real corpus, small corpora in every format, and everything that can be wrong."""

from pathlib import Path

import pytest

from captioning.data import Dataset, load_csv, load_dataset, load_flickr8k
from captioning.errors import CaptioningError
from captioning.text import PAPER

LISTS = {"train": "trainImages", "validation": "devImages", "test": "testImages"}
TOKENS = "".join(f"{name}.jpg#{k}\tCaption {k} of {name} .\n" for name in "abcd" for k in range(2))


def write_corpus(folder: Path, tokens: str = TOKENS, **lists: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "Flickr8k.token.txt").write_text(tokens, encoding="utf-8")
    names = {"train": "a.jpg\nb.jpg\n", "validation": "c.jpg\n", "test": "d.jpg\n"} | lists
    for split, text in names.items():
        (folder / f"Flickr_8k.{LISTS[split]}.txt").write_text(text, encoding="utf-8")
    return folder


def write_csv(folder: Path, rows: str, header: str = "image,caption\n") -> Path:
    path = folder / "captions.csv"
    path.write_text(header + rows, encoding="utf-8")
    return path


@pytest.mark.data
def test_the_real_corpus(real_data: Path) -> None:
    data = load_dataset(real_data / "flickr8k")
    assert len(data.captions) == 8_092
    assert {split: len(names) for split, names in data.splits.items()} == {
        "train": 6_000,
        "validation": 1_000,
        "test": 1_000,
    }
    assert all(len(own) == 5 for own in data.captions.values())
    assert next(iter(data.captions.items()))[0] == "1000268201_693b08cb0e.jpg"
    assert any("2258277193_586949ec62.jpg.1" in line and line.startswith("1 ") for line in data.problems)
    assert any(line.startswith("10 pictures have the same caption") for line in data.problems)
    assert len(data.problems) == 2


@pytest.mark.data
def test_the_stray_is_reported_without_pictures_too(real_data: Path, tmp_path: Path) -> None:
    for file in (real_data / "flickr8k").glob("*.txt"):
        (tmp_path / file.name).symlink_to(file)
    data = load_flickr8k(tmp_path)
    assert data.pictures is None
    assert any("2258277193_586949ec62.jpg.1" in line for line in data.problems)


def test_a_small_corpus(tmp_path: Path) -> None:
    data = load_dataset(write_corpus(tmp_path / "small"))
    assert data.name == "small"
    assert data.captions["a.jpg"] == ("Caption 0 of a .", "Caption 1 of a .")
    assert data.splits == {"train": ("a.jpg", "b.jpg"), "validation": ("c.jpg",), "test": ("d.jpg",)}
    assert data.problems == ()
    assert list(data.pairs("test")) == [("d.jpg", "Caption 0 of d ."), ("d.jpg", "Caption 1 of d .")]
    assert data.references("validation", PAPER) == {"c.jpg": [["caption", "of"], ["caption", "of"]]}
    with pytest.raises(CaptioningError, match="no split 'dev'; the splits are train, validation, test"):
        data.names("dev")


@pytest.mark.parametrize("folder", ["Images", "Flicker8k_Dataset", "images224", "pictures", "."])
def test_pictures_are_found_in_the_usual_folders(tmp_path: Path, folder: str) -> None:
    write_corpus(tmp_path)
    (tmp_path / folder).mkdir(exist_ok=True)
    for name in "abc":
        (tmp_path / folder / f"{name}.jpg").write_bytes(b"a picture")
    data = load_flickr8k(tmp_path)
    assert data.pictures == tmp_path / folder
    assert data.picture("a.jpg").is_file()
    assert data.problems == (f"1 captioned name has no picture in {(tmp_path / folder).name}: d.jpg",)
    with pytest.raises(CaptioningError, match=r"the picture d\.jpg is not in"):
        data.picture("d.jpg")


def test_the_unpacked_archive_with_its_own_text_folder(tmp_path: Path) -> None:
    write_corpus(tmp_path / "Flickr8k_text")
    assert len(load_dataset(tmp_path).captions) == 4


def test_problems_are_counted_and_named(tmp_path: Path) -> None:
    tokens = TOKENS + "e.jpg#0\t \ne.jpg.1#0\tA stray .\na.jpg#2\tCaption 0 of a .\n"
    data = load_flickr8k(write_corpus(tmp_path, tokens, train="a.jpg\na.jpg\nb.jpg\ne.jpg\n"))
    assert data.problems == (
        "1 empty caption dropped: e.jpg",
        "1 captioned name is no picture's name: e.jpg.1",
        "1 picture has the same caption more than once (kept): a.jpg",
        "1 name of the split 'train' without captions (left out): e.jpg",
        "1 name more than once in the split 'train' (taken once): a.jpg",
    )
    assert data.splits["train"] == ("a.jpg", "b.jpg")


def test_a_picture_in_two_splits_is_refused(tmp_path: Path) -> None:
    write_corpus(tmp_path, test="a.jpg\nd.jpg\n")
    with pytest.raises(CaptioningError, match=r"more than one split.*a\.jpg"):
        load_flickr8k(tmp_path)


def test_an_empty_split_is_refused(tmp_path: Path) -> None:
    write_corpus(tmp_path, validation="\n")
    with pytest.raises(CaptioningError, match="no picture of the split 'validation'"):
        load_flickr8k(tmp_path)


@pytest.mark.parametrize("line", ["a.jpg#0 no tab", "a.jpg\tno number", "a.jpg#x\tno number", "#1\tno name"])
def test_a_malformed_token_line_is_named(tmp_path: Path, line: str) -> None:
    write_corpus(tmp_path, TOKENS + "\n" + line + "\n")
    with pytest.raises(CaptioningError, match=r"Flickr8k\.token\.txt, line 10: expected NAME#K<TAB>caption"):
        load_flickr8k(tmp_path)


def test_undecodable_bytes_are_named(tmp_path: Path) -> None:
    write_corpus(tmp_path)
    path = tmp_path / "Flickr8k.token.txt"
    path.write_bytes(path.read_bytes() + b"a.jpg#2\tcaf\xe9 \n")
    with pytest.raises(CaptioningError, match=r"line 9: not UTF-8 \(byte 0xe9\)"):
        load_flickr8k(tmp_path)


def test_byte_order_mark_and_carriage_returns_are_taken(tmp_path: Path) -> None:
    write_corpus(tmp_path, train="a.jpg\r\nb.jpg\r\n")
    (tmp_path / "Flickr8k.token.txt").write_bytes(b"\xef\xbb\xbf" + TOKENS.replace("\n", "\r\n").encode())
    data = load_flickr8k(tmp_path)
    assert data.captions["a.jpg"][0] == "Caption 0 of a ."
    assert data.splits["train"] == ("a.jpg", "b.jpg")


@pytest.mark.parametrize("name", ["../a.jpg", "/etc/a.jpg", "x/../../a.jpg"])
def test_names_cannot_leave_the_picture_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(CaptioningError, match=r"line 1: .* is no picture name"):
        load_flickr8k(write_corpus(tmp_path, f"{name}#0\tA dog .\n"))
    with pytest.raises(CaptioningError, match=r"line 2: .* is no picture name"):
        load_csv(write_csv(tmp_path, f"{name},A dog .\n"))


def test_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(CaptioningError, match=r"no dataset at .*nowhere"):
        load_dataset(tmp_path / "nowhere")
    with pytest.raises(
        CaptioningError, match=r"Looked for Flickr8k\.token\.txt .* captions\.csv, captions\.txt, captions\.jsonl"
    ):
        load_dataset(tmp_path)
    with pytest.raises(CaptioningError, match=r"has no Flickr8k\.token\.txt"):
        load_flickr8k(tmp_path)
    write_corpus(tmp_path)
    (tmp_path / "Flickr_8k.devImages.txt").unlink()
    with pytest.raises(CaptioningError, match=r"lacks Flickr_8k\.devImages\.txt"):
        load_flickr8k(tmp_path)
    for file in tmp_path.glob("Flickr_8k.*"):
        file.unlink()
    with pytest.raises(CaptioningError, match="but none of"):
        load_flickr8k(tmp_path)


def rows(count: int) -> str:
    return "".join(f"{i}.jpg,Caption {k} of {i}\n" for i in range(count) for k in range(2))


def test_csv_commas_quotes_and_lines_within_captions(tmp_path: Path) -> None:
    text = 'a.jpg,"A dog, wet, runs"\na.jpg,A dog, wet, runs\nb.jpg,"A ""big"" dog"\nb.jpg,A "big" dog\n'
    data = load_csv(write_csv(tmp_path, text + 'c.jpg,"two\nlines"\n'))
    assert data.captions == {
        "a.jpg": ("A dog, wet, runs", "A dog, wet, runs"),
        "b.jpg": ('A "big" dog', 'A "big" dog'),
        "c.jpg": ("two lines",),
    }


def test_csv_split_is_drawn_with_the_seed(tmp_path: Path) -> None:
    path = write_csv(tmp_path, rows(80))
    data = load_csv(path, seed=3)
    assert {split: len(names) for split, names in data.splits.items()} == {
        "train": 60,
        "validation": 10,
        "test": 10,
    }
    assert set().union(*data.splits.values()) == data.captions.keys()
    assert load_csv(path, seed=3) == data
    assert load_csv(path, seed=4).splits != data.splits
    lines = rows(80).splitlines(keepends=True)
    assert load_csv(write_csv(tmp_path, "".join(lines[::-1])), seed=3).splits == data.splits


def test_csv_takes_the_official_lists_beside_it(tmp_path: Path) -> None:
    write_corpus(tmp_path)
    (tmp_path / "Flickr8k.token.txt").unlink()
    write_csv(tmp_path, "".join(f"{name}.jpg,A caption\n" for name in "abcd"))
    data = load_dataset(tmp_path)
    assert data.splits == {"train": ("a.jpg", "b.jpg"), "validation": ("c.jpg",), "test": ("d.jpg",)}


def test_csv_takes_given_splits_and_pictures(tmp_path: Path) -> None:
    path = write_csv(tmp_path, rows(3))
    (tmp_path / "photos").mkdir()
    splits = {"train": ["0.jpg"], "validation": ["1.jpg"], "test": ["2.jpg"]}
    data = load_csv(path, pictures=tmp_path / "photos", splits=splits)
    assert isinstance(data, Dataset)
    assert data.pictures == tmp_path / "photos"
    assert data.splits == {split: tuple(names) for split, names in splits.items()}
    with pytest.raises(CaptioningError, match="no folder of pictures at"):
        load_csv(path, pictures=tmp_path / "nowhere")
    with pytest.raises(CaptioningError, match="must have the keys train, validation, test, not train"):
        load_csv(path, splits={"train": ["0.jpg"]})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "first line must be image,caption"),
        ("picture,text\na.jpg,A dog\n", "first line must be image,caption, not 'picture,text'"),
        ("image,caption\na.jpg,A dog\nb.jpg\n", r"line 3: expected image,caption, got 'b\.jpg'"),
        ('image,caption\na.jpg,"A dog\nb.jpg,A cat\n', "not CSV"),
        ('image,caption\na.jpg,"A dog" runs\n', "line 2: not CSV .*doubles its own quotes"),
        ("image,caption\na.jpg,A dog\nb.jpg,A cat\n", "2 captioned pictures; three splits need at least 3"),
        ("image,caption\n", "0 captioned pictures"),
    ],
)
def test_a_malformed_csv_is_named(tmp_path: Path, text: str, message: str) -> None:
    path = write_csv(tmp_path, text, header="")
    with pytest.raises(CaptioningError, match=message):
        load_dataset(path)


@pytest.mark.data
def test_the_real_corpus_as_csv_is_the_same(real_data: Path, tmp_path: Path) -> None:
    official = load_dataset(real_data / "flickr8k")
    quoted = (
        f'{name},"{caption.replace(chr(34), chr(34) * 2)}"\n'
        for name, own in official.captions.items()
        for caption in own
    )
    for file in (real_data / "flickr8k").glob("Flickr_8k.*"):
        (tmp_path / file.name).symlink_to(file)
    data = load_csv(write_csv(tmp_path, "".join(quoted)), pictures=official.pictures)
    assert data.splits == official.splits
    assert data.problems == official.problems
    assert {n: [" ".join(c.split()) for c in own] for n, own in official.captions.items()} == {
        n: list(own) for n, own in data.captions.items()
    }
