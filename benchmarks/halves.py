"""What ``split.py`` measures: a language model of some size with random weights, and a client with NanoAdapters.

A client's step: codes of fixed embeddings, loss, gradients, one step of AdamW on D and U. The vision tower's work is
not in it: what it puts out is computed once and kept, on both sides of a comparison.
"""

import gc
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import psutil
import torch
from torch import Tensor

from fedloom.core import memory
from fedloom.core.contracts import Tree
from fedloom.core.device import device
from fedloom.core.passage import Codes, Middle, Passage, Target, Where
from fedloom.core.seeds import Seeds

TOKEN_FILE, CLIENT = "tokens.toml", "client"


@dataclass(frozen=True)
class Size:
    """A Llama of ``layers`` layers, and what a client of it reads: ``image`` tokens of a picture and ``text`` tokens,
    ``answer`` of them to be predicted, in batches of ``batch``, by NanoAdapters of ``rank``."""

    width: int
    layers: int
    heads: int
    inner: int
    vocabulary: int
    image: int
    text: int
    answer: int
    batch: int
    rank: int
    dtype: str = "float32"


SIZES = {
    "tiny": Size(64, 2, 2, 128, 512, image=16, text=24, answer=3, batch=4, rank=8),
    "nano": Size(192, 4, 6, 384, 1024, image=16, text=24, answer=3, batch=8, rank=16),
    "medium": Size(1024, 6, 16, 2816, 8192, image=64, text=32, answer=3, batch=4, rank=64),
    "7b": Size(4096, 32, 32, 11008, 32064, image=576, text=64, answer=4, batch=16, rank=64, dtype="bfloat16"),
}
"""``nano``: nano-vlm's language model. ``7b``: LLaVA-1.5-7B's."""


def language(size: Size) -> Any:
    """A frozen language model of a size, on the device."""
    from transformers import LlamaConfig, LlamaForCausalLM

    from fedloom.models.language.decoder import Language

    config = LlamaConfig(
        hidden_size=size.width,
        num_hidden_layers=size.layers,
        num_attention_heads=size.heads,
        num_key_value_heads=size.heads,
        intermediate_size=size.inner,
        vocab_size=size.vocabulary,
        max_position_embeddings=2048,
    )
    torch.manual_seed(0)
    dtype = torch.bfloat16 if size.dtype == "bfloat16" and device().type == "cuda" else torch.float32
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.device(device()):
            model = LlamaForCausalLM(config)
    finally:
        torch.set_default_dtype(before)
    return Language(model.requires_grad_(False).eval(), size.dtype)


@dataclass
class Client:
    """A client with NanoAdapters and ``batches`` batches of fixed embeddings; ``name`` says which of several."""

    size: Size
    middle: Middle
    batches: int = 2
    name: str = CLIENT
    leaves: Tree = field(default_factory=dict)

    def __post_init__(self) -> None:
        size, stream = self.size, Seeds(0).torch(f"client/{self.name}")
        length = size.image + size.text - 1  # the end of the answer is predicted and not read
        self.shown = torch.arange(length) < size.image
        dtype = torch.bfloat16 if size.dtype == "bfloat16" else torch.float32
        self.base = [
            (0.5 * torch.randn(size.batch, length, size.width, generator=stream)).to(device(), dtype)
            for _ in range(self.batches)
        ]
        self.labels = [
            torch.randint(size.vocabulary, (size.batch, size.answer), generator=stream).to(device())
            for _ in range(self.batches)
        ]
        for where in ("image", "text"):
            down = torch.randn(size.rank, size.width, generator=stream) / size.width**0.5
            up = 0.02 * torch.randn(size.width, size.rank, generator=stream)
            for half, value in (("down", down), ("up", up)):
                self.leaves[f"{where}.{half}"] = value.to(device()).requires_grad_()
        self.optimiser = torch.optim.AdamW(list(self.leaves.values()), lr=1e-3)

    def loss(self, number: int) -> Tensor:
        """The mean loss of a batch."""
        base = self.base[number % self.batches]
        mask = torch.ones(base.shape[:2], dtype=torch.bool, device=base.device)
        codes = []
        kinds: tuple[Where, ...] = ("image", "text")
        for where in kinds:
            places = (self.shown == (where == "image")).to(base.device).expand(mask.shape)
            z = base[places].float() @ self.leaves[f"{where}.down"].T
            codes.append(Codes(where, places, z, self.leaves[f"{where}.up"], 1.0))
        keys = tuple(f"{self.name}-{number % self.batches}-{row}" for row in range(len(base)))
        length = base.shape[1]
        keep = torch.arange(length - self.size.answer, length, device=base.device)
        target = Target(keep, self.labels[number % self.batches])
        return self.middle.losses(Passage(base, mask, tuple(codes), keys=keys), target).mean()

    def gradients(self, number: int = 0) -> Tree:
        """The gradient of every leaf for one batch."""
        self.optimiser.zero_grad()
        self.loss(number).backward()
        return {name: leaf.grad.detach().cpu().clone() for name, leaf in self.leaves.items() if leaf.grad is not None}

    def step(self, number: int) -> None:
        """One step of training."""
        self.optimiser.zero_grad()
        self.loss(number).backward()
        self.optimiser.step()


