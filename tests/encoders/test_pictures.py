"""Pictures as people have them: every kind decodes to what a person sees, or is named in an error."""

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from encoders import EncoderError, PictureError, Preprocessing, find_pictures
from encoders.pictures import decode, load_picture, prepare

PLAIN = Preprocessing(size=(8, 8), resampling="nearest", mean=(0, 0, 0), std=(1, 1, 1))
RED = (200, 30, 40)


def pixel(image: Image.Image, x: float = 0.25, y: float = 0.25) -> np.ndarray:
    """The colour at a relative place, as three numbers."""
    return np.asarray(image.convert("RGB"), int)[int(y * image.height), int(x * image.width)]


def saved(path: Path, image: Image.Image, **options: object) -> Path:
    image.save(path, **options)
    return path


def red(mode: str = "RGB", size: tuple[int, int] = (32, 24)) -> Image.Image:
    return Image.new("RGB", size, RED).convert(mode)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_turns_the_picture_upright(tmp_path: Path, orientation: int) -> None:
    upright = red(size=(32, 24))
    upright.paste((0, 0, 255), (0, 0, 16, 12))  # blue in the upper left
    undo = {
        1: None,
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = upright if undo is None else upright.transpose(undo)
    for name, options in (("p.png", {}), ("p.jpg", {"quality": 95}), ("p.webp", {"lossless": True})):
        image = decode(saved(tmp_path / name, stored, exif=exif, **options))
        assert image.size == (32, 24)
        assert np.abs(pixel(image, 0.2, 0.2) - (0, 0, 255)).max() < 12
        assert np.abs(pixel(image, 0.8, 0.8) - RED).max() < 12


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("palette.png", lambda: red().quantize(4)),
        ("palette.gif", lambda: red().quantize(4)),
        ("cmyk.jpg", lambda: red("CMYK")),
        ("cmyk.tif", lambda: red("CMYK")),
        ("alpha.png", lambda: red("RGBA")),
        ("plain.bmp", red),
        ("plain.webp", red),
        ("ycbcr.jpg", red),
    ],
)
def test_kinds_of_colour(tmp_path: Path, name: str, make: Callable[[], Image.Image]) -> None:
    image = decode(saved(tmp_path / name, make()))
    assert image.mode == "RGB"
    assert np.abs(pixel(image) - RED).max() < 12


@pytest.mark.parametrize("mode", ["L", "1", "LA"])
def test_grey_becomes_three_equal_channels(tmp_path: Path, mode: str) -> None:
    image = decode(saved(tmp_path / "g.png", Image.new("L", (9, 9), 255).convert(mode)))
    assert pixel(image).tolist() == [255, 255, 255]


def test_what_is_transparent_is_white(tmp_path: Path) -> None:
    half = Image.new("RGBA", (8, 8), (0, 0, 0, 0))
    half.paste((255, 0, 0, 128), (4, 0, 8, 8))
    image = decode(saved(tmp_path / "a.png", half))
    assert pixel(image, 0.1).tolist() == [255, 255, 255]
    assert np.abs(pixel(image, 0.9) - (255, 127, 127)).max() <= 1
    palette = Image.new("P", (8, 8), 0)
    palette.putpalette([0, 0, 0, 9, 9, 9])
    image = decode(saved(tmp_path / "p.png", palette, transparency=0))
    assert pixel(image).tolist() == [255, 255, 255]


@pytest.mark.parametrize(("value", "expected"), [(0, 0), (32896, 128), (65535, 255), (257 * 77, 77)])
def test_16_bit_grey_is_scaled_not_clipped(tmp_path: Path, value: int, expected: int) -> None:
    deep = Image.fromarray(np.full((6, 6), value, np.uint16))
    for name in ("deep.png", "deep.tif"):
        assert pixel(decode(saved(tmp_path / name, deep))).tolist() == [expected] * 3


