"""What a real run needs from elsewhere: downloaded and verified, or checked where people got it themselves."""

from __future__ import annotations

from pathlib import Path

from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn, TransferSpeedColumn
from rich.progress import Progress as Bar

from captioning.data import TOKEN_SHA256, load_dataset
from captioning.errors import CaptioningError
from captioning.formats import TOKEN_FILE, find
from captioning.terminal import err, out
from encoders.fetch import fetch_inception
from encoders.files import sha256_file

GLOVE_FILE, GLOVE_ROWS = "glove.6B.200d.txt", 400_000
FLICKR8K_HOW = (
    "Flickr8k's pictures belong to their photographers and the corpus is for research: ask for it at the page of "
    "Hodosh, Young and Hockenmaier (JAIR 47, 2013, 'Framing Image Description as a Ranking Task'), and unpack "
    "Flickr8k_Dataset.zip and Flickr8k_text.zip into one folder; the common CSV with the header image,caption works too"
)
GLOVE_HOW = (
    f"GloVe is at the Stanford NLP Group's GloVe page (Pennington et al. 2014): unpack {GLOVE_FILE} from glove.6B.zip"
)


def run_fetch(what: str, folder: Path, local: Path | None, quiet: bool) -> None:
    """Fetch or check one of inception-v3, flickr8k, glove; `local` is inception-v3's file brought from elsewhere."""
    if local is not None and what != "inception-v3":
        raise CaptioningError(f"--from works with inception-v3 only; {what} is checked where it lies, --folder FOLDER")
    if what == "inception-v3":
        _inception(folder / "inception-v3.onnx", local, quiet)
    elif what == "flickr8k":
        _flickr8k(folder)
    elif what == "glove":
        _glove(folder / GLOVE_FILE)
    else:
        raise CaptioningError(f"nothing called {what!r} to fetch; there are inception-v3, flickr8k and glove")


def _inception(target: Path, local: Path | None, quiet: bool) -> None:
    columns = (TextColumn("inception-v3"), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Bar(*columns, console=err, transient=True, disable=quiet or not err.is_terminal) as bar:
        task = bar.add_task("", total=None)
        spec = fetch_inception(
            target, local=local, report=lambda done, size: bar.update(task, completed=done, total=size)
        )
    out.print(f"{target}: {spec.description}, encoder {spec.hash}", markup=False)


def _flickr8k(folder: Path) -> None:
    tokens = find(folder, TOKEN_FILE) if folder.is_dir() else None
    if tokens is None:
        raise CaptioningError(f"{folder} has no {TOKEN_FILE}. {FLICKR8K_HOW}")
    digest = sha256_file(tokens)
    if digest != TOKEN_SHA256:
        raise CaptioningError(f"{tokens}: expected the published file of sha256 {TOKEN_SHA256}, got {digest}")
    dataset = load_dataset(folder)
    for problem in dataset.problems:
        out.print(f"note: {problem}", markup=False)
    sizes = ", ".join(f"{len(names):,} {split}" for split, names in dataset.splits.items())
    pictures = "with its pictures" if dataset.pictures else "without its pictures: features must come from elsewhere"
    out.print(f"{folder}: the published Flickr8k, {sizes}, {pictures}", markup=False)


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
