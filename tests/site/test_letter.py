"""Letters: what is packed comes back, and nothing that is no letter gets any further."""

import json
import struct
import tracemalloc
from dataclasses import fields, replace
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedloom.core.contracts import Job, Reply
from fedloom.core.errors import FedloomError
from fedloom.site.letter import KINDS, MAGIC, MAX_HEAD, Letter, pack, unpack

WHOLE = Letter(
    "train",
    run="0a1b",
    nonce="77",
    client="mercy",
    round=3,
    counted=2,
    experiment='name = "x"\n',
    model="f00",
    seconds=1.5,
    facts={"site": "mercy", "train": 6, "share": 0.5},
    parcel=b"\x00parcel\xff",
)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
WHOLE_NUMBERS = st.integers(1 - 2**63, 2**63 - 1)
LETTERS = st.builds(
    Letter,
    kind=st.sampled_from(KINDS),
    run=TEXT,
    nonce=TEXT,
    client=TEXT,
    round=st.integers(0, 2**63 - 1),
    counted=st.integers(0, 2**63 - 1),
    experiment=TEXT,
    model=TEXT,
    error=TEXT,
    seconds=st.floats(0, 1e9),
    facts=st.dictionaries(TEXT, TEXT | WHOLE_NUMBERS | st.floats(allow_nan=False, allow_infinity=False), max_size=3),
    parcel=st.binary(max_size=40),
)


def framed(head: bytes, parcel: bytes = b"") -> bytes:
    """A letter with any head."""
    return MAGIC + struct.pack("<Q", len(head)) + head + parcel


def opened(blob: bytes) -> Letter | str:
    """The letter, or why there is none."""
    try:
        return unpack(blob)
    except FedloomError as error:
        return str(error)


def head(**changed: Any) -> dict[str, Any]:
    """The head of a good letter with other fields."""
    blob = pack(WHOLE)
    (length,) = struct.unpack("<Q", blob[8:16])
    found: dict[str, Any] = json.loads(blob[16 : 16 + length])
    return found | changed


@given(LETTERS)
def test_a_letter_comes_back_as_it_was(letter: Letter) -> None:
    blob = pack(letter)
    assert unpack(blob) == letter
    assert unpack(memoryview(blob)) == letter
    assert pack(unpack(blob)) == blob


def test_the_bytes_are_magic_length_head_and_parcel() -> None:
    blob = pack(Letter("stop", parcel=b"xyz"))
    (length,) = struct.unpack("<Q", blob[8:16])
    assert blob[:8] == b"fedloom1"
    assert len(blob) == 16 + length + 3
    assert json.loads(blob[16 : 16 + length])["kind"] == "stop"
    assert blob[16 + length :] == b"xyz"


def test_an_answer_keeps_what_it_answers_and_drops_what_was_only_asked() -> None:
    answer = WHOLE.answer(b"reply", "went wrong", 2.0, {"loads": 1})
    assert answer == Letter(
        "train", "0a1b", "77", "mercy", 3, error="went wrong", seconds=2.0, facts={"loads": 1}, parcel=b"reply"
    )
    assert WHOLE.answer() == Letter("train", "0a1b", "77", "mercy", 3)


@given(
    st.builds(
        Job,
        round=st.integers(0, 2**63 - 1),
        client=TEXT,
        parcel=st.binary(max_size=40),
        kind=st.sampled_from(get_args(Job.__annotations__["kind"])),
        counted=st.integers(0, 2**63 - 1),
    )
)
def test_a_job_comes_back_as_it_was(job: Job) -> None:
    assert unpack(pack(Letter.of(job))).job == job
    asked = Letter.of(job, "0a1b", "77", 'name = "x"', "f00")
    assert (asked.run, asked.nonce, asked.experiment, asked.model) == ("0a1b", "77", 'name = "x"', "f00")
    assert unpack(pack(asked)).job == job


@given(st.binary(max_size=40), TEXT, st.floats(0, 1e9))
def test_a_reply_comes_back_as_it_was(parcel: bytes, error: str, seconds: float) -> None:
    reply = Reply("mercy", parcel, error, seconds)
    assert unpack(pack(WHOLE.reply(reply))).replied == reply


def test_no_field_of_a_job_or_a_reply_is_left_out() -> None:
    """``late`` is what the engine finds out, not what a client says."""
    told = {each.name for each in fields(Letter)}
    assert {each.name for each in fields(Job)} <= told
    assert {each.name for each in fields(Reply)} - {"late"} <= told


