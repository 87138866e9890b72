"""A contact sheet: examples of a task as pictures with their questions, choices and answers."""

from collections.abc import Callable, Sequence
from pathlib import Path
from textwrap import wrap

from PIL import Image, ImageDraw, ImageFont, UnidentifiedImageError

from fedloom.core.contracts import IMAGE, Example, Picture, Sample
from fedloom.core.errors import FedloomError

COLUMNS = 4
CELL = 320
"""Width of a cell, pixels."""
PICTURES = 190
"""Height of the band that the pictures stand in."""
CHOICE = 56
"""Side of a choice picture."""
MARGIN = 18
LINE = 20
LONGEST = 9
"""Lines of text a cell shows at most."""

BACK, PAPER, INK, SOFT, GOLD = "#f7f6f3", "#ffffff", "#1d2125", "#5d646c", "#00704f"
FONT = ImageFont.load_default(size=15)


def sheet(samples: Sequence[Sample], word: Callable[[Sample], Example], out: Path) -> None:
    """Draw ``samples`` as a grid to ``out`` (PNG), each worded by its task's ``word``, the right answer marked.

    Raises:
        FedloomError: no samples, or a picture's file that cannot be opened.
    """
    if not samples:
        raise FedloomError("tasks show: the task has no examples to draw.")
    cells = [_cell(sample, word(sample)) for sample in samples]
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


def _cell(sample: Sample, example: Example) -> Image.Image:
    """One example on a transparent ground."""
    inner = CELL - 2 * MARGIN
    band = PICTURES if sample.images else 0
    lines = _lines(example.prompt.replace(IMAGE, "").strip(), inner)[:LONGEST]
    choices = CHOICE + MARGIN if sample.choice_images else 0
    cell = Image.new("RGBA", (CELL, 2 * MARGIN + band + LINE * (len(lines) + 2) + choices))
    draw = ImageDraw.Draw(cell)
    top = MARGIN
    if sample.images:
        _row(cell, sample.images, (MARGIN, top, inner, band - MARGIN // 2))
        top += band
    for line in lines:
        draw.text((MARGIN, top), line, font=FONT, fill=INK)
        top += LINE
    if sample.choice_images:
        _choices(cell, sample, example, top)
        top += choices
    top += LINE // 2
    draw.text((MARGIN, top), f"answer: {_lines(example.answer, inner)[0]}", font=FONT, fill=GOLD)
    return cell


def _row(cell: Image.Image, pictures: Sequence[Picture], box: tuple[int, int, int, int]) -> None:
    """Pictures side by side, each as large as its share of ``box`` (left, top, width, height) lets it be."""
    left, top, width, height = box
    share = width // len(pictures)
    for index, picture in enumerate(pictures):
        shown = _open(picture)
        scale = min((share - 4) / shown.width, height / shown.height)
        shown = shown.resize((max(1, round(shown.width * scale)), max(1, round(shown.height * scale))))
        x = left + index * share + (share - shown.width) // 2
        cell.paste(shown, (x, top + (height - shown.height) // 2))


def _choices(cell: Image.Image, sample: Sample, example: Example, top: int) -> None:
    """Choice pictures in a row, the right one framed."""
    share = min(CHOICE + 8, (CELL - 2 * MARGIN) // len(sample.choice_images))
    for index, (picture, name) in enumerate(zip(sample.choice_images, sample.choices, strict=True)):
        box = (MARGIN + index * share, top + 4, share - 8, CHOICE)
        _row(cell, [picture], box)
        right = name == example.answer
        frame = (box[0] - 2, box[1] - 2, box[0] + box[2] + 2, box[1] + box[3] + 2)
        ImageDraw.Draw(cell).rectangle(frame, outline=GOLD if right else SOFT, width=3 if right else 1)


def _open(picture: Picture) -> Image.Image:
    if isinstance(picture, Image.Image):
        return picture.convert("RGB")
    try:
        with Image.open(picture) as opened:
            return opened.convert("RGB")
    except (OSError, UnidentifiedImageError) as error:
        raise FedloomError(f"{picture}: cannot be opened as an image: {error}.") from None


def _lines(text: str, width: int) -> list[str]:
    """Text in lines of at most ``width`` pixels (by the font's mean letter)."""
    letters = int(width / FONT.getlength("abcdefghij ") * 11)
    return [line for part in text.splitlines() for line in wrap(part, letters)] or [""]
