"""Cells of a CSV that a spreadsheet takes for what they are: a text is no formula."""

import re
from collections.abc import Iterable

from fedloom.core.printable import printable

_FORMULA = re.compile(r"\s*[=+\-@\t\r\uff1d\uff0b\uff0d\uff20]")
"""The last four are the first four as East Asian text has them, which some spreadsheets take for the same."""

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.IGNORECASE | re.ASCII)


def safe(cells: Iterable[object]) -> list[object]:
    """The cells of a row. A text that a spreadsheet would work out (it begins with ``=``, ``+``, ``-`` or ``@``, and is
    no number) has an apostrophe before it, and what steers a terminal is shown as its escape."""
    return [_text(cell) if isinstance(cell, str) else cell for cell in cells]


def _text(cell: str) -> str:
    worked_out = _FORMULA.match(cell) and not _NUMBER.fullmatch(cell)
    return printable(f"'{cell}" if worked_out else cell)
