"""A client's round of federated CLIP: all of it trained, against FLoRA, at the real shape of a ViT-B/32.

    python benchmarks/flora.py [--model openai/clip-vit-base-patch32] [--batch 32] [--steps 2] [--rounds 3]
                               [--classes 10] [--mbit 100] [--threads 2] [--json FILE]

The weights are random; the work is the same in every row: the same pictures, captions, batches, loss (within the batch,
both ways) and optimiser. Each row is a process of its own. The first rows are the loop as FLoRA's code has it (arXiv
2404.15182): a caption an example, filled up to the 77 places that the text tower reads, pixels through the image tower
in every step. Each further row changes one thing; the last are fedloom's own turns, whole: written, trained, checked
and read. The rows of the published loop must end with the same loss; fedloom's A is drawn from another stream.

A round is what the client receives, trains and sends. What travels is float32, down and up, over ``--mbit`` of its
own. Memory is the peak of the process from when the model is loaded. ``speedup`` and ``memory_ratio`` are of
fedloom's FLoRA against the published full fine-tuning.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROWS = {
    "fedfft": "FedFFT, as published",
    "flora": "FLoRA, as published",
    "features": "+ pictures' features kept",
    "distinct": "+ each distinct caption once",
    "lengths": "+ captions at their own length",
    "fedloom": "FLoRA in fedloom",
    "fedloom-fft": "FedFFT in fedloom",
}
"""Each of the middle rows has what stands before it too."""
LADDER = ("flora", "features", "distinct", "lengths")
RANK, SCALE, LR = 2, 32.0, 5e-5
BETAS, DECAY = (0.9, 0.98), 0.2
NAMES = ("anchor", "bell", "cloud", "drum", "engine", "flag", "guitar", "hammer", "island", "jacket", "kettle", "lamp")
PUBLISHED = {"speedup": 34.72, "memory_ratio": 2.47}
"""Of the paper's abstract, whose set-up is not to be had."""


@dataclass(frozen=True)
class Work:
    """What every row does: ``rounds`` of ``steps`` batches."""

    folder: str
    batch: int
    steps: int
    rounds: int
    classes: int
    threads: int


def checkpoint(name: str, folder: Path) -> None:
    """A CLIP of the shape ``name`` with random weights, and nano-clip's tokenizer."""
    import torch
    from transformers import AutoProcessor, CLIPModel

    from fedloom import models
    from fedloom.models.configurations import configuration

    processor = AutoProcessor.from_pretrained(models.NANO["nano-clip"], backend="pil")
    config, words = configuration(name), processor.tokenizer
    for mark in ("bos_token_id", "eos_token_id", "pad_token_id"):
        setattr(config.text_config, mark, getattr(words, mark))
    side = config.vision_config.image_size
    processor.image_processor.size = {"height": side, "width": side}
    torch.manual_seed(0)
    CLIPModel(config).save_pretrained(folder)
    processor.save_pretrained(folder)


def examples(work: Work, side: int) -> list[Any]:
    """Pictures of noise, each of one of the classes."""
    import numpy as np
    from PIL import Image

    from fedloom.core.contracts import Example

    names = tuple(NAMES[n % len(NAMES)] + ("" if n < len(NAMES) else f" {n}") for n in range(work.classes))
    rng = np.random.default_rng(0)
    made = []
    for number in range(work.batch * work.steps):
        pixels = Image.fromarray(rng.integers(0, 256, (side, side, 3), dtype=np.uint8))
        made.append(Example(str(number), (pixels,), "<image>", names, names[number % len(names)], "a photo of a {}."))
    return made


# --- the published loop, and what can be left out of it ---------------------------------------------------------------