class Meter:
    """The peak of memory from its beginning on, above what was in use then: of the GPU, or of this process."""

    def __init__(self) -> None:
        gc.collect()
        if device().type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
            self.before = torch.cuda.memory_allocated()
        else:
            memory.give_back_freed()
            memory.reset_peak()
            self.before = psutil.Process().memory_info().rss

    @property
    def peak(self) -> int:
        """Bytes."""
        found = torch.cuda.max_memory_allocated() if device().type == "cuda" else memory.peak()
        return max(0, found - self.before)


def timed(step: Callable[[int], None], steps: int, warm: int = 3) -> float:
    """Seconds a step: the median, after a few that do not count."""
    taken = []
    for number in range(warm + steps):
        begun = time.perf_counter()
        step(number)
        if device().type == "cuda":
            torch.cuda.synchronize()
        taken.append(time.perf_counter() - begun)
    return sorted(taken[warm:])[steps // 2]


def serve(size: Size, folder: str, together: int, pipe: Connection) -> None:
    """A host of a model of this size, in a process of its own: sends its address, and serves until it is told to end;
    then its peak of memory."""
    from fedloom.split.desk import Desk
    from fedloom.split.host import Door, Host
    from fedloom.split.identity import Identity

    place = Path(folder)
    meter = Meter()
    desk = Desk(language(size), together=together)
    door = Door("127.0.0.1:0", (place / "server.pem").read_bytes(), (place / "server.key").read_bytes())
    with Host(desk, Identity(place / TOKEN_FILE), door, tell=lambda text: None) as host:
        pipe.send(host.address)
        pipe.recv()
    pipe.send(meter.peak)


def train(size: Size, address: str, folder: str, name: str, options: dict[str, str], pipe: Connection) -> None:
    """A client in a process of its own: does so many steps whenever it is told to, and says when they are done."""
    torch.set_num_threads(1)  # it is one of many
    client = Client(size, dialled(address, Path(folder), options), name=name)
    client.step(0)
    client.step(1)  # what it reads is at the host from now on
    pipe.send("ready")
    while steps := pipe.recv():
        for number in range(steps):
            client.step(number)
        pipe.send("done")


def dialled(address: str, folder: Path, options: dict[str, str]) -> Any:
    """A boundary to the host at ``address``."""
    from fedloom.split.boundary import Boundary
    from fedloom.split.dial import Dial

    dial = Dial(address, (folder / f"{CLIENT}.token").read_text(), folder / "ca.pem", deadline=600)
    return Boundary(dial.ask, **options)  # type: ignore[arg-type]


def relative(found: Tree, expected: Tree) -> float:
    """The largest relative error of a tensor, by its norm."""
    return max(float((found[name] - value).norm() / value.norm()) for name, value in expected.items())


def steps_a_second(pipes: Sequence[Connection], steps: int, together: bool) -> float:
    """Steps a second of all clients, at once or one after the other."""
    begun = time.perf_counter()
    if together:
        for pipe in pipes:
            pipe.send(steps)
        for pipe in pipes:
            pipe.recv()
    else:
        for pipe in pipes:
            pipe.send(steps)
            pipe.recv()
    return len(pipes) * steps / (time.perf_counter() - begun)
