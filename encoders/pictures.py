"""Picture files of every common kind to the array a network takes, through Pillow.

What arrives is what a person sees: turned as its EXIF orientation says, first frame, transparency on white,
grey and palette as RGB, CMYK converted, 16 bits scaled to 8 (not clipped). Everything else is a PictureError
naming the file.
"""

from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from encoders.errors import EncoderError
from encoders.spec import Preprocessing

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".gif", ".webp", ".bmp", ".tif", ".tiff"})

_RESAMPLING = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


class PictureError(EncoderError):
    """A picture cannot be read; the message names the file and why."""


def load_picture(path: Path | str, preprocessing: Preprocessing) -> npt.NDArray[np.float32]:
    """Decode, squash to ``preprocessing.size`` and scale: float32 of ``preprocessing.shape``."""
    return prepare(decode(path, preprocessing.size), preprocessing)


def decode(path: Path | str, wanted: tuple[int, int] | None = None) -> Image.Image:
    """The picture in a file as an upright RGB image.

    ``wanted`` (height, width) lets a JPEG decode at a reduced scale that is still at least twice as large,
    which is many times faster for large photographs.
    """
    path = Path(path)
    try:
        if path.stat().st_size == 0:
            raise PictureError(f"{path}: the file is empty")
        with Image.open(path) as image:
            if wanted is not None:
                image.draft(None, (2 * max(wanted), 2 * max(wanted)))  # only JPEG heeds it
            image.load()
            return _rgb(ImageOps.exif_transpose(image))
    except PictureError:
        raise
    except FileNotFoundError:
        raise PictureError(f"{path}: no such file") from None
    except UnidentifiedImageError:
        raise PictureError(f"{path}: not a picture that Pillow knows (JPEG, PNG, GIF, WebP, ...)") from None
    except Image.DecompressionBombError:
        raise PictureError(
            f"{path}: too many pixels, taken for a decompression bomb; make the picture smaller"
        ) from None
    # Pillow's decoders raise many kinds for damaged data; all of them mean that this file cannot be read.
    except (OSError, ValueError, SyntaxError, EOFError, IndexError, TypeError, MemoryError) as error:
        raise PictureError(f"{path}: cannot be decoded, truncated or damaged ({error})") from error


def prepare(image: Image.Image, preprocessing: Preprocessing) -> npt.NDArray[np.float32]:
    """An RGB image squashed and scaled, y = (x − mean) / std: float32 of ``preprocessing.shape``."""
    height, width = preprocessing.size
    image = image.convert("RGB").resize((width, height), _RESAMPLING[preprocessing.resampling])
    pixels = np.asarray(image)
    if preprocessing.channels == "BGR":
        pixels = pixels[..., ::-1]
    mean, std = np.asarray(preprocessing.mean, np.float32), np.asarray(preprocessing.std, np.float32)
    if preprocessing.layout == "NCHW":
        pixels, mean, std = pixels.transpose(2, 0, 1), mean[:, None, None], std[:, None, None]
    scaled = np.ascontiguousarray(pixels).astype(np.float32)  # bytes move faster than what becomes of them
    scaled -= mean
    scaled /= std
    return scaled


def find_pictures(paths: list[Path]) -> dict[str, Path]:
    """Files as given and all pictures in the given folders, by name, sorted within each folder.

    The name of a file is its last part; of a picture in a folder, its path from that folder. Raises
    EncoderError when a path is missing, two pictures would share a name, or nothing is found.
    """
    found: dict[str, Path] = {}
    for path in paths:
        if not path.exists():
            raise EncoderError(f"{path}: no such file or folder")
        for name, file in _inside(path) if path.is_dir() else [(path.name, path)]:
            if found.setdefault(name, file) != file:
                raise EncoderError(f"two pictures would share the name {name}: {found[name]} and {file}")
    if not found:
        raise EncoderError(f"no pictures in {', '.join(map(str, paths))}; looked for {' '.join(sorted(SUFFIXES))}")
    return found


def _inside(folder: Path) -> list[tuple[str, Path]]:
    files = (file for file in folder.rglob("*") if file.suffix.lower() in SUFFIXES and file.is_file())
    return sorted((file.relative_to(folder).as_posix(), file) for file in files)


def _rgb(image: Image.Image) -> Image.Image:
    """To 8-bit RGB, transparency shown on white."""
    if image.mode.startswith("I") or image.mode == "F":
        return _deep_grey(image)
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
    return image.convert("RGB")


def _deep_grey(image: Image.Image) -> Image.Image:
    """16- and 32-bit grey to 8 bits. Pillow's own conversion would clip at 255 and turn it white."""
    values = np.nan_to_num(np.asarray(image, np.float32))
    if image.mode == "F":
        top = 1.0 if values.max(initial=0.0) <= 1.0 else 255.0
    else:
        top = 65535.0
    return Image.fromarray(np.round(np.clip(values / top, 0, 1) * 255).astype(np.uint8)).convert("RGB")
