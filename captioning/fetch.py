"""What a real run needs from elsewhere: downloaded and verified, or checked where people got it themselves."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from PIL import Image
from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn, TransferSpeedColumn
from rich.progress import Progress as Bar

from captioning.data import TOKEN_SHA256, Dataset, load_dataset, load_karpathy
from captioning.errors import CaptioningError
from captioning.formats import TOKEN_FILE, find
from captioning.terminal import counting_bar, err, out
from encoders.fetch import fetch_inception
from encoders.files import sha256_file

GLOVE_FILE, GLOVE_ROWS = "glove.6B.200d.txt", 400_000
FLICKR8K_HOW = (
    "Flickr8k's pictures belong to their photographers and the corpus is for research: ask for it at the page of "
    "Hodosh, Young and Hockenmaier (JAIR 47, 2013, 'Framing Image Description as a Ranking Task'), and unpack "
    "Flickr8k_Dataset.zip and Flickr8k_text.zip into one folder; the common CSV with the header image,caption works too"
)
_KARPATHY_HOW = (
    "its captions and splits are {file}, in the caption_datasets.zip of Karpathy and Fei-Fei (CVPR 2015, 'Deep "
    "Visual-Semantic Alignments for Generating Image Descriptions')"
)
FLICKR30K_HOW = (
    "Flickr30k's pictures belong to their photographers and are for research: ask for them at the page of Young, Lai, "
    "Hodosh and Hockenmaier (TACL 2, 2014, 'From image descriptions to visual denotations'), and unpack them into a "
    f"folder flickr30k_images; {_KARPATHY_HOW.format(file='dataset_flickr30k.json')}"
)
COCO_HOW = (
    "COCO's pictures belong to their photographers, and the corpus has terms of use: train2014.zip and val2014.zip are "
    "at the page of the COCO Consortium (Lin et al., ECCV 2014), to be unpacked side by side; "
    f"{_KARPATHY_HOW.format(file='dataset_coco.json')}"
)
GLOVE_HOW = (
    f"GloVe is at the Stanford NLP Group's GloVe page (Pennington et al. 2014): unpack {GLOVE_FILE} from glove.6B.zip"
)
KARPATHYS = {"flickr30k": FLICKR30K_HOW, "coco": COCO_HOW}


def run_fetch(what: str, folder: Path, local: Path | None, quiet: bool) -> None:
    """Fetch inception-v3, or check flickr8k, flickr30k, coco or glove; `local` is a file of inception-v3."""
    if local is not None and what != "inception-v3":
        raise CaptioningError(f"--from works with inception-v3 only; {what} is checked where it lies, --folder FOLDER")
    if what == "inception-v3":
        _inception(folder / "inception-v3.onnx", local, quiet)
    elif what == "flickr8k":
        _flickr8k(folder, quiet)
    elif what in KARPATHYS:
        _karpathy(folder / f"dataset_{what}.json", KARPATHYS[what], quiet)
    elif what == "glove":
        _glove(folder / GLOVE_FILE)
    else:
        raise CaptioningError(
            f"nothing called {what!r} to fetch; there are inception-v3, flickr8k, flickr30k, coco and glove"
        )


def _inception(target: Path, local: Path | None, quiet: bool) -> None:
    columns = (TextColumn("inception-v3"), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Bar(*columns, console=err, transient=True, disable=quiet or not err.is_terminal) as bar:
        task = bar.add_task("", total=None)
        spec = fetch_inception(
            target, local=local, report=lambda done, size: bar.update(task, completed=done, total=size)
        )
    out.print(f"{target}: {spec.description}, encoder {spec.hash}", markup=False)


def _flickr8k(folder: Path, quiet: bool) -> None:
    tokens = find(folder, TOKEN_FILE) if folder.is_dir() else None
    if tokens is None:
        raise CaptioningError(f"{folder} has no {TOKEN_FILE}. {FLICKR8K_HOW}")
    digest = sha256_file(tokens)
    if digest != TOKEN_SHA256:
        raise CaptioningError(f"{tokens}: expected the published file of sha256 {TOKEN_SHA256}, got {digest}")
    _describe(folder, "the published Flickr8k", load_dataset(folder), quiet)


def _karpathy(path: Path, how: str, quiet: bool) -> None:
    if not path.is_file():
        raise CaptioningError(f"{path} is missing. {how}")
    dataset = load_karpathy(path)
    _describe(path.parent, f"{dataset.name} in Karpathy's splits", dataset, quiet)


def _describe(folder: Path, what: str, dataset: Dataset, quiet: bool) -> None:
    """Say what is there and what is odd about it, pictures that cannot be read among it."""
    for problem in dataset.problems:
        out.print(f"note: {problem}", markup=False)
    sizes = ", ".join(f"{len(names):,} {split}" for split, names in dataset.splits.items())
    pictures = "with its pictures" if dataset.pictures else "without its pictures: features must come from elsewhere"
    with counting_bar("reading the pictures", quiet) as report:
        broken = unreadable(dataset, report)
    if broken:
        shown = ", ".join(broken[:3]) + (f" and {len(broken) - 3:,} more" if len(broken) > 3 else "")
        out.print(f"note: {len(broken):,} pictures cannot be read: {shown}", markup=False)
    out.print(f"{folder}: {what}, {sizes}, {pictures}", markup=False)


def unreadable(dataset: Dataset, report: Callable[[int, int], None]) -> list[str]:
    """Return the names of those pictures that are there and cannot be decoded."""
    if dataset.pictures is None:
        return []
    files = {name: dataset.pictures / name for name in dataset.captions}
    there = {name: file for name, file in files.items() if file.is_file()}
    broken = []
    for done, (name, file) in enumerate(there.items(), start=1):
        try:
            with Image.open(file) as picture:
                picture.load()
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
            broken.append(name)
        report(done, len(there))
    return broken


def _glove(path: Path) -> None:
    if not path.is_file():
        raise CaptioningError(f"{path} is missing. {GLOVE_HOW}")
    with path.open("rb") as file:
        sizes = [row.count(b" ") for row in file]
    if len(sizes) != GLOVE_ROWS or set(sizes) != {200}:
        raise CaptioningError(
            f"{path}: expected {GLOVE_ROWS:,} rows of 200 numbers, got {len(sizes):,} rows of "
            f"{min(sizes, default=0)} to {max(sizes, default=0)}: truncated? {GLOVE_HOW}"
        )
    out.print(f"{path}: all {GLOVE_ROWS:,} rows of 200 numbers", markup=False)
