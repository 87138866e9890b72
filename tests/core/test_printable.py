"""What others wrote cannot steer a terminal, nor look like a line of a log."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedloom.core.printable import in_line, printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("St. Mary's, \u5317\u4eac, caf\u00e9 \U0001f3e5", "St. Mary's, \u5317\u4eac, caf\u00e9 \U0001f3e5"),
        ("two\nlines\tand a tab", "two\nlines\tand a tab"),
        ("\x1b[2J\x1b]0;title\x07", "\\x1b[2J\\x1b]0;title\\x07"),
        ("\x9b31m", "\\x9b31m"),  # the same in one byte of Latin-1
        ("over\rwritten", "over\\rwritten"),
        ("\x00\x08\x7f", "\\x00\\x08\\x7f"),
        ("a\u202egnp.exe", "a\\u202egnp.exe"),
        ("\u2066\u200f\u061c", "\\u2066\\u200f\\u061c"),
        ("\u2028\u2029", "\\u2028\\u2029"),
        ("\ud83d", "\\ud83d"),
    ],
)
def test_what_steers_a_terminal_is_shown(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_a_text_in_a_log_is_no_line_of_its_own() -> None:
    assert in_line("refused\nfedloom: all is well") == "refused\\nfedloom: all is well"
    assert in_line(ValueError("a\x1b")) == "a\\x1b"


@given(st.text(st.characters()))
def test_nothing_is_left_that_could(text: str) -> None:
    shown = printable(text)
    assert not any(ord(sign) < 32 or 127 <= ord(sign) < 160 for sign in shown if sign not in "\n\t")
    assert printable(shown) == shown
    shown.encode()
