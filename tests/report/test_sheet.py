from pathlib import Path

import pytest
from PIL import Image, ImageDraw

from fedloom.core.contracts import IMAGE, Example, Sample
from fedloom.core.errors import FedloomError
from fedloom.report.sheet import CELL, MARGIN, sheet


def picture(size: tuple[int, int], sides: int) -> Image.Image:
    image = Image.new("RGB", size, "#e8eef5")
    ImageDraw.Draw(image).regular_polygon((size[0] // 2, size[1] // 2, min(size) // 3), sides, fill="#0072b2")
    return image


def word(sample: Sample) -> Example:
    prompt = f"{IMAGE}\n{sample.question or sample.text}"
    return Example(sample.id, sample.images or (), prompt, sample.choices, sample.answer)


def samples() -> list[Sample]:
    scene, long = picture((300, 100), 5), "Which of these pictures goes on with the row in the same order? " * 3
    letters = ("A", "B", "C")
    drawn = tuple(picture((64, 64), sides) for sides in (3, 4, 5))
    return [
        Sample("1", (scene,), None, "How many corners has it?", ("4", "5"), "5"),
        Sample("2", (scene,), None, long, letters, "C", choice_images=drawn),
        Sample("3", None, "no picture at all", None, (), "none"),
        Sample("4", (picture((80, 200), 3), scene), None, "Which is wider?", ("left", "right"), "right"),
        Sample("5", (scene,), None, "A supercalifragilistic question?", (), "yes"),
    ]


def test_a_grid_of_four_columns(tmp_path: Path) -> None:
    out = tmp_path / "new" / "sheet.png"
    sheet(samples(), word, out)
    with Image.open(out) as image:
        assert image.size[0] == MARGIN + 4 * (CELL + MARGIN)
        assert len(image.getcolors(1 << 20) or []) > 10


def test_one_sample_is_one_cell_wide(tmp_path: Path) -> None:
    sheet(samples()[:1], word, tmp_path / "one.png")
    with Image.open(tmp_path / "one.png") as image:
        assert image.size[0] == CELL + 2 * MARGIN


def test_a_picture_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_bytes(b"no picture")
    bad = Sample("1", (tmp_path / "bad.png",), None, "?", (), "x")
    with pytest.raises(FedloomError, match=r"bad.png cannot be opened"):
        sheet([bad], word, tmp_path / "out.png")
    assert not (tmp_path / "out.png").exists()


def test_no_examples(tmp_path: Path) -> None:
    with pytest.raises(FedloomError, match="no examples"):
        sheet([], word, tmp_path / "out.png")


def test_a_name_that_is_no_pngs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FedloomError, match=r"x\.xyz: .*end in \.png"):
        sheet(samples(), word, tmp_path / "x.xyz")
    assert not (tmp_path / "x.xyz").exists()