@pytest.mark.parametrize("kind", ["hello", "health", "stop"])
def test_what_is_no_work_is_no_job(kind: Any) -> None:
    with pytest.raises(FedloomError, match=f"'{kind}' is no work for a client"):
        _ = Letter(kind).job


def test_an_error_travels_whatever_stands_in_it() -> None:
    told = unpack(pack(WHOLE.answer(error="half an emoji: \ud83d" + "!" * MAX_HEAD))).error
    assert told.startswith("half an emoji: ?!!!")
    assert len(told) < MAX_HEAD / 2


@pytest.mark.parametrize(
    ("name", "most"), [("run", 64), ("nonce", 64), ("client", 255), ("model", 255), ("error", 20_000)]
)
def test_a_text_that_is_kept_has_a_longest(name: str, most: int) -> None:
    good = json.dumps(head(**{name: "x" * most})).encode()
    assert getattr(unpack(framed(good)), name) == "x" * most
    for length in (most + 1, 900_000):
        told = opened(framed(json.dumps(head(**{name: "x" * length})).encode()))
        assert told == f"Letter: {name!r} has {length} characters, at most {most} are allowed."


def test_facts_are_few_and_short() -> None:
    for facts in ({"x" * 1024: "y" * 1024}, {str(n): n for n in range(256)}):
        assert unpack(framed(json.dumps(head(facts=facts)).encode())).facts == facts
    for facts in ({"x" * 1025: 1}, {"x": "y" * 1025}, {str(n): n for n in range(257)}):
        assert opened(framed(json.dumps(head(facts=facts)).encode())) == (
            f"Letter: 'facts' is {ascii(facts)[:60]}, which cannot be."
        )


def test_cut_short_anywhere_it_is_refused_or_has_a_shorter_parcel() -> None:
    blob = pack(WHOLE)
    end = len(blob) - len(WHOLE.parcel)
    for size in range(end):
        with pytest.raises(FedloomError, match=r"^Letter: .*(cut short|do not begin)"):
            unpack(blob[:size])
    for size in range(end, len(blob)):  # what is missing of a parcel, the parcel's own header shows
        assert unpack(blob[:size]) == replace(WHOLE, parcel=WHOLE.parcel[: size - end])


@given(st.binary(max_size=64), st.integers(0, 400))
def test_any_bytes_anywhere_are_a_letter_or_are_refused(noise: bytes, place: int) -> None:
    blob = pack(WHOLE)
    for bent in (noise, blob[:place] + noise + blob[place + len(noise) :], MAGIC + noise):
        found = opened(bent)
        assert isinstance(found, Letter) or found.startswith("Letter: ")


@pytest.mark.parametrize("claimed", [MAX_HEAD + 1, 10 * 2**30, 2**64 - 1])
def test_a_head_that_claims_to_be_huge_is_refused_by_its_length(claimed: int) -> None:
    blob = MAGIC + struct.pack("<Q", claimed) + b"{}"
    tracemalloc.start()
    try:
        with pytest.raises(FedloomError, match=f"a head of {claimed} bytes is more than the {MAX_HEAD} allowed"):
            unpack(blob)
        assert tracemalloc.get_traced_memory()[1] < 2**18
    finally:
        tracemalloc.stop()


def test_a_letter_over_the_limit_is_refused_before_it_is_looked_at() -> None:
    with pytest.raises(FedloomError, match="101 bytes are more than the 100 allowed"):
        unpack(bytes(101), max_bytes=100)
    blob = pack(WHOLE)
    assert unpack(blob, max_bytes=len(blob)) == WHOLE
    with pytest.raises(FedloomError, match="allowed"):
        unpack(blob, max_bytes=len(blob) - 1)


@pytest.mark.parametrize("magic", [b"fedloom2", b"\x80\x04\x95\x00\x00\x00\x00\x00", b"PK\x03\x04\x00\x00\x00\x00"])
def test_what_is_not_ours_is_refused(magic: bytes) -> None:
    with pytest.raises(FedloomError, match="fedloom did not write this"):
        unpack(magic + pack(WHOLE)[8:])


@pytest.mark.parametrize("opening", ["[", '{"a":'])
def test_json_nested_ever_deeper_is_refused(opening: str) -> None:
    with pytest.raises(FedloomError, match="no valid JSON"):
        unpack(framed((opening * 100_000).encode()))


