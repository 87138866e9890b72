"""Letters in Flower's messages: one array of bytes, and nothing else is taken for one."""

import pytest

pytest.importorskip("flwr")

from flwr.app import Array, ArrayRecord, ConfigRecord, Error, Message, MetricRecord, RecordDict
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects
from flwr.supercore.inflatable.inflatable_utils import inflate_object_from_contents

from fedloom.core.errors import FedloomError
from fedloom.site import letter, records
from fedloom.site.letter import Letter
from fedloom.site.records import KEY
from tests.engines.fake_grid import identify


@pytest.fixture(autouse=True)
def _server(monkeypatch: pytest.MonkeyPatch) -> None:
    identify(monkeypatch)


def holding(content: RecordDict) -> Message:
    return Message(content, 7, "train")


def one(dtype: str = "uint8", stype: str = "fedloom.letter", key: str = KEY, data: bytes = b"abc") -> RecordDict:
    array = Array(dtype=dtype, shape=(len(data),), stype=stype, data=data)
    return RecordDict({KEY: ArrayRecord({key: array})})


def test_a_letter_comes_out_as_it_went_in() -> None:
    asked = Letter("train", "run", "n", "mercy", 3, parcel=bytes(range(256)))
    message = records.question(asked, 7, 60.0)
    assert records.letter_of(message, 2**20) == asked
    assert records.blob_of(message) == letter.pack(asked)


def test_it_survives_flowers_own_bytes() -> None:
    asked = Letter("evaluate", "run", "n", "mercy", 3, parcel=bytes(range(256)) * 40)
    (record,) = records.question(asked, 7, 60.0).content.array_records.values()
    parts = get_all_nested_objects(record)
    again = inflate_object_from_contents(record.object_id, {key: part.deflate() for key, part in parts.items()})
    assert isinstance(again, ArrayRecord)
    assert letter.unpack(again[KEY].data) == asked


@pytest.mark.parametrize(("kind", "type"), [("hello", "query.hello"), ("train", "train"), ("evaluate", "evaluate")])
def test_every_kind_has_a_message_type_of_flowers(kind: str, type: str) -> None:
    metadata = records.question(Letter(kind, round=4), 7, 60.0).metadata  # type: ignore[arg-type]
    assert (metadata.message_type, metadata.dst_node_id, metadata.ttl, metadata.group_id) == (type, 7, 60.0, "4")


@pytest.mark.parametrize("kind", ["health", "stop"])
def test_what_is_a_sites_own_business_has_none(kind: str) -> None:
    with pytest.raises(KeyError):
        records.question(Letter(kind), 7, 60.0)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "content",
    [
        RecordDict(),
        RecordDict({"other": ArrayRecord()}),
        RecordDict({KEY: ArrayRecord()}),
        RecordDict({KEY: ConfigRecord({KEY: b"abc"})}),
        RecordDict({KEY: MetricRecord({KEY: 1.0})}),
        one(key="other"),
        one(dtype="float32"),
        one(stype="numpy.ndarray"),
    ],
    ids=["nothing", "another name", "empty", "config", "metric", "another key", "floats", "numpy"],
)
def test_what_holds_no_letter_is_refused(content: RecordDict) -> None:
    with pytest.raises(FedloomError, match="a message that holds no letter; fedloom did not write this"):
        records.blob_of(holding(content))


def test_an_error_of_flowers_holds_no_letter() -> None:
    asked = holding(RecordDict())
    with pytest.raises(FedloomError, match="holds no letter"):
        records.blob_of(Message(Error(1, "lost"), reply_to=asked))


def test_bytes_that_are_no_letter_or_too_many_are_refused() -> None:
    with pytest.raises(FedloomError, match="do not begin with"):
        records.letter_of(holding(one(data=b"\x80\x04" * 20)), 2**20)
    blob = letter.pack(Letter("train", parcel=bytes(1000)))
    with pytest.raises(FedloomError, match=f"{len(blob)} bytes are more than the 999 allowed"):
        records.letter_of(holding(one(data=blob)), 999)
