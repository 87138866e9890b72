import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fedloom.core.errors import FedloomError
from fedloom.models.vision.pictures import Digests, open_picture
from tests.models.checkpoints import picture


def test_a_picture_is_opened_in_rgb(tmp_path: Path) -> None:
    picture(0).convert("L").save(tmp_path / "grey.png")
    assert open_picture(tmp_path / "grey.png").mode == "RGB"
    assert np.array_equal(open_picture(picture(1)), picture(1))


def test_a_file_cut_short_is_named(tmp_path: Path) -> None:
    picture(0).save(tmp_path / "cut.png")
    content = (tmp_path / "cut.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(content[: len(content) // 2])
    with pytest.raises(FedloomError, match=r"cut\.png cannot be opened"):
        open_picture(tmp_path / "cut.png")


def test_the_digest_is_that_of_the_content() -> None:
    digests = Digests()
    assert digests.of(picture(0)) == digests.of(picture(0)) == Digests().of(picture(0))
    assert digests.of(picture(0)) != digests.of(picture(1))
    assert digests.of(Image.new("RGB", (2, 3))) != digests.of(Image.new("RGB", (3, 2)))


def test_a_file_that_changes_has_another_digest(tmp_path: Path) -> None:
    digests, path = Digests(), tmp_path / "picture.png"
    picture(0).save(path)
    before = digests.of(path)
    assert digests.of(path) == before
    picture(1).save(path)
    os.utime(path, ns=(1, 1))
    assert digests.of(path) != before