@pytest.mark.parametrize("field", ["facts", "run", "kind", "round"])
def test_nesting_just_below_what_json_reads_is_refused_too(field: str) -> None:
    for depth in range(800, 1000, 7):
        deep = "[" * depth + "]" * depth
        text = json.dumps(head()).replace(json.dumps(head()[field]), deep, 1)
        with pytest.raises(FedloomError, match=f"'{field}'|no valid JSON"):
            unpack(framed(text.encode()))


@pytest.mark.parametrize("text", [b"", b"{", b"nonsense", b"\xff\xfe", b'{"kind": }', b"1" * 5000])
def test_a_head_that_is_no_json_is_refused(text: bytes) -> None:
    with pytest.raises(FedloomError, match="no valid JSON"):
        unpack(framed(text))


@pytest.mark.parametrize("value", [[], "text", 3, None, {}])
def test_a_head_that_is_no_table_of_our_fields_is_refused(value: object) -> None:
    with pytest.raises(FedloomError, match=r"other fields than expected.*the same fedloom"):
        unpack(framed(json.dumps(value).encode()))


def test_a_field_more_or_less_is_refused() -> None:
    more = head(priority=1)
    with pytest.raises(FedloomError, match="other fields"):
        unpack(framed(json.dumps(more).encode()))
    with pytest.raises(FedloomError, match="other fields"):
        unpack(framed(json.dumps(head(parcel="x")).encode()))
    for name in head():
        less = head()
        del less[name]
        with pytest.raises(FedloomError, match="other fields"):
            unpack(framed(json.dumps(less).encode()))


WRONG: list[tuple[str, object]] = [
    ("kind", "pickle"),
    ("kind", 1),
    ("kind", ["train"]),
    ("run", 7),
    ("run", None),
    ("nonce", True),
    ("client", ["mercy"]),
    ("experiment", {"name": "x"}),
    ("model", 0.5),
    ("error", False),
    ("round", -1),
    ("round", 2**63),
    ("round", 1.0),
    ("round", True),
    ("round", "1"),
    ("counted", -1),
    ("counted", None),
    ("seconds", "1"),
    ("seconds", True),
    ("seconds", None),
    ("seconds", -0.5),
    ("seconds", 1e300),
    ("seconds", -1),
    ("facts", []),
    ("facts", "x"),
    ("facts", {"a": None}),
    ("facts", {"a": True}),
    ("facts", {"a": []}),
    ("facts", {"a": {"b": 1}}),
    ("facts", {"a": 2**63}),
    ("facts", {"a": "\ud800"}),
    ("facts", {"\ud800": 1}),
]


@pytest.mark.parametrize(("name", "value"), WRONG, ids=[f"{name} {value!r}" for name, value in WRONG])
def test_a_value_of_another_type_is_refused_by_the_fields_name(name: str, value: object) -> None:
    with pytest.raises(FedloomError, match=rf"^Letter: '{name}' is .*, which cannot be\.$"):
        unpack(framed(json.dumps(head(**{name: value})).encode()))


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_seconds_that_are_no_number_are_refused(number: str) -> None:
    text = json.dumps(head(seconds=0.25)).replace("0.25", number)
    with pytest.raises(FedloomError, match="'seconds'"):
        unpack(framed(text.encode()))


def test_a_long_wrong_value_is_shown_shortened() -> None:
    with pytest.raises(FedloomError) as refused:
        unpack(framed(json.dumps(head(kind="x" * 10_000)).encode()))
    assert len(str(refused.value)) < 120


def test_seconds_beyond_every_float_are_refused() -> None:
    with pytest.raises(FedloomError, match="'seconds'"):
        unpack(framed(json.dumps(head(seconds=10**400)).encode()))


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e999"])
def test_a_fact_that_is_no_number_is_refused(number: str) -> None:
    text = json.dumps(head(facts={"train": 0.25})).replace("0.25", number)
    with pytest.raises(FedloomError, match="'facts'"):
        unpack(framed(text.encode()))


@pytest.mark.parametrize("name", ["error", "run", "client", "experiment"])
def test_text_that_cannot_be_printed_is_refused(name: str) -> None:
    with pytest.raises(FedloomError, match=f"'{name}'"):
        unpack(framed(json.dumps(head(**{name: "\ud800"})).encode()))
