"""Valid bytes made invalid: bits, lengths and pieces of them, and values of the JSON or TOML that they hold.

Every mutation is drawn from ``random.Random``, so that a number makes it again.
"""

import json
import struct
import tomllib
from collections.abc import Callable, Sequence
from contextlib import suppress
from random import Random
from typing import Any

import tomli_w

Opened = tuple[Any, Callable[[Any], bytes]]
Form = Callable[[bytes], Opened]
"""From bytes to the value that they hold, and back; raises ``ValueError`` where they hold none."""

Change = Callable[[Random, bytes], bytes]
"""Bytes that are another whole value of their kind; raises ``ValueError`` where they hold none."""

DEEP, DIGITS = "@deep@", "@digits@"
"""What stands in a value for a text that Python's own writers would not write."""

LONG = "x" * 5000
VALUES: tuple[Any, ...] = (
    *(
        None,
        True,
        False,
        0,
        1,
        -1,
        2,
        7,
        255,
        2**31,
        2**32,
        2**53,
        2**62,
        2**63 - 1,
        2**63,
        -(2**63) - 1,
        2**64,
        10**30,
    ),
    *(10**400, -(10**400), 0.0, -0.0, 0.5, 1e38, 3.5e38, 1e308, -1e308, float("nan"), float("inf"), float("-inf")),
    *(
        "",
        " ",
        "0",
        "-1",
        "a",
        LONG,
        "\x00",
        "\n",
        "\x1b[2J",
        "\u202e",
        "\ud800",
        "../../../etc/passwd",
        "/",
        "..",
        "<image>",
    ),
    *([], {}, [[]], [None], [0], [-1], [2**63], [0, 2**62], [0.5], ["a"], {"a": 1}, {"": {}}, [[[[0]]]], ["F32"]),
    *(DEEP, DIGITS, [DEEP], {"a": DIGITS}, list(range(300)), "F32", "I64", "BF16", "BOOL", "layout", "adapter"),
)
NUMBERS = (0, 1, 7, 2**20, 2**31, 2**40, 2**63 - 1, 2**63, 2**64 - 1)


def mutate(rng: Random, seeds: Sequence[bytes], changes: Sequence[Change]) -> bytes:
    """One of the seeds, changed once or a few times: as bytes, or by one of the ``changes``."""
    blob = rng.choice(seeds)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        blob = _mutated(rng, blob, seeds, changes)
    return blob


def _mutated(rng: Random, blob: bytes, seeds: Sequence[bytes], changes: Sequence[Change]) -> bytes:
    if changes and rng.random() < 0.7:
        with suppress(ValueError):  # the last mutation left nothing that it could change
            return rng.choice(changes)(rng, blob)
    return rng.choice(_BYTES)(rng, blob, seeds)


def by(form: Form) -> Change:
    """The change of a value in what bytes hold."""

    def change(rng: Random, blob: bytes) -> bytes:
        try:
            value, closed = form(blob)
            return closed(changed(rng, value))
        except (TypeError, AttributeError, KeyError, RecursionError, struct.error, OverflowError) as error:
            raise ValueError(str(error)) from None

    return change


def changed(rng: Random, value: Any) -> Any:
    """A value with something in it replaced, removed, renamed or doubled."""
    if isinstance(value, str) and value[:1] in ("{", "[") and rng.random() < 0.8:  # JSON within JSON
        return dumped(changed(rng, json.loads(value))).decode()
    if not isinstance(value, dict | list) or not value or rng.random() < 0.1:
        return _other(rng, value)
    keys = list(value) if isinstance(value, dict) else range(len(value))
    key = rng.choice(keys)
    made: Any = dict(value) if isinstance(value, dict) else list(value)
    doing = rng.random()
    if doing < 0.7:
        made[key] = changed(rng, value[key])
    elif doing < 0.8:
        del made[key]
    elif doing < 0.9:
        made[key] = value[rng.choice(keys)]
    elif isinstance(made, dict):
        made[_word(rng)] = made.pop(key) if rng.random() < 0.5 else made[key]
    else:
        made.insert(rng.randrange(len(made) + 1), value[key])
    return made


def _other(rng: Random, value: Any) -> Any:
    if type(value) in (int, float) and rng.random() < 0.5:
        return rng.choice((value + 1, value - 1, -value, value * 2, value * 10**6, value + 0.5, str(value), [value]))
    if isinstance(value, str) and value and rng.random() < 0.5:
        return rng.choice(
            (value[:-1], value + value, value.upper(), value + "\n", value[::-1], [value], value + "/../a")
        )
    return rng.choice(VALUES)


def _word(rng: Random) -> str:
    return rng.choice(
        ("", "a", "__metadata__", "adapter/", "/", "name", "layout", LONG, "\ud800", "a.b", "\x00", "x/y/z")
    )


