"""The one way in which a picture is opened: as Transformers' own loader, ``image_utils.load_image``, has it.

    file or image -> upright, as its EXIF orientation says -> RGB in 8 bits a channel

Of an animation it is the first frame. Grey values of 16 bits are scaled to 8; Pillow, and so that loader, would cut
them off at 255. Where it cannot be known which value is white, the picture is refused.
"""

from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from fedloom.core.contracts import Picture
from fedloom.core.errors import FedloomError

RULES = "load_image, 16 bits scaled"
"""What this does to a picture, for the name of whatever is kept of one: change it when that changes."""

PIXELS = 89_478_485
"""Pixels of the largest picture: above so many Pillow warns that it may be a bomb, and above twice as many it refuses.
What is made of so many takes a gigabyte."""

_SIXTEEN = ("PNG", "PPM")
"""Formats whose whole numbers of 32 bits in Pillow are 16-bit values in the file."""

_NO_WHITE = ("I", "F")
"""Modes in which nothing says which value is white."""


def open_picture(picture: Picture) -> Image.Image:
    """The picture upright and in RGB.

    Raises:
        FedloomError: the file is missing or is no readable image, or its values have no known white.
    """
    try:
        if isinstance(picture, Path):
            with Image.open(picture) as image:
                _check_size(image)
                return _plain(image)
        return _plain(picture)
    except Exception as error:  # a damaged file can make a decoder raise anything
        where = str(picture) if isinstance(picture, Path) else repr(picture)
        raise FedloomError(
            f"picture {where} cannot be opened: {error}. Expected an image that Pillow reads: replace or remove it."
        ) from None


def fault(picture: Picture) -> str:
    """Why ``open_picture`` would refuse a picture; empty: it would not. A JPEG is read through at an eighth of its
    size."""
    if not isinstance(picture, Path) and picture.mode not in _NO_WHITE:
        return ""  # nothing of it can be wrong
    try:
        if isinstance(picture, Path):
            with Image.open(picture) as image:
                _check_size(image)
                image.draft(None, (1, 1))
                _plain(image)
        else:
            _plain(picture)
    except Exception as error:  # damaged files make Pillow's readers raise anything
        return str(error) or type(error).__name__
    return ""


def _check_size(image: Image.Image) -> None:
    """Refuse a file, of a few bytes perhaps, whose pixels would take gigabytes.

    Raises:
        ValueError: it has more pixels than any picture.
    """
    if image.width * image.height > PIXELS:
        raise ValueError(f"it has {image.width} x {image.height} pixels, more than {PIXELS}; save it smaller")


def _plain(image: Image.Image) -> Image.Image:
    kind = image.format
    upright = ImageOps.exif_transpose(image)
    if upright.mode.startswith("I;16") or (upright.mode == "I" and kind in _SIXTEEN):
        upright = _scaled(upright)
    elif upright.mode in _NO_WHITE:
        _check_range(upright)
    if upright.mode == "P" and isinstance(upright.info.get("transparency"), bytes):
        upright = upright.convert("RGBA")  # the same colours, but Pillow warns when it goes straight to RGB
    return upright.convert("RGB")


def _scaled(image: Image.Image) -> Image.Image:
    """Values of 16 bits as the nearest of 8: v * 255 / 65535, rounded (PNG specification, section 13.12)."""
    values = np.asarray(image).astype(np.int64)
    return Image.fromarray(((values * 255 + 32767) // 65535).astype(np.uint8))


def _check_range(image: Image.Image) -> None:
    """Refuse numbers that are no brightness from 0 to 255.

    Raises:
        ValueError: they reach beyond, or from 0 to 1.
    """
    values = np.asarray(image)
    low, high = float(values.min()), float(values.max())
    if not (low >= 0 and high <= 255 and (high > 1 or high == 0 or image.mode == "I")):
        kind = "floating-point" if image.mode == "F" else "32-bit whole"
        raise ValueError(
            f"it holds {kind} numbers from {low:g} to {high:g}, and nothing says which of them is white; save it "
            "with 8 or 16 bits a channel"
        )
