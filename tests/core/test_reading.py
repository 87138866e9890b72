"""Texts that others wrote: too deep, too long, numbers without end; each a ``ValueError`` at once."""

import time
from contextlib import suppress

import pytest

from fedloom.core.reading import LEVELS, LONGEST, json_of, toml

DEEP = [
    "a = " + "[" * 100_000 + "]" * 100_000,
    "a = " + "[" * (LEVELS + 1) + "]" * (LEVELS + 1),
    "a = " + "{b = " * 2000 + "1" + "}" * 2000,
    "a." * 50_000 + "b = 1",
    "[" + "a . " * 50_000 + "b]",
    "[[" + '"a".' * 50_000 + "b]]",
    "'a'\t.\t" * 50_000 + "b = 1",
    '"\\"" .' * 50_000 + "b = 1",
]


@pytest.mark.parametrize("text", DEEP, ids=lambda text: text[:6])
def test_what_is_nested_without_end_is_refused_at_once(text: str) -> None:
    begun = time.perf_counter()
    with pytest.raises(ValueError, match="nested more than 64 levels deep"):
        toml(text)
    assert time.perf_counter() - begun < 1


@pytest.mark.parametrize(
    "number", ["9" * 5000, "9" * 4000, "-" + "9" * 30, str(2**63), "0x" + "f" * 17, "0b" + "1" * 70]
)
def test_a_number_of_toml_has_64_bits(number: str) -> None:
    with pytest.raises(ValueError, match=r"64 bits|4300 digits"):
        toml(f"a = [{{b = {number}}}]")


def test_what_people_write_is_read() -> None:
    assert toml(f"a = {-(2**63)}\nb = [[1, [true]]]") == {"a": -(2**63), "b": [[1, [True]]]}
    deepest = "[" * (LEVELS - 2) + "]" * (LEVELS - 2)
    assert toml(f"a = {deepest}")["a"] == json_of(deepest)
    words = "One two. Three four. " * 100 + r"model\.layers\.0\.self_attn\.q_proj.weight"
    assert toml(f"a = '{words}'") == {"a": words}
    assert json_of('{"a": ' + "9" * 4000 + "}")["a"] > 10**3999


@pytest.mark.parametrize("piece", ["a", "a.", "a. b ", "'", '"', '"\\', "\n", "[", "a=1\n", "a.a=1\n", "'a'.", "-"])
def test_no_text_takes_long(piece: str) -> None:
    text = piece * (2**19 // len(piece))
    begun = time.perf_counter()
    with suppress(ValueError):
        toml(text)
    assert time.perf_counter() - begun < 1


def test_a_text_without_end_is_refused() -> None:
    with pytest.raises(ValueError, match="characters are more than"):
        toml("#" * (LONGEST + 1))


@pytest.mark.parametrize(
    "text", ["[" * 100_000, '{"a":' * 100 + "1" + "}" * 100, "9" * 5000, "NaN", "[-Infinity]", "", b"\xff"]
)
def test_json_that_cannot_be_is_refused(text: str | bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        json_of(text)
