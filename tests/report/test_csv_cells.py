"""A spreadsheet shows a cell as the text or number that it is."""

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedloom.report.csv_cells import safe


@pytest.mark.parametrize(
    ("cell", "written"),
    [
        ("=HYPERLINK(A1)", "'=HYPERLINK(A1)"),
        ("+1+cmd|' /C calc'!A0", "'+1+cmd|' /C calc'!A0"),
        ("-2+3", "'-2+3"),
        ("@SUM(1)", "'@SUM(1)"),
        ("\t=1", "'\t=1"),
        ("\r=1", "'\\r=1"),
        ("  =1", "'  =1"),
        ("\u00a0=1", "'\u00a0=1"),
        ("\uff1d1", "'\uff1d1"),
        ("\x1b[2J", "\\x1b[2J"),
        ("-0.3", "-0.3"),
        ("+1e-4", "+1e-4"),
        ("-.5", "-.5"),
        ("fedavg", "fedavg"),
        ("a=b", "a=b"),
        ("", ""),
        (-0.3, -0.3),
        (None, None),
    ],
)
def test_a_text_is_no_formula_and_a_number_stays_one(cell: object, written: object) -> None:
    assert safe([cell]) == [written]


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_no_cell_begins_as_a_formula(text: str) -> None:
    (cell,) = safe([text])
    buffer = io.StringIO()
    csv.writer(buffer).writerow([cell])
    ((read,),) = csv.reader(io.StringIO(buffer.getvalue()))
    if read.strip()[:1] in tuple("=+-@"):
        float(read)