def by_hand(row: str, work: Work) -> tuple[Callable[[], float], int]:
    """A turn of a row of ``LADDER`` or of full fine-tuning, and the parameters that travel."""
    import numpy as np
    import torch
    from peft import LoraConfig, get_peft_model
    from torch.nn import functional as F
    from transformers import AutoProcessor, CLIPModel

    from fedloom.core.tables import ClientTable
    from fedloom.federation import steps

    done = LADDER[: LADDER.index(row) + 1] if row in LADDER else ()
    whole: Any = CLIPModel.from_pretrained(work.folder, dtype=torch.float32).eval()
    processor = AutoProcessor.from_pretrained(work.folder, backend="pil")
    data = examples(work, whole.config.vision_config.image_size)
    model = whole
    torch.manual_seed(1)
    if done:
        targets = [
            name for name, _ in whole.named_modules() if name.startswith("text_model") and name.endswith("out_proj")
        ]
        model = get_peft_model(whole, LoraConfig(r=RANK, lora_alpha=RANK * SCALE, target_modules=targets))
    learns = {name: value for name, value in model.named_parameters() if value.requires_grad}
    whole.logit_scale.requires_grad_(False)
    learns = {name: value for name, value in learns.items() if value.requires_grad}
    start = {name: value.detach().clone() for name, value in learns.items()}
    captions = [example.caption.format(example.answer) for example in data]
    longest = whole.config.text_config.max_position_embeddings
    filled = {"padding": "longest"} if "lengths" in done else {"padding": "max_length", "max_length": longest}
    features: list[Any] = []

    def pictures(batch: Sequence[int]) -> Any:
        shown = processor.image_processor([data[i].images[0] for i in batch], return_tensors="pt")
        return whole.get_image_features(**shown).pooler_output

    def seen(batch: Sequence[int]) -> Any:
        if "features" not in done:
            return pictures(batch)
        if not features:
            with torch.no_grad():
                parts = [pictures(range(i, min(i + 8, len(data)))) for i in range(0, len(data), 8)]
            features.append(torch.cat(parts))
        return features[0][torch.tensor(batch)]

    def read(batch: Sequence[int]) -> Any:
        own = [captions[i] for i in batch]
        texts = list(dict.fromkeys(own)) if "distinct" in done else own
        found = whole.get_text_features(**processor.tokenizer(texts, return_tensors="pt", **filled)).pooler_output
        return found[torch.tensor([texts.index(each) for each in own])] if "distinct" in done else found

    def turn() -> float:
        for name, value in learns.items():
            value.data.copy_(start[name])
        optimiser = torch.optim.AdamW(learns.values(), lr=LR, betas=BETAS, weight_decay=DECAY)
        table, losses = ClientTable(batch_size=work.batch), []
        for batch in steps.batches(len(data), table, np.random.default_rng(1)):
            optimiser.zero_grad()
            images, texts = (F.normalize(part, dim=-1) for part in (seen(batch), read(batch)))
            logits = whole.logit_scale.exp() * images @ texts.T
            gold = torch.arange(len(batch))
            loss = (F.cross_entropy(logits, gold) + F.cross_entropy(logits.T, gold)) / 2
            loss.backward()
            optimiser.step()
            losses.append(float(loss.detach()))
        return statistics.fmean(losses)

    return turn, sum(value.numel() for value in learns.values())


def by_fedloom(row: str, work: Work) -> tuple[Callable[[], float], int]:
    """A turn of fedloom's, and the parameters that travel."""
    import numpy as np

    from fedloom import models
    from fedloom.core import resolve
    from fedloom.core.contracts import Parcel
    from fedloom.core.seeds import Seeds
    from fedloom.core.tables import ClientTable
    from fedloom.federation import client

    low_rank = {"rank": RANK, "alpha": RANK * SCALE, "where": ("text",), "modules": ("o",)}
    spec = models.AdapterSpec(**(low_rank if row == "fedloom" else {"kind": "full"}))  # type: ignore[arg-type]
    objective = resolve.build("objectives", "in-batch", {})
    backbone = models.load(work.folder, adapter=spec, seeds=Seeds(0), objective=objective)
    data = examples(work, 224)
    start, method = backbone.read(), resolve.build("methods", "fedavg", {}, seed=0)
    table = ClientTable(batch_size=work.batch, lr=LR, betas=list(BETAS), weight_decay=DECAY)

    def turn() -> float:
        rng = np.random.default_rng(1)
        given = {"received": Parcel({"adapter": start}), "kept": {}, "initial": start}
        reply, _ = client.train(backbone, data, method, table, **given, rng=rng, lr=LR, scale=1.0)  # type: ignore[arg-type]
        return float(reply.facts["loss"])

    return turn, sum(value.numel() for value in start.values())


