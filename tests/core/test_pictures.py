"""Against Transformers' own loader, and against values worked out by hand where that would lose them."""

import io
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from transformers import CLIPImageProcessorPil
from transformers.image_utils import load_image

from fedloom.core.errors import FedloomError
from fedloom.core.pictures import fault, open_picture

ORIENTATION = 0x0112
MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "LAB", "HSV")


def noise(width: int = 6, height: int = 4) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8))


def in_mode(mode: str) -> Image.Image:
    if mode == "LAB":
        return Image.frombytes("LAB", (6, 4), noise().tobytes())
    if mode == "PA":
        return noise().convert("P").convert("PA")
    return noise().convert(mode)


def loaded(path: Path) -> Image.Image:
    """As Transformers loads it, which leaves the closing of files to the collector."""
    with warnings.catch_warnings(action="ignore"):
        return load_image(str(path))


def same(one: Image.Image, other: Image.Image) -> bool:
    return one.mode == other.mode == "RGB" and np.array_equal(one, other)


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_in_memory_is_as_transformers_loads_it(mode: str) -> None:
    assert same(open_picture(in_mode(mode)), load_image(in_mode(mode)))


FILES = [(m, s) for s, modes in {
    "png": ("1", "L", "LA", "P", "RGB", "RGBA"),
    "tiff": ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "LAB"),
    "webp": ("RGB", "RGBA"),
    "jpg": ("L", "RGB", "CMYK"),
    "bmp": ("1", "L", "P", "RGB"),
    "gif": ("L", "P"),
}.items() for m in modes]  # fmt: skip


@pytest.mark.parametrize(("mode", "suffix"), FILES)
def test_every_file_is_as_transformers_loads_it_and_its_processor_makes_the_same(
    mode: str, suffix: str, tmp_path: Path
) -> None:
    path = tmp_path / f"picture.{suffix}"
    in_mode(mode).save(path)
    try:
        theirs = loaded(path)
    except OSError:  # Pillow below 13 writes YCbCr TIFFs that it calls truncated
        with pytest.raises(FedloomError, match="cannot be opened"):
            open_picture(path)
        return
    opened = open_picture(path)
    assert same(opened, theirs)
    processor = CLIPImageProcessorPil(size={"height": 8, "width": 8}, do_center_crop=False)
    made = [processor(image, return_tensors="np")["pixel_values"] for image in (opened, theirs)]
    assert np.array_equal(*made)