def dumped(value: Any) -> bytes:
    """JSON, with what stands for texts without end in its place."""
    text = json.dumps(value)
    text = text.replace(f'"{DEEP}"', "[" * 3000 + "]" * 3000)
    return text.replace(f'"{DIGITS}"', "9" * 5000).encode()


# --- forms ------------------------------------------------------------------------------------------------------------


def of_json(blob: bytes) -> Opened:
    """A JSON text."""
    return json.loads(blob), dumped


def of_lines(blob: bytes) -> Opened:
    """JSON, a line a value."""
    return [json.loads(line) for line in blob.splitlines()], lambda made: b"\n".join(map(dumped, made)) + b"\n"


def of_toml(blob: bytes) -> Opened:
    """A TOML text."""
    return tomllib.loads(blob.decode()), _toml


def of_parcel(blob: bytes) -> Opened:
    """safetensors: a length of 8 bytes, JSON, data."""
    (length,) = struct.unpack("<Q", blob[:8])
    return json.loads(blob[8 : 8 + length]), lambda made: _headed(dumped(made)) + blob[8 + length :]


def of_letter(blob: bytes) -> Opened:
    """A letter: 8 bytes, a length, JSON, a parcel."""
    head, closed = of_parcel(blob[8:])
    return head, lambda made: blob[:8] + closed(made)


def _headed(text: bytes) -> bytes:
    return struct.pack("<Q", len(text)) + text


def _toml(value: Any) -> bytes:
    text = tomli_w.dumps(_without_none(value))
    return (
        text.replace(f'"{DEEP}"', "[" * 3000 + "]" * 3000).replace(f'"{DIGITS}"', "9" * 5000).encode("utf-8", "replace")
    )


def _without_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _without_none(inner) for key, inner in value.items()}
    return [_without_none(inner) for inner in value] if isinstance(value, list) else "" if value is None else value


# --- bytes ------------------------------------------------------------------------------------------------------------


def _flipped(rng: Random, blob: bytes, seeds: Sequence[bytes]) -> bytes:
    made = bytearray(blob)
    for _ in range(rng.choice((1, 1, 2, 8)) if made else 0):
        made[rng.randrange(len(made))] ^= 1 << rng.randrange(8)
    return bytes(made)


def _cut(rng: Random, blob: bytes, seeds: Sequence[bytes]) -> bytes:
    return blob[: rng.randrange(len(blob) + 1)]


def _longer(rng: Random, blob: bytes, seeds: Sequence[bytes]) -> bytes:
    return blob + rng.randbytes(rng.choice((1, 8, 100)))


def _spliced(rng: Random, blob: bytes, seeds: Sequence[bytes]) -> bytes:
    other = rng.choice(seeds)
    return blob[: rng.randrange(len(blob) + 1)] + other[rng.randrange(len(other) + 1) :]


def _removed(rng: Random, blob: bytes, seeds: Sequence[bytes]) -> bytes:
    begin = rng.randrange(len(blob) + 1)
    return blob[:begin] + blob[begin + rng.choice((1, 2, 8, 64)) :]


def _doubled(rng: Random, blob: bytes, seeds: Sequence[bytes]) -> bytes:
    begin = rng.randrange(len(blob) + 1)
    piece = blob[begin : begin + rng.choice((1, 8, 64, 1000))]
    return blob[:begin] + piece * rng.choice((2, 3, 50)) + blob[begin:]


def _numbered(rng: Random, blob: bytes, seeds: Sequence[bytes]) -> bytes:
    begin = rng.choice((0, 8, rng.randrange(len(blob) + 1)))
    return blob[:begin] + struct.pack("<Q", rng.choice(NUMBERS)) + blob[begin + 8 :]


def _digits(rng: Random, blob: bytes, seeds: Sequence[bytes]) -> bytes:
    places = [place for place, sign in enumerate(blob[:20_000]) if 48 <= sign < 58]
    if not places:
        return _flipped(rng, blob, seeds)
    begin = rng.choice(places)
    return blob[:begin] + rng.choice((b"9" * 400, b"9" * 20, b"-1", b"0.5", b"1e999", b"", b"00")) + blob[begin + 1 :]


def _noise(rng: Random, blob: bytes, seeds: Sequence[bytes]) -> bytes:
    begin = rng.randrange(len(blob) + 1)
    return blob[:begin] + rng.randbytes(rng.choice((1, 4, 16))) + blob[begin:]


def _random(rng: Random, blob: bytes, seeds: Sequence[bytes]) -> bytes:
    return rng.randbytes(rng.choice((0, 1, 8, 16, 100, 1000)))


_BYTES = (
    _flipped,
    _flipped,
    _flipped,
    _cut,
    _longer,
    _spliced,
    _removed,
    _doubled,
    _numbered,
    _digits,
    _noise,
    _random,
)