def worker(row: str, work: Work) -> dict[str, Any]:
    """Seconds of each round, the peak of memory from when the model is loaded, what travels, and the mean loss."""
    import torch

    from fedloom.core import memory

    torch.set_num_threads(work.threads)
    turn, parameters = (by_fedloom if row.startswith("fedloom") else by_hand)(row, work)
    memory.reset_peak()
    seconds, losses = [], []
    for _ in range(1 + work.rounds):
        begun = time.perf_counter()
        losses.append(turn())
        seconds.append(time.perf_counter() - begun)
    peak = torch.cuda.max_memory_allocated() if torch.cuda.is_available() else memory.peak()
    return {"first": seconds[0], "seconds": seconds[1:], "peak": peak, "parameters": parameters, "loss": losses[-1]}


def measured(given: argparse.Namespace) -> dict[str, Any]:
    """Every row's figures, each from a process of its own, and the two ratios."""
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        checkpoint(given.model, Path(folder))
        work = Work(folder, given.batch, given.steps, given.rounds, given.classes, given.threads)
        for row in given.rows:
            command = [sys.executable, __file__, "--worker", row, "--work", json.dumps(vars(work))]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            found[row] = told = json.loads(done.stdout.splitlines()[-1])
            told["wire"] = 2 * 4 * told["parameters"] * 8 / (given.mbit * 1e6)
            told["round"] = statistics.median(told["seconds"]) + told["wire"]
            print(line(row, told, found.get("fedfft")), flush=True)
    losses = [found[row]["loss"] for row in LADDER if row in found]
    if losses and max(losses) - min(losses) > 1e-4:
        raise SystemExit(f"rows of one loop that are not the same work: their losses are {losses}")
    ratios = {}
    if {"fedfft", "fedloom"} <= found.keys():
        ratios = {
            "speedup": found["fedfft"]["round"] / found["fedloom"]["round"],
            "speedup_without_wire": statistics.median(found["fedfft"]["seconds"])
            / statistics.median(found["fedloom"]["seconds"]),
            "memory_ratio": found["fedfft"]["peak"] / found["fedloom"]["peak"],
        }
    return {"command": " ".join(["python benchmarks/flora.py", *sys.argv[1:]]), "rows": found, **ratios}


def line(row: str, told: dict[str, Any], first: dict[str, Any] | None) -> str:
    """A row's figures in words."""
    times = f"{first['round'] / told['round']:6.1f} x" if first else ""
    leaner = f"{first['peak'] / told['peak']:5.2f} x" if first else ""
    return (
        f"{ROWS[row]:32} {statistics.median(told['seconds']):8.3f} s + {told['wire']:7.3f} s sent {times}"
        f"   {told['peak'] / 2**20:7.0f} MiB {leaner}   first round {told['first']:.2f} s   "
        f"{told['parameters']:,} parameters   loss {told['loss']:.4f}"
    )


def main() -> None:
    """Measure, print and write the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--model", default="openai/clip-vit-base-patch32", help="whose shape is taken")
    parser.add_argument("--rows", nargs="+", choices=list(ROWS), default=list(ROWS))
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--steps", type=int, default=2, help="of a round")
    parser.add_argument("--rounds", type=int, default=3, help="that are timed, after one that is not")
    parser.add_argument("--classes", type=int, default=10)
    parser.add_argument("--mbit", type=float, default=100.0, help="of the client's line, in Mbit/s")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures")
    parser.add_argument("--worker", choices=list(ROWS), help=argparse.SUPPRESS)
    parser.add_argument("--work", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.worker:
        print(json.dumps(worker(given.worker, Work(**json.loads(given.work)))))
        return
    found = measured(given)
    for name, paper in PUBLISHED.items():
        if name in found:
            print(f"{name}: {found[name]:.2f} (the paper's: {paper})")
    if given.json:
        given.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
