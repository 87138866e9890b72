"""A made-up run folder."""

import base64
import io
import json
import random
from pathlib import Path

from PIL import Image, ImageDraw

CONFIG = """name = "made-up"
rounds = 12
seed = 0
[model]
name = "nano-vlm"
[task]
name = "icons-qa/choose_txt"
[scenario]
name = "natural"
clients = 8
by = "pack"
[method]
name = "fedavg"
[channel]
up = ["fp16"]
"""
PACKS = ["boxicons", "codicons", "elusive", "lucide", "material", "phosphor", "remix", "typicons"]
LEFT_OUT = {"round": 4, "client": "boxicons", "error": "round 4, batch 3: <loss> is not a number"}
UP = {"header": 9_000, "adapter": 400_000, "adapter.mask.indices": 50_000}
DOWN = {"header": 1_000, "adapter": 800_000, "<control>": 2_000}
QUESTION = "How many <b>stars</b> are there?<script>alert(1)</script>"


def run_folder(
    folder: Path,
    name: str = "made-up",
    clients: list[str] | None = None,
    gain: float = 0.33,
    method: str = "fedavg",
    classes: dict[str, dict[str, float | int | None]] | None = None,
) -> Path:
    """Write a whole run folder of 12 rounds; one client is left out once."""
    names = PACKS if clients is None else clients
    draw = random.Random(name)
    path = folder / name
    path.mkdir(parents=True)
    rounds = [_round(number, gain, names, draw) for number in range(1, 13)]
    per_client = [
        {
            "client": one,
            "examples": draw.randint(20, 90),
            "zero_shot": 0.41 + draw.uniform(-0.08, 0.08),
            "final": 0.41 + gain + draw.uniform(-0.14, 0.1),
        }
        for one in names
    ]
    finals = [one["final"] for one in per_client]
    result = {
        **{"fedloom": "0.1.0", "seed": 0, "metric": "accuracy", "zero_shot": 0.412, "final": rounds[-1]["score"]},
        **{"best": max(one["score"] or 0 for one in rounds), "per_client": per_client, "worst_client": min(finals)},
        "per_class": classes or {},
        **{"rounds": 12, "clients": len(names), "peak_memory_bytes": 812_000_000, "left_out": []},
        "bytes": {"up": 11_400_000, "down": 22_800_000, "split_up": 0, "split_down": 0},
        "parameters": {"total": 4_120_000, "trained": 98_304, "shared": 98_304},
        "seconds": {"total": 143.2, "train": 101.7, "evaluate": 38.0, "server": 0.4},
        "data": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "versions": {"python": "3.11.7", "torch": "2.13.0", "transformers": "5.23.0", "peft": "0.21.0"},
    }
    sent = {"parts_up": UP, "parts_down": DOWN}
    turns: list[dict[str, object]] = [
        {"round": 1, "client": one, "examples": 9, "steps": 2, "loss": 1.0, "error": "", **sent} for one in names
    ]
    turns += [{**turn, "round": number, "parts_up": {}, "parts_down": {}} for number in range(2, 13) for turn in turns]
    turns.append({**turns[0], **LEFT_OUT})
    (path / "config.toml").write_text(CONFIG.replace("fedavg", method))
    (path / "result.json").write_text(json.dumps(result))
    (path / "rounds.jsonl").write_text("".join(json.dumps(one) + "\n" for one in rounds))
    (path / "clients.jsonl").write_text("".join(json.dumps(one) + "\n" for one in turns))
    (path / "partition.json").write_text(json.dumps(_partition(names, draw)))
    (path / "examples.json").write_text(json.dumps(_examples(names)))
    return path


def _round(number: int, gain: float, names: list[str], draw: random.Random) -> dict[str, object]:
    score = 0.412 + gain * (1 - 0.72**number) + draw.uniform(-0.01, 0.01)
    return {
        **{"round": number, "score": score if number % 2 == 0 or number < 4 else None, "loss": 0.3 + 0.72**number},
        **{"bytes_up": 950_000, "bytes_down": 1_900_000, "seconds": 11.0 + draw.random()},
        **{"clients": names, "left_out": [LEFT_OUT] if number == 4 else []},
    }


def _partition(names: list[str], draw: random.Random) -> dict[str, object]:
    held = [{"name": one, "train": {g: draw.randint(1, 60) for g in PACKS if draw.random() < 0.5}} for one in names]
    return {"by": "pack", "groups": PACKS, "clients": [{**one, "test": {"lucide": 3}} for one in held]}


def _examples(names: list[str]) -> list[dict[str, object]]:
    picture = _picture()
    one = {"id": "q1", "client": names[0], "choices": ["2", "3", "5"], "answer": "3", "image": picture}
    rows: list[dict[str, object]] = [
        {**one, "prompt": f"<image>\n{QUESTION}", "before": "5", "after": "3"},
        {**one, "prompt": "<image>\nWhich shape comes next?", "before": "3", "after": "3"},
        {**one, "prompt": "<image> <image>\nWhich is larger?", "before": "2", "after": "5", "image": [picture] * 2},
        {**one, "prompt": "What is five less two?", "choices": [], "before": "", "after": "3", "image": []},
    ]
    return [row | {f"{when}_score": float(row[when] == "3") for when in ("before", "after")} for row in rows]


def _picture() -> str:
    image = Image.new("RGB", (160, 96), "white")
    for index in range(3):
        ImageDraw.Draw(image).regular_polygon((30 + 50 * index, 48, 20), 5, fill="#1d2125")
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def change(folder: Path, **keys: object) -> None:
    """Set keys of a run folder's ``result.json``."""
    file = folder / "result.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **keys}))


def begin(folder: Path, command: str = "fedloom run quickstart --set rounds=2") -> None:
    """Write the ``environment.jsonl`` of a run that was begun once."""
    versions = {"fedloom": "0.1.0", "python": "3.11.7", "torch": "2.13.0"}
    line = {"date": "2026-11-27T00:36:11+00:00", "command": command, "device": "cpu, 2 cores", "versions": versions}
    (folder / "environment.jsonl").write_text(json.dumps(line) + "\n")
