"""Text that others wrote, as it may stand on a screen or in a log: what would steer a terminal is shown instead."""

import re

_STEERS = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f"  # control characters but tab and end of line, those of eight bits among them
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # what turns the direction of text
    "\u2028\u2029\ud800-\udfff]"  # ends of lines of another kind, and halves of characters
)


def printable(text: object) -> str:
    """A text with each character that steers a terminal as its escape, such as ``\\x1b``; lines stay lines.

    What looks like markup is still markup: print it where there is none, or as a ``rich.text.Text``.
    """
    return _STEERS.sub(_escape, str(text))


def in_line(text: object) -> str:
    """As ``printable``, and in one line: what stands in a log cannot look like a line of its own."""
    return printable(text).replace("\n", "\\n")


def _escape(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode()
