"""What a turn of full fine-tuning costs beside the same loop written by hand in PyTorch, on the same CLIP.

    python benchmarks/steps.py [--model nano-clip] [--pairs 15] [--steps 12] [--batch 16] [--threads 1] [--json FILE]

Both take the same batches from the same start with AdamW, in one process, in turn; the first pair warms up, and its
mean losses must be the same. fedloom's turn is whole: the adapter is written, trained, checked and read. It prints
the ratio of the pairs, its median and quartiles; the exit status is 1 where the median is above 1.05.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F
from transformers import AutoModel, AutoProcessor

from fedloom import models
from fedloom.core import resolve
from fedloom.core.contracts import Example, Parcel
from fedloom.core.seeds import Seeds
from fedloom.core.tables import ClientTable
from fedloom.federation import client, steps

LIMIT = 1.05
"""The largest median ratio that passes."""
NAMES = ("anchor", "bell", "cloud", "drum", "engine", "flag", "guitar", "hammer")
LR = 1e-4


def examples(count: int) -> list[Example]:
    """Pictures of noise, each one of eight things."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (count, 64, 64, 3), dtype=np.uint8)
    named = [NAMES[number % len(NAMES)] for number in range(count)]
    return [
        Example(str(n), (Image.fromarray(pixels[n]),), "<image>", NAMES, name, "a {} icon")
        for n, name in enumerate(named)
    ]


def by_fedloom(name: str, data: list[Example], table: ClientTable) -> Callable[[], float]:
    """A turn of a client whose adapter is the whole model; it returns its mean loss."""
    backbone = models.load(name, adapter=models.AdapterSpec(kind="full"), seeds=Seeds(0))
    start, method = backbone.read(), resolve.build("methods", "fedavg", {}, seed=0)

    def turn() -> float:
        rng = np.random.default_rng(1)
        given = {"received": Parcel({"adapter": start}), "kept": {}, "initial": start}
        reply, _ = client.train(backbone, data, method, table, **given, rng=rng, lr=LR, scale=1.0)  # type: ignore[arg-type]
        return float(reply.facts["loss"])

    return turn


def by_hand(name: str, data: list[Example], table: ClientTable) -> Callable[[], float]:
    """The same turn on the model as Transformers opens it, with pixels and captions made ready beforehand."""
    folder = models.NANO.get(name, Path(name))
    model = AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    processor = AutoProcessor.from_pretrained(folder, backend="pil")
    pixels: Tensor = processor.image_processor([e.images[0] for e in data], return_tensors="pt")["pixel_values"]
    words = processor.tokenizer([f"a {each} icon" for each in NAMES], return_tensors="pt", padding=True)
    gold = torch.tensor([NAMES.index(e.answer) for e in data])
    start = {key: value.clone() for key, value in model.state_dict().items()}

    def turn() -> float:
        model.load_state_dict(start)
        optimiser = torch.optim.AdamW(model.parameters(), lr=LR, weight_decay=table.weight_decay)
        losses = []
        for batch in steps.batches(len(data), table, np.random.default_rng(1)):
            optimiser.zero_grad()
            logits = model(**words, pixel_values=pixels[batch]).logits_per_image
            loss = F.cross_entropy(logits, gold[batch])
            loss.backward()
            optimiser.step()
            losses.append(float(loss.detach()))
        return float(np.mean(losses))

    return turn


def timed(turn: Callable[[], float]) -> float:
    """Seconds of a processor that a turn takes: what else runs on the machine is not counted."""
    begun = time.process_time()
    turn()
    return time.process_time() - begun


def measured(given: argparse.Namespace) -> dict[str, Any]:
    """Seconds of pairs of turns, alternating which comes first, and what they say."""
    torch.set_num_threads(given.threads)
    table = ClientTable(epochs=1, batch_size=given.batch, lr=LR)
    data = examples(given.steps * given.batch)
    ours, plain = (make(given.model, data, table) for make in (by_fedloom, by_hand))
    losses = ours(), plain()
    if abs(losses[0] - losses[1]) > 1e-4 * losses[1]:
        raise SystemExit(f"the two loops are not the same: their mean losses are {losses[0]} and {losses[1]}")
    pairs = []
    for number in range(given.pairs):
        if number % 2:
            theirs = timed(plain)
            pairs.append((timed(ours), theirs))
        else:
            pairs.append((timed(ours), timed(plain)))
    ratios = [mine / theirs for mine, theirs in pairs]
    low, median, high = statistics.quantiles(ratios, n=4)
    return {
        "command": " ".join(["python benchmarks/steps.py", *sys.argv[1:]]),
        "seconds_a_step": {
            "fedloom": statistics.median(mine for mine, _ in pairs) / given.steps,
            "by hand": statistics.median(theirs for _, theirs in pairs) / given.steps,
        },
        "ratios": ratios,
        "median": median,
        "quartiles": [low, high],
        "mean_losses": losses,
        "limit": LIMIT,
        "pass": median <= LIMIT,
    }


def main() -> None:
    """Measure, print and write the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--model", default="nano-clip", help="nano-clip, or the folder of a CLIP")
    parser.add_argument("--pairs", type=int, default=15)
    parser.add_argument("--steps", type=int, default=12, help="of a turn")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures")
    found = measured(given := parser.parse_args())
    for who, seconds in found["seconds_a_step"].items():
        turns = f"median of {given.pairs} turns of {given.steps} steps"
        print(f"{who}: {seconds * 1e3:.1f} ms of a processor a step ({turns})")
    low, high = found["quartiles"]
    verdict = "pass" if found["pass"] else "FAIL"
    told = f"median {found['median']:.3f} (quartiles {low:.3f} to {high:.3f})"
    print(f"ratio pair by pair: {told}, at most {LIMIT:g}: {verdict}")
    print("mean losses of a turn: {} and {}".format(*found["mean_losses"]))
    if given.json:
        given.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    sys.exit(0 if found["pass"] else 1)


if __name__ == "__main__":
    main()
