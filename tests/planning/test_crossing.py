"""What is counted of a step is what the boundary then sends, whatever the wire."""

from typing import Any, Literal

import pytest
import torch

from fedloom.core.passage import Codes, Passage, Target
from fedloom.planning.crossing import Shape, crossing
from fedloom.split.boundary import Boundary
from fedloom.split.desk import Desk

PICTURED, WORDED, ANSWER, WIDTH, VOCABULARY, RANK = 30, 12, 3, 64, 50, 4


class Linear:
    """A language model that is one matrix."""

    width, vocabulary, longest = WIDTH, VOCABULARY, 64

    def __init__(self) -> None:
        self.head = torch.randn(WIDTH, VOCABULARY)

    def logits(self, embeddings: Any, mask: Any, keep: Any, cache: Any = None, positions: Any = None) -> Any:
        return embeddings[:, keep] @ self.head

    def learning(self) -> list[str]:
        return []


def passage(rows: int) -> tuple[Passage, Target]:
    """Random embeddings, with an adapter on pictures and one on words."""
    places = PICTURED + WORDED
    base, mask = torch.randn(rows, places, WIDTH), torch.ones(rows, places, dtype=torch.bool)
    pictured = torch.arange(places).expand(rows, -1) < PICTURED
    up = [torch.randn(WIDTH, RANK, requires_grad=True) for _ in range(2)]
    here = (pictured, ~pictured)
    z = [torch.randn(int(places.sum()), RANK, requires_grad=True) for places in here]
    codes = (Codes("image", here[0], z[0], up[0], 1.0), Codes("text", here[1], z[1], up[1], 1.0))
    keys = tuple(f"{row + 7:032x}" for row in range(rows))
    keep = torch.arange(places - ANSWER, places)
    return Passage(base, mask, codes, keys=keys), Target(keep, torch.randint(0, VOCABULARY, (rows, ANSWER)))


@pytest.mark.parametrize("wire", ["full", "low-rank"])
@pytest.mark.parametrize("labels", ["shared", "private"])
@pytest.mark.parametrize("numbers", ["fp32", "int8"])
def test_bytes_of_a_step_are_those_sent(
    wire: Literal["full", "low-rank"], labels: Literal["shared", "private"], numbers: Literal["fp32", "int8"]
) -> None:
    rows = 5
    language: Any = Linear()
    desk = Desk(language)
    real = Boundary(lambda blob: desk.ask("", blob), wire, labels, numbers)
    sent = []
    given = passage(rows)
    for _ in range(2):
        real.losses(*given).mean().backward()
        sent += [real.traffic.up, real.traffic.down]
    sent[2:] = [sent[2] - sent[0], sent[3] - sent[1]]
    shape = Shape(rows, PICTURED, WORDED, ANSWER, WIDTH, VOCABULARY, RANK, ("image", "text"))
    found = crossing(shape, wire, labels, numbers, torch.float32)
    header = 64  # offsets and scales are text, and as long as their digits
    assert [found.first_up, found.first_down, found.up, found.down] == pytest.approx(sent, abs=header)
    assert (found.first_up, found.first_down) >= (found.up, found.down)


def test_the_low_rank_wire_sends_a_thirtieth_at_the_size_of_llava() -> None:
    """16 examples of 576 + 64 places, rank 64 of width 4096: 64 / 4096 of the bytes and the two U besides."""
    shape = Shape(16, 576, 64, 4, 4096, 32064, 64, ("image", "text"))
    full, low = (crossing(shape, wire, "shared", "fp32", torch.bfloat16) for wire in ("full", "low-rank"))
    embeddings, codes, up = 16 * 640 * 4096 * 4, 16 * 640 * 64 * 4, 2 * 4096 * 64 * 4
    for way in ("up", "down"):
        assert getattr(full, way) == pytest.approx(embeddings, rel=1e-3)
        assert getattr(low, way) == pytest.approx(codes + up, rel=5e-3)  # and which place is whose
    assert full.up + full.down > 30 * (low.up + low.down)
    assert low.first_up - low.up == pytest.approx(embeddings, rel=1e-3)


def test_a_step_takes_at_least_what_it_sends_and_no_more_for_what_the_host_takes() -> None:
    shape = Shape(3, 200, 56, 4, 512, 60_000, 8, ("image", "text"))
    embeddings = 3 * 256 * 512 * 4
    full = crossing(shape, "full", "shared", "fp32", torch.float32)
    # base, what is adapted in it, the request as tensor, bytes and message; the host's logits are 3 x 4 x 60 000
    assert 4 * embeddings < full.memory < 9 * embeddings
    low = crossing(shape, "low-rank", "shared", "fp32", torch.float32)
    assert 3 * embeddings < low.memory <= full.memory
