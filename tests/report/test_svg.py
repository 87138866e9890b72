import re
from pathlib import Path

import pytest
from PIL import Image

from fedloom.core.errors import FedloomError
from fedloom.report import svg


def drawn(label: str = "x") -> svg.Figure:
    figure, axes = svg.canvas()
    axes.plot([1, 2], [3, 4], color=svg.SERIES[1], marker="o")
    axes.set_xlabel(svg.plain(label))
    return figure


def test_ids_bear_the_figures_name() -> None:
    text = svg.inline(drawn(), "mine", "a line")
    assert all(found.startswith("mine-") for found in re.findall(r'\bid="([^"]+)"', text))
    assert all(found.startswith("mine-") for found in re.findall(r'href="#([^"]+)"', text))


def test_the_same_figure_is_the_same_text() -> None:
    assert svg.inline(drawn(), "mine", "a line") == svg.inline(drawn(), "mine", "a line")


def test_colours_follow_the_theme() -> None:
    text = svg.inline(drawn(), "mine", "a line")
    assert "var(--series-1, #d55e00)" in text
    assert "currentColor" in text
    assert svg.INK not in text
    assert "<!DOCTYPE" not in text


def test_labels_are_escaped() -> None:
    text = svg.inline(drawn("<script>&"), "mine", 'a "<b>" line')
    assert "<script" not in text
    assert "<b>" not in text


@pytest.mark.parametrize("label", ["$a$", "$\\frac{", "100 $", "$$"])
def test_a_dollar_is_no_formula(label: str) -> None:
    assert label.replace("\\", "\\") in svg.inline(drawn(label), "mine", "x")


def test_long_labels_are_cut() -> None:
    assert svg.plain("a" * 40) == "a" * 25 + "\u2026"


def test_a_file_of_its_own_is_on_white(tmp_path: Path) -> None:
    svg.save(drawn(), tmp_path / "new" / "figure.png")
    with Image.open(tmp_path / "new" / "figure.png") as image:
        assert image.convert("RGB").getpixel((0, 0)) == (255, 255, 255)


@pytest.mark.parametrize("name", ["x.xyz", "x", "x.pdf"])
def test_an_unknown_ending_is_refused_with_the_known_ones(tmp_path: Path, name: str) -> None:
    with pytest.raises(FedloomError, match=r"Known endings: \.png, \.svg\."):
        svg.save(drawn(), tmp_path / "new" / name)
    assert not (tmp_path / "new").exists()
