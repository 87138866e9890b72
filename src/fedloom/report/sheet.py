"""A contact sheet: examples of a task as pictures with their questions, choices and answers."""

from collections.abc import Callable, Sequence
from pathlib import Path
from textwrap import wrap

from PIL import Image, ImageDraw, ImageFont

from fedloom.core.contracts import IMAGE, Example, Picture, Sample
from fedloom.core.errors import FedloomError
from fedloom.core.pictures import open_picture

COLUMNS = 4
CELL = 320
"""Width of a cell, pixels."""
PICTURES = 190
"""Height of a picture at most."""
CHOICE = 56
"""Side of a choice picture at most."""
MARGIN = 18
GAP = 12
FEW = 8
"""More choices than this are not listed."""
LINE = 20
LONGEST = 9
"""Lines of text a cell shows at most."""

BACK, PAPER, INK, LINES, GOLD = "#f7f6f3", "#ffffff", "#1d2125", "#c9c5bc", "#00704f"
FONT = ImageFont.load_default(size=15)


def sheet(samples: Sequence[Sample], word: Callable[[Sample], Example], out: Path, notes: Sequence[str] = ()) -> None:
    """Draw ``samples`` as a grid to ``out`` (PNG), each worded by its task's ``word``, the right answer marked.

    ``notes``: what stands behind the answer of each.

    Raises:
        FedloomError: ``out`` does not end in ``.png``, no samples, or a picture's file that cannot be opened.
    """
    if out.suffix.lower() != ".png":
        raise FedloomError(f"{out}: a contact sheet is written as PNG. Let the name end in .png.")
    if not samples:
        raise FedloomError("tasks show: the task has no examples to draw.")
    told = notes or [""] * len(samples)
    cells = [_cell(sample, word(sample), note) for sample, note in zip(samples, told, strict=True)]
    columns = min(COLUMNS, len(cells))
    rows = [cells[start : start + columns] for start in range(0, len(cells), columns)]
    heights = [max(cell.height for cell in row) for row in rows]
    size = (MARGIN + columns * (CELL + MARGIN), MARGIN + sum(height + MARGIN for height in heights))
    page = Image.new("RGB", size, BACK)
    top = MARGIN
    for row, height in zip(rows, heights, strict=True):
        for column, cell in enumerate(row):
            left = MARGIN + column * (CELL + MARGIN)
            ImageDraw.Draw(page).rounded_rectangle((left, top, left + CELL, top + height), 12, fill=PAPER)
            page.paste(cell, (left, top), cell)
        top += height + MARGIN
    out.parent.mkdir(parents=True, exist_ok=True)
    page.save(out, format="PNG")


def _cell(sample: Sample, example: Example, note: str = "") -> Image.Image:
    """One example on a transparent ground: pictures, prompt, choices, answer and a note."""
    inner = CELL - 2 * MARGIN
    shown = _fit(sample.images or (), inner, PICTURES)
    drawn = _fit(sample.choice_images, inner, CHOICE)
    lines = _lines(example.prompt.replace(IMAGE, "").strip(), inner)[:LONGEST]
    if 0 < len(sample.choices) <= FEW and not drawn and not all(choice in example.prompt for choice in sample.choices):
        lines += _lines("choices: " + ", ".join(sample.choices), inner)
    band, choices = _height(shown), _height(drawn)
    cell = Image.new("RGBA", (CELL, 2 * MARGIN + band + LINE * (len(lines) + 1) + GAP + choices))
    top = MARGIN
    _paste(cell, shown, inner // max(1, len(shown)), top)
    top += band
    draw = ImageDraw.Draw(cell)
    for line in lines:
        draw.text((MARGIN, top), line, font=FONT, fill=INK)
        top += LINE
    top += GAP
    share = min(CHOICE + GAP, inner // max(1, len(drawn)))
    for index in _paste(cell, drawn, share, top):
        right = sample.choices[index] == example.answer
        left = MARGIN + index * share
        frame = (left, top - 3, left + share - 4, top + choices - GAP + 3)
        draw.rounded_rectangle(frame, 4, outline=GOLD if right else LINES, width=3 if right else 1)
    answer = f"answer: {_lines(example.answer, inner)[0]}"
    draw.text((MARGIN, top + choices), answer, font=FONT, fill=GOLD)
    draw.text((MARGIN + FONT.getlength(answer) + GAP, top + choices), note, font=FONT, fill=INK)
    return cell


def _fit(pictures: Sequence[Picture], width: int, height: int) -> list[Image.Image]:
    """The pictures, made to stand side by side in ``width`` x ``height`` pixels."""
    fitted = []
    for picture in map(open_picture, pictures):
        scale = min((width // len(pictures) - GAP) / picture.width, height / picture.height)
        fitted.append(picture.resize((max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))))
    return fitted


def _height(row: Sequence[Image.Image]) -> int:
    """What a row of pictures takes, with the gap under it."""
    return max(picture.height for picture in row) + GAP if row else 0


def _paste(cell: Image.Image, row: Sequence[Image.Image], share: int, top: int) -> range:
    """Pictures side by side, each in the middle of its share; the range of their numbers."""
    for index, picture in enumerate(row):
        left = MARGIN + index * share + (share - 4 - picture.width) // 2
        cell.paste(picture, (left, top + (_height(row) - GAP - picture.height) // 2))
    return range(len(row))


def _lines(text: str, width: int) -> list[str]:
    """Text in lines of at most ``width`` pixels (by the font's mean letter)."""
    letters = int(width / FONT.getlength("abcdefghij ") * 11)
    return [line for part in text.splitlines() for line in wrap(part, letters)] or [""]
