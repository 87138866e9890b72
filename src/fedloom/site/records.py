"""Letters in Flower's messages: one array of bytes each, since Flower's arrays know neither bfloat16 nor our names."""

from flwr.app import Array, ArrayRecord, Message, RecordDict

from fedloom.core.errors import FedloomError
from fedloom.site.letter import Letter, pack, unpack

KEY = "fedloom"
TYPES = {"hello": "query.hello", "train": "train", "evaluate": "evaluate", "update": "train.update"}
"""Flower's message type of each kind of letter."""


def content(blob: bytes) -> RecordDict:
    """A letter's bytes as a message's content."""
    array = Array(dtype="uint8", shape=(len(blob),), stype="fedloom.letter", data=blob)
    return RecordDict({KEY: ArrayRecord({KEY: array})})


def question(letter: Letter, node: int, ttl: float) -> Message:
    """A letter as a message to a node; ``ttl`` in seconds."""
    return Message(content(pack(letter)), node, TYPES[letter.kind], ttl=ttl, group_id=str(letter.round))


def blob_of(message: Message) -> bytes:
    """The bytes in a message.

    Raises:
        FedloomError: its content is not one array of bytes.
    """
    try:
        records = message.content.array_records[KEY]
        array = records[KEY]
        if array.dtype == "uint8" and array.stype == "fedloom.letter":
            return array.data
    except (KeyError, AttributeError, ValueError):
        pass
    raise FedloomError("a message that holds no letter; fedloom did not write this.")


def letter_of(message: Message, max_bytes: int) -> Letter:
    """The letter in a message.

    Raises:
        FedloomError: none, or one that cannot be read.
    """
    return unpack(blob_of(message), max_bytes)
