"""Small copies of the pictures: embedded in the page as data URIs, or in a folder beside it."""

import base64
import io
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

from PIL import Image, ImageOps

from encoders.files import atomic_write

THUMBNAIL = 224
QUALITY = 82
FOLDER = "report-pictures"

PictureFile = Callable[[str], Path | None]
#: For a picture's name: the address of its small copy, its width and height; None where there is no readable picture.
Thumbnails = Callable[[str], tuple[str, int, int] | None]


def embedded(picture_file: PictureFile) -> Thumbnails:
    """Small copies as data URIs: one file that can be sent to anyone, some 12 kB a picture."""

    def thumbnail(name: str) -> tuple[str, int, int] | None:
        small = jpeg(picture_file(name))
        if small is None:
            return None
        data, width, height = small
        return f"data:image/jpeg;base64,{base64.b64encode(data).decode('ascii')}", width, height

    return thumbnail


def beside_page(picture_file: PictureFile, folder: Path) -> Thumbnails:
    """Small copies in a folder beside the page, which loads only those that are looked at."""

    def thumbnail(name: str) -> tuple[str, int, int] | None:
        small = jpeg(picture_file(name))
        if small is None:
            return None
        data, width, height = small
        file = Path(FOLDER) / f"{name}.jpg"
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(folder / file) as copy:
            copy.write(data)
        return quote(file.as_posix()), width, height

    return thumbnail


def jpeg(path: Path | None) -> tuple[bytes, int, int] | None:
    """A small JPEG of a picture with its size; None where there is no readable picture."""
    if path is None:
        return None
    try:
        with Image.open(path) as picture:
            small = ImageOps.exif_transpose(picture).convert("RGB")
            small.thumbnail((THUMBNAIL, THUMBNAIL), Image.Resampling.LANCZOS)
            data = io.BytesIO()
            small.save(data, "JPEG", quality=QUALITY, optimize=True)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return None
    return data.getvalue(), *small.size