def test_16_bit_colour_is_scaled_not_clipped(tmp_path: Path) -> None:
    pixels = np.array([60000, 30000, 1000], ">u2")
    rows = b"".join(b"\0" + np.tile(pixels, 4).tobytes() for _ in range(4))
    (tmp_path / "deep.png").write_bytes(png(4, 4, depth=16, kind=2, data=zlib.compress(rows)))
    assert np.abs(pixel(decode(tmp_path / "deep.png")) - (pixels // 256)).max() <= 1


def test_float_tiff(tmp_path: Path) -> None:
    image = decode(saved(tmp_path / "f.tif", Image.fromarray(np.full((4, 4), 0.5, np.float32))))
    assert pixel(image).tolist() == [128, 128, 128]


@pytest.mark.parametrize("suffix", ["gif", "webp", "png"])
def test_of_an_animation_the_first_frame(tmp_path: Path, suffix: str) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in (RED, (0, 0, 255))]
    options = {"lossless": True} if suffix == "webp" else {}
    path = saved(tmp_path / f"a.{suffix}", frames[0], save_all=True, append_images=frames[1:], **options)
    assert np.abs(pixel(decode(path)) - RED).max() < 12


def png(width: int, height: int, depth: int = 8, kind: int = 2, data: bytes = b"") -> bytes:
    """A PNG made by hand, so that its header can claim anything."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def photo(suffix: str) -> bytes:
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).save(file, suffix)
    return file.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("empty.jpg", b"", "the file is empty"),
        ("text.jpg", b"this is a letter, not a picture", "not a picture"),
        ("half.jpg", photo("jpeg")[:1500], "truncated"),
        ("half.png", photo("png")[:5000], "truncated"),
        ("half.gif", photo("gif")[:1500], "truncated"),
        ("half.webp", photo("webp")[:500], "truncated|not a picture"),
        ("head.jpg", photo("jpeg")[:3], "not a picture|truncated"),
        ("bomb.png", png(30_000, 30_000), "decompression bomb"),
        ("nodata.png", png(8, 8), "truncated|damaged"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path: Path, name: str, content: bytes, why: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(PictureError, match=why) as caught:
        decode(tmp_path / name)
    assert str(tmp_path / name) in str(caught.value)


def test_missing_files_and_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(PictureError, match="no such file"):
        decode(tmp_path / "gone.jpg")
    (tmp_path / "folder.jpg").mkdir()
    with pytest.raises(PictureError, match=r"folder\.jpg"):
        decode(tmp_path / "folder.jpg")


def test_preprocessing_is_the_stated_equation() -> None:
    image = Image.new("RGB", (5, 7), (10, 20, 30))
    how = Preprocessing(size=(2, 3), mean=(1.0, 2.0, 3.0), std=(2.0, 4.0, 8.0))
    got = prepare(image, how)
    assert got.dtype == np.float32
    assert got.shape == how.shape == (3, 2, 3)
    np.testing.assert_array_equal(got[:, 0, 0], np.float32([4.5, 4.5, 3.375]))
    turned = prepare(image, Preprocessing((2, 3), "bilinear", (1.0, 2.0, 3.0), (2.0, 4.0, 8.0), "BGR", "NHWC"))
    assert turned.shape == (2, 3, 3)
    np.testing.assert_array_equal(turned[0, 0], np.float32([14.5, 4.5, 0.875]))


def test_resampling_is_the_named_one() -> None:
    image = Image.fromarray(np.random.default_rng(0).integers(0, 255, (20, 20, 3), np.uint8))
    for name, resample in (("nearest", 0), ("lanczos", 1), ("bilinear", 2), ("bicubic", 3)):
        how = Preprocessing(size=(8, 8), resampling=name, mean=(0, 0, 0), std=(1, 1, 1), layout="NHWC")
        expected = np.asarray(image.resize((8, 8), Image.Resampling(resample)), np.float32)
        np.testing.assert_array_equal(prepare(image, how), expected)


def test_large_jpegs_decode_reduced_but_alike(tmp_path: Path) -> None:
    ramp = np.linspace(0, 255, 1600, dtype=np.uint8)
    path = saved(tmp_path / "big.jpg", Image.fromarray(np.stack([np.tile(ramp, (1200, 1))] * 3, -1)), quality=95)
    how = Preprocessing(size=(64, 64), mean=(0, 0, 0), std=(1, 1, 1))
    assert decode(path, how.size).width < 1600
    assert np.abs(load_picture(path, how) - prepare(decode(path), how)).max() < 4


def test_pictures_are_found_by_name(tmp_path: Path) -> None:
    (tmp_path / "f" / "deep").mkdir(parents=True)
    for name in ("f/b.JPG", "f/deep/a.png", "single.jpg"):
        saved(tmp_path / name, red())
    (tmp_path / "f" / "notes.txt").write_text("x")
    found = find_pictures([tmp_path / "f", tmp_path / "single.jpg"])
    assert list(found) == ["b.JPG", "deep/a.png", "single.jpg"]
    with pytest.raises(EncoderError, match="no such file or folder"):
        find_pictures([tmp_path / "gone"])
    (tmp_path / "void").mkdir()
    with pytest.raises(EncoderError, match="no pictures in"):
        find_pictures([tmp_path / "void"])
    saved(tmp_path / "b.JPG", red(), format="JPEG")
    with pytest.raises(EncoderError, match=r"share the name b\.JPG"):
        find_pictures([tmp_path / "f", tmp_path / "b.JPG"])
