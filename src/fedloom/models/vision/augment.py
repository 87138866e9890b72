"""Pictures as a training step sees them where they are never the same twice. Drawn from torch's global generator, which
the training loop seeds before each step."""

import math
from typing import Literal

import torch
from PIL import Image

Augment = Literal["none", "crop", "crop-flip"]
"""Pictures as they are; cropped at random; and half of them mirrored besides."""

AREA = (0.5, 1.0)
ASPECT = (3 / 4, 4 / 3)
TRIES = 10


def augmented(image: Image.Image, how: Augment) -> Image.Image:
    """A random part of a picture, in the picture's own size; with ``"crop-flip"`` mirrored half of the time.

    The part has a share of the area that is uniform in ``AREA`` and an aspect ratio that is log-uniform in ``ASPECT``
    times the picture's own (Szegedy et al. 2015, arXiv 1409.4842, section 6); the whole picture where none of ``TRIES``
    lies in it.
    """
    if how == "none":
        return image
    width, height = image.size
    left, top, wide, high = 0, 0, width, height
    for _ in range(TRIES):
        area, aspect, x, y = torch.rand(4, dtype=torch.float64).tolist()
        share = AREA[0] + (AREA[1] - AREA[0]) * area
        ratio = math.exp(math.log(ASPECT[0]) + math.log(ASPECT[1] / ASPECT[0]) * aspect)
        w, h = round(width * math.sqrt(share * ratio)), round(height * math.sqrt(share / ratio))
        if 0 < w <= width and 0 < h <= height:
            left, top, wide, high = round(x * (width - w)), round(y * (height - h)), w, h
            break
    part = image.resize(image.size, Image.Resampling.BICUBIC, box=(left, top, left + wide, top + high))
    if how == "crop-flip" and float(torch.rand(())) < 0.5:
        return part.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return part