@pytest.mark.parametrize("suffix", ["jpg", "png", "tiff", "webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_is_upright(orientation: int, suffix: str, tmp_path: Path) -> None:
    path, exif = tmp_path / f"picture.{suffix}", Image.Exif()
    exif[ORIENTATION] = orientation
    noise(16, 8).save(path, exif=exif)
    opened = open_picture(path)
    assert opened.size == ((8, 16) if orientation >= 5 else (16, 8))
    assert same(opened, loaded(path))
    with Image.open(path) as image:
        assert same(open_picture(image), opened)


def test_red_over_blue_that_was_stored_lying_stands() -> None:
    """Orientation 6: the first row stored is the right-hand column seen."""
    lying = Image.new("RGB", (64, 32), "red")
    lying.paste("blue", (32, 0, 64, 32))
    stored, exif = io.BytesIO(), Image.Exif()
    exif[ORIENTATION] = 6
    lying.save(stored, "PNG", exif=exif)
    seen = open_picture(Image.open(stored))
    assert seen.size == (32, 64)
    assert (seen.getpixel((16, 8)), seen.getpixel((16, 56))) == ((255, 0, 0), (0, 0, 255))


@pytest.mark.parametrize("transparency", [3, b"\x00\x80\xff"])
def test_a_palette_with_transparency_keeps_its_colours(transparency: int | bytes, tmp_path: Path) -> None:
    noise().convert("P").save(tmp_path / "p.png", transparency=transparency)
    opened = open_picture(tmp_path / "p.png")
    with warnings.catch_warnings(action="ignore"):  # Pillow's
        assert same(opened, loaded(tmp_path / "p.png"))


@pytest.mark.parametrize("suffix", ["gif", "png", "webp", "tiff"])
def test_of_an_animation_it_is_the_first_frame(suffix: str, tmp_path: Path) -> None:
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue", "green")]
    options = {"lossless": True} if suffix == "webp" else {}
    frames[0].save(tmp_path / f"a.{suffix}", save_all=True, append_images=frames[1:], **options)
    opened = open_picture(tmp_path / f"a.{suffix}")
    assert opened.getpixel((1, 1)) == (255, 0, 0)
    assert same(opened, loaded(tmp_path / f"a.{suffix}"))


RAMP = np.arange(0, 65536, 257, dtype=np.uint16).reshape(16, 16)
"""v * 257 is v of 8 bits in 16."""


@pytest.mark.parametrize("suffix", ["png", "tiff", "memory", "big-endian", "pgm", "jp2"])
def test_sixteen_bits_are_scaled(suffix: str, tmp_path: Path) -> None:
    image = Image.fromarray(RAMP)
    if suffix == "memory":
        opened = open_picture(image)
    elif suffix == "big-endian":
        opened = open_picture(Image.frombytes("I;16B", (16, 16), RAMP.astype(">u2").tobytes()))
    else:
        path = tmp_path / f"ramp.{suffix}"
        path.write_bytes(b"P5 16 16 65535\n" + RAMP.astype(">u2").tobytes()) if suffix == "pgm" else image.save(path)
        opened = open_picture(path)
    expected = np.repeat(np.arange(256, dtype=np.uint8).reshape(16, 16, 1), 3, axis=2)
    assert np.array_equal(opened, expected)


def test_sixteen_bits_are_rounded_to_the_nearest() -> None:
    """128 / 257 = 0.498, 129 / 257 = 0.502."""
    opened = open_picture(Image.fromarray(np.array([[0, 128, 129, 65534, 65535]], dtype=np.uint16)))
    assert np.array(opened)[0, :, 0].tolist() == [0, 0, 1, 255, 255]


def test_sixteen_bits_are_turned_too(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = 3
    Image.fromarray(RAMP).save(tmp_path / "turned.png", exif=exif)
    assert np.array_equal(np.array(open_picture(tmp_path / "turned.png"))[:, :, 0].ravel(), np.arange(255, -1, -1))


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (np.linspace(0, 1, 16, dtype=np.float32), "floating-point numbers from 0 to 1"),
        (np.linspace(-1, 1, 16, dtype=np.float32), "floating-point numbers from -1 to 1"),
        (np.linspace(0, 1000, 16, dtype=np.float32), "floating-point numbers from 0 to 1000"),
        (np.full(16, np.nan, dtype=np.float32), "floating-point numbers from nan to nan"),
        (np.arange(0, 65536, 4096, dtype=np.int32), "32-bit whole numbers from 0 to 61440"),
    ],
)
def test_values_whose_white_is_not_known_are_refused(values: np.ndarray, words: str, tmp_path: Path) -> None:
    Image.fromarray(values.reshape(4, 4)).save(tmp_path / "deep.tiff")
    with pytest.raises(FedloomError, match=rf"deep\.tiff cannot be opened: it holds {words}.*save it with 8 or 16"):
        open_picture(tmp_path / "deep.tiff")
    for picture in (tmp_path / "deep.tiff", Image.fromarray(values.reshape(4, 4))):
        assert fault(picture).startswith(f"it holds {words}, and nothing says")


@pytest.mark.parametrize("kind", [np.float32, np.int32])
def test_values_of_eight_bits_in_wider_numbers_are_taken(kind: type, tmp_path: Path) -> None:
    Image.fromarray(np.arange(256).astype(kind).reshape(16, 16)).save(tmp_path / "wide.tiff")
    opened = open_picture(tmp_path / "wide.tiff")
    assert np.array(opened)[:, :, 0].ravel().tolist() == list(range(256))
    assert same(opened, loaded(tmp_path / "wide.tiff"))
    assert fault(tmp_path / "wide.tiff") == fault(Image.open(tmp_path / "wide.tiff")) == ""


@pytest.mark.parametrize(
    "content", [b"", b"GIF89a", b"\x89PNG\r\n\x1a\n\x00\x00\x00\x0dIHDR", b"II*\x00\xff\xff\xff\xff"]
)
def test_what_is_no_picture_is_named(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "none.png").write_bytes(content)
    with pytest.raises(FedloomError, match=r"none\.png cannot be opened"):
        open_picture(tmp_path / "none.png")


def test_a_small_file_of_gigabytes_is_refused(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's own, of a bomb
        Image.new("1", (9460, 9460)).save(tmp_path / "bomb.png")
        assert (tmp_path / "bomb.png").stat().st_size < 100_000
        assert "9460 x 9460 pixels, more than 89478485" in fault(tmp_path / "bomb.png")
        with pytest.raises(FedloomError, match="9460 x 9460 pixels"):
            open_picture(tmp_path / "bomb.png")
