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
    assert svg.plain("a" * 40) == "a" * 15 + "\u2026" + "a" * 10
    assert svg.plain("hospital-of-the-north-ward-1") != svg.plain("hospital-of-the-north-ward-2")


@pytest.mark.parametrize(
    ("ticks", "labels"),
    [
        ([0.0, 0.5, 1.0], ["0%", "50%", "100%"]),
        ([0.35, 0.375, 0.4], ["35.0%", "37.5%", "40.0%"]),
        ([0.218, 0.22, 0.222], ["21.8%", "22.0%", "22.2%"]),
        ([0.22, 0.22025, 0.2205], ["22.000%", "22.025%", "22.050%"]),
        ([0.1 + 0.2, 0.4], ["30%", "40%"]),  # 0.30000000000000004
        ([0.125], ["12.5%"]),
    ],
)
def test_percent_ticks_have_the_decimals_that_their_step_needs(ticks: list[float], labels: list[str]) -> None:
    assert svg.Percent().format_ticks(ticks) == labels


@pytest.mark.parametrize("values", [[0.22, 0.22], [0.0, 0.0], [1.0, 1.0], [0.2201, 0.2204], [0.0, 1.0], [0.35, 0.41]])
def test_no_two_percent_ticks_read_alike_and_none_is_outside(values: list[float]) -> None:
    figure, axes = svg.canvas()
    axes.plot(range(len(values)), values)
    svg.percent(axes.yaxis)
    figure.draw_without_rendering()
    shown = [text.get_text() for text in axes.get_yticklabels()]
    ticks = axes.get_yticks()
    assert len(shown) >= 2
    assert len(set(shown)) == len(shown)
    assert [float(text.rstrip("%")) / 100 for text in shown] == pytest.approx(ticks, abs=1e-9)
    assert all(-1e-9 <= tick <= 1 + 1e-9 for tick in ticks)


def test_a_file_of_its_own_is_on_white(tmp_path: Path) -> None:
    svg.save(drawn(), tmp_path / "new" / "figure.png")
    with Image.open(tmp_path / "new" / "figure.png") as image:
        assert image.convert("RGB").getpixel((0, 0)) == (255, 255, 255)


@pytest.mark.parametrize("name", ["x.xyz", "x", "x.pdf"])
def test_an_unknown_ending_is_refused_with_the_known_ones(tmp_path: Path, name: str) -> None:
    with pytest.raises(FedloomError, match=r"Known endings: \.png, \.svg\."):
        svg.save(drawn(), tmp_path / "new" / name)
    assert not (tmp_path / "new").exists()
