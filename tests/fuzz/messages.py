"""Decoders of messages: parcels, letters, replies through every channel, and what split halves say to each other."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import torch

from fedloom.channel import Channel, pipeline
from fedloom.core import wire
from fedloom.core.contracts import Job, Parcel, Reply, Tree
from fedloom.core.passage import Codes, Passage, Speech
from fedloom.core.passage import Target as Wanted
from fedloom.federation import evaluate
from fedloom.federation import messages as replies
from fedloom.federation.setup import Setup
from fedloom.site import letter
from fedloom.site.letter import Letter
from fedloom.split import frames, messages
from fedloom.split.boundary import Boundary
from fedloom.split.desk import Desk
from fedloom.split.errors import Refused
from tests.federation import toy
from tests.fuzz.harness import Target
from tests.fuzz.mutate import by, of_letter, of_parcel
from tests.fuzz.trees import of_trees

LAYER = "base_model.model.layers.0.q_proj.lora_"
PARCEL = (by(of_parcel), of_trees, of_trees)
FACTS: dict[str, float | int | str] = {"examples": 6, "steps": 3, "loss": 0.5}
UP = (
    *(["fp16"], ["bf16"], ["int8"], ["int4"], ["nf:3"], ["sign"], ["ternary"], ["topk:0.5"], ["random-mask:0.5"]),
    *(["lowrank:1"], ["feedback", "topk:0.3", "int8"], ["feedback", "lowrank:1", "int4"], ["topk:0.3,global", "nf:2"]),
)
"""Stacks of stages in which each stage is at least once, over and under another."""


def start() -> Tree:
    """A small adapter, the same each time."""
    drawn = torch.Generator().manual_seed(0)
    return {
        f"{LAYER}{half}.weight": torch.randn(shape, generator=drawn) for half, shape in (("A", (2, 6)), ("B", (5, 2)))
    }


def packed(trees: dict[str, Tree], **facts: float | int | str) -> bytes:
    """A parcel as bytes."""
    return wire.pack(Parcel(trees, facts))


def targets() -> Iterator[Target]:
    """Every decoder of a message."""
    plain = packed({"adapter": start(), "control": {"a": torch.arange(4), "b": torch.zeros(0)}}, **FACTS, name="x")
    more = packed({"a": {"x": torch.zeros(2, dtype=torch.bfloat16)}, "empty": {}}), packed({}), packed({}, a="{}")
    yield Target("wire", (plain, *more), _unpacked, PARCEL)
    yield Target("wire: sizes", (plain, *more), replies._sizes, PARCEL)
    yield Target("letter", tuple(_letters(plain)), _read, (by(of_letter),))
    for stack in UP:
        channel = pipeline([*stack])
        yield Target(f"reply {'+'.join(stack)}", _replies(channel), _opened(channel), PARCEL)
    for down in (["fp16"], ["int8"]):
        channel = pipeline(down, down=True)
        seed = packed({slot: channel.encode(start(), {}) for slot in ("adapter", "base")})
        yield Target(f"sent {down[0]}", (seed,), _decoded(channel), PARCEL)
    none = Channel({})
    yield Target("reply", (*_replies(none), _reply(none, start(), rank=2)), _opened(none, cuts=True), PARCEL)
    asked = Setup(toy.experiment())
    scored = packed({}, tested=4, score=2.5, split_up=10, split_down=20), packed({}, tested=4, score=0.0, private=1)
    yield Target("scores", scored, lambda blob: evaluate._opened(asked, Reply("a", blob), 4), PARCEL)
    yield from _split()


def _unpacked(blob: bytes) -> object:
    found = wire.unpack(blob, max_bytes=1 << 20)
    return found, wire.sizes(blob)


def _letters(parcel: bytes) -> Iterator[bytes]:
    job = Job(3, "mercy", parcel, "train", 2)
    asked = Letter.of(job, run="a1", nonce="n", experiment="rounds = 1\n", model="f")
    yield letter.pack(asked)
    yield letter.pack(asked.answer(parcel, seconds=1.5, facts={"train": 3, "data": "x", "share": 0.5}))
    yield letter.pack(Letter("update", error="no"))


def _read(blob: bytes) -> object:
    found = letter.unpack(blob, 1 << 20)
    return found.replied, found.job, letter.pack(found)


def _reply(channel: Channel, begun: Tree, **facts: int) -> bytes:
    learnt = {name: value + 0.1 for name, value in begun.items()}
    parcel, _ = replies.coded_reply({"adapter": learnt, "control": begun}, begun, {}, channel, seed=1)
    return wire.pack(replace(parcel, facts={**FACTS, **facts}))


def _replies(channel: Channel) -> tuple[bytes, ...]:
    return (_reply(channel, start()), _reply(channel, start(), split_up=3, split_down=4))


def _opened(channel: Channel, cuts: bool = False) -> Callable[[bytes], object]:
    return lambda blob: replies.open_reply(Reply("a", blob), start(), 6, 3, channel, cuts=cuts)


def _decoded(channel: Channel) -> Callable[[bytes], object]:
    def decode(blob: bytes) -> object:
        coded = wire.unpack(blob, max_bytes=1 << 20).trees
        return {slot: channel.decode(tree, start()) for slot, tree in coded.items()}

    return decode


# --- the language model elsewhere -------------------------------------------------------------------------------------

ROWS, LONGEST, WIDTH, WORDS, RANK = 2, 5, 8, 20, 2


def _passage(how: messages.Wire) -> Passage:
    drawn = torch.Generator().manual_seed(0)
    base = torch.randn(ROWS, LONGEST, WIDTH, generator=drawn)
    mask = torch.arange(LONGEST)[None] < torch.tensor([LONGEST, 3])[:, None]
    if how == "full":
        return Passage(base, mask, positions=torch.arange(LONGEST).expand(3, ROWS, LONGEST))
    places = mask & (torch.arange(LONGEST) > 1)
    z, up = torch.randn(int(places.sum()), RANK, generator=drawn), torch.randn(WIDTH, RANK, generator=drawn)
    return Passage(
        base, mask, (Codes("text", places, z.requires_grad_(), up.requires_grad_(), 0.5),), keys=("k0", "k1")
    )


def _split() -> Iterator[Target]:
    requests, answers = _crossing()
    yield Target("split: request", tuple(requests), _asked, PARCEL)
    for (name, how), (labels, seed) in answers.items():
        yield Target(f"split: answer {name} {how}", (seed,), _answered(name, how, labels), PARCEL)
    blob = b"".join(frames.parts(b"x" * 3000))
    yield Target("split: frames", (blob, frames.whole(b"abc") or b""), _gathered)


def _host() -> Any:
    language: Any = SimpleNamespace(longest=16, width=WIDTH, vocabulary=WORDS, learning=list)
    return Desk(language, memory_bytes=1 << 24, most=256)


def _asked(blob: bytes) -> object:
    job = _host().read("a", blob)
    return job.request.passage(torch.device("cpu")) if job.request else job.answer


def _crossing() -> tuple[list[bytes], dict[tuple[str, messages.Wire], tuple[str, bytes]]]:
    """Every request of both wires, and an answer that each takes."""
    requests, answers = [packed({}, kind="hello", embeddings="x"), packed({}, kind="forget")], {}
    for how in ("full", "low-rank"):
        for name, labels in (("losses", "shared"), ("losses", "private"), ("rank", "shared"), ("generate", "shared")):
            answer = packed(_answer(how, "logits" if labels == "private" else name), fingerprint="f")

            def ask(blob: bytes, answer: bytes = answer) -> bytes:
                requests.append(blob)
                return answer

            _use(Boundary(ask, how, labels), name, how)
            answers[f"{name}{'' if labels == 'shared' else ' private'}", how] = labels, answer
    return requests, answers


def _answer(how: str, name: str) -> dict[str, Tree]:
    gradient: Tree = {"embeddings": torch.zeros(8, WIDTH)}
    if how == "low-rank":
        gradient = {"text.z": torch.zeros(4, RANK), "text.up": torch.zeros(WIDTH, RANK)}
    whole = torch.tensor([2, 1], dtype=torch.int32)
    made = {"counts": whole, "ids": torch.tensor([1, 2, 3], dtype=torch.int32)}
    every: dict[str, dict[str, Tree]] = {
        "losses": {"losses": {"losses": torch.ones(ROWS)}, "gradient": gradient},
        "logits": {"logits": {"logits": torch.zeros(3, WORDS)}, "gradient": gradient},
        "rank": {"scores": {"scores": torch.zeros(2)}},
        "generate": {"made": made},
    }
    return every[name]


def _use(boundary: Boundary, name: str, how: messages.Wire) -> object:
    """Ask a host for something, as training and answering do."""
    passage = _passage(how)
    if name == "losses":
        base = passage.base.requires_grad_(how == "full")
        losses = boundary.losses(replace(passage, base=base), Wanted.of([LONGEST, 3], [2, 1], torch.tensor([1, 2, 3])))
        return losses.mean().backward()
    if name == "rank":
        return boundary.rank(passage, [(0, [1, 2]), (1, [3])], Speech(0))
    return boundary.generate(passage, 4, Speech(0))


def _answered(name: str, how: messages.Wire, labels: str) -> Callable[[bytes], object]:
    def decode(blob: bytes) -> object:
        boundary = Boundary(lambda request: blob, how, labels)
        return _use(boundary, name.split()[0], how), boundary.hello()

    return decode


def _gathered(blob: bytes) -> object:
    gathered = frames.Gathered(blob[:1000], most=1 << 20)
    for begin in range(1000, len(blob), 1000):
        gathered.add(blob[begin : begin + 1000])
    try:
        return gathered.blob()
    except Refused:
        return gathered.done
