"""Decoders of files: experiments, a site's rules, tokens, run folders, weights, records of data, pictures."""

import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from PIL import Image
from safetensors.torch import save

from fedloom.core import config, resolve
from fedloom.core.errors import FedloomError
from fedloom.core.pictures import open_picture
from fedloom.core.samples import guarded
from fedloom.federation.check import check_experiment
from fedloom.federation.kept import Kept
from fedloom.federation.record import Checkpoint, RunFolder
from fedloom.models.checkpoints.shards import INDEX, Shards
from fedloom.report import runs
from fedloom.site import policy
from fedloom.split import identity
from tests.fuzz.harness import Target
from tests.fuzz.messages import PARCEL, start
from tests.fuzz.mutate import Change, by, of_json, of_lines, of_parcel, of_toml
from tests.report.made_up import run_folder
from tests.tasks.folders import FOLDERS

TOML, JSON, LINES = (by(of_toml),), (by(of_json),), (by(of_lines),)


def targets(folder: Path) -> Iterator[Target]:
    """Every decoder of a file; ``folder`` is where the files are put."""
    yield from _texts(folder)
    yield from _run_folder(folder / "run")
    yield from _report(folder / "report")
    yield from _weights(folder / "weights")
    yield from _records(folder)
    yield from _pictures(folder)


def _placed(file: Path, read: Callable[[], object]) -> Callable[[bytes], object]:
    """What reads a file, as a decoder of its bytes."""
    file.parent.mkdir(parents=True, exist_ok=True)

    def decode(blob: bytes) -> object:
        file.write_bytes(blob)
        return read()

    return decode


def _of_file(name: str, file: Path, read: Callable[[], object], changes: tuple[Change, ...]) -> Target:
    return Target(name, (file.read_bytes(),), _placed(file, read), changes)


# --- settings ---------------------------------------------------------------------------------------------------------

RULES = """
tasks = ["icons-qa/*"]
models = { "own/model" = "/srv/model" }
max_rank = 8
metrics = "sums"
host = { address = "a.example:8100", token_file = "/etc/token" }
"""
OVERRIDES = ("client.lr=0.01", "method=fedprox", 'scenario.names=["a","b"]', "adapter.ranks=[4, 8]", "data.path='x'")


def _texts(folder: Path) -> Iterator[Target]:
    yield Target("experiment", tuple(map(_preset, config.presets())), _parsed, TOML)
    yield Target("--set", tuple(text.encode() for text in OVERRIDES), _overridden)
    rules = folder / "site.toml"
    yield Target("site.toml", (RULES.encode(), b""), _placed(rules, lambda: policy.read(rules)), TOML)
    tokens = folder / "tokens.toml"
    for name in ("mercy", "St.Mary"):
        identity.draw(tokens, name)
    yield _of_file("tokens", tokens, lambda: identity.Identity(tokens), TOML)


def _preset(name: str) -> bytes:
    """A preset as it is written or, where it lies over another, as it travels: whole."""
    written = (config.PRESETS / f"{name}.toml").read_bytes()
    return config.dump(config.load(name)).encode() if b"\nlike = " in written.split(b"\n[")[0] else written


def _parsed(blob: bytes) -> object:
    found = config.parse(blob.decode(errors="replace"), "experiment")
    policy.Policy(max_rank=64).check(found)
    assert config.parse(config.dump(found), "experiment") == found
    with resolve.guarded(_no_code):
        return check_experiment(found)


def _no_code(name: str) -> None:
    raise FedloomError(f"{name} is code.")


def _overridden(blob: bytes) -> object:
    return config.dump(config.load("quickstart", [blob.decode(errors="surrogateescape")]))


# --- run folders ------------------------------------------------------------------------------------------------------


def _run_folder(folder: Path) -> Iterator[Target]:
    run = RunFolder.create(folder, config.load("quickstart"))
    run.save(Checkpoint(1, {"adapter": start()}, {"best": 0.5, "seconds.total": 1.0}, {"a": torch.ones(2)}))
    (file,) = (folder / "checkpoint").glob("*.safetensors")
    yield _of_file("checkpoint", file, run.last, PARCEL)
    kept = Kept(folder / "checkpoint" / "clients")
    kept.write("mercy", 1, {"control": start(), "memory": {"a": torch.arange(3)}}, counted=0)
    (file,) = kept.folder.rglob("*.safetensors")
    yield _of_file("client state", file, lambda: kept.read("mercy", 2), PARCEL)
    run.append("rounds.jsonl", [{"round": number, "score": 0.5, "clients": ["a"]} for number in (1, 2, 3)])
    yield _of_file("rounds.jsonl", folder / "rounds.jsonl", lambda: run.rows("rounds.jsonl"), LINES)
    (folder / "result.json").write_bytes((run_folder(folder.with_name("finished")) / "result.json").read_bytes())
    yield _of_file("result.json", folder / "result.json", lambda: run.read_json("result.json"), JSON)
    yield _of_file("config.toml", folder / "config.toml", lambda: RunFolder.reopen(folder), TOML)


def _report(folder: Path) -> Iterator[Target]:
    made = run_folder(folder)
    for file in sorted(made.iterdir()):
        whole = file.read_bytes()
        changes = {".jsonl": LINES, ".json": JSON, ".toml": TOML}.get(file.suffix)
        if changes:

            def read(file: Path = file, whole: bytes = whole) -> object:
                try:
                    return runs.read(made)
                finally:
                    file.write_bytes(whole)  # for the next of the folder's files

            yield Target(f"report {file.name}", (whole,), _placed(file, read), changes)


# --- models -----------------------------------------------------------------------------------------------------------


def _weights(folder: Path) -> Iterator[Target]:
    seeds = (
        save({"a": torch.arange(6.0).reshape(2, 3), "b": torch.ones(4, dtype=torch.int64)}),
        save({"c": torch.ones(())}),
    )
    single = folder / "single"
    yield Target("weights", seeds, _placed(single / "model.safetensors", lambda: _whole(single)), (by(of_parcel),))
    listed = folder / "listed"
    listed.mkdir(parents=True)
    for number, seed in enumerate(seeds):
        (listed / f"{number}.safetensors").write_bytes(seed)
    places = {"weight_map": {"a": "0.safetensors", "b": "0.safetensors", "c": "1.safetensors"}, "metadata": {}}
    index = json.dumps(places).encode()
    yield Target("weights' index", (index,), _placed(listed / INDEX, lambda: _whole(listed)), JSON)


def _whole(folder: Path) -> object:
    shards = Shards.of(folder)
    for name in shards.places:
        entry = shards.entry(name)
        assert sum(map(len, shards.chunks(name))) == shards.read(name).nbytes
        if entry.shape:
            shards.rows(name, 0, entry.shape[0])
    return shards


# --- data -------------------------------------------------------------------------------------------------------------

READ = {
    "nlvr": ("train.jsonl", LINES),
    "scienceqa": ("problems.json", JSON),
    "iconqa/choose_txt": ("iconqa/train/choose_txt/9/data.json", JSON),
    "iconqa/choose_img": ("iconqa/train/choose_img/20/data.json", JSON),
    "iconqa/fill_in_blank": ("iconqa/train/fill_in_blank/30/data.json", JSON),
    "hateful-memes": ("train.jsonl", LINES),
    "vqa-rad": ("VQA_RAD Dataset Public.json", JSON),
    "slake": ("train.json", JSON),
    "medical-flashcards": ("medical_meadow_wikidoc_medical_flashcards.json", JSON),
}
"""A file of records of each task that reads a folder."""
MORE = {"scienceqa": ("pid_splits.json", JSON), "iconqa/choose_txt": ("pid2skills.json", JSON)}


def _records(folder: Path) -> Iterator[Target]:
    for name, (file, changes) in [*READ.items(), *MORE.items()]:
        place = FOLDERS[name](folder / f"{name.replace('/', '-')}-{Path(file).stem}")

        def read(name: str = name, place: Path = place) -> object:
            return guarded(resolve.build("tasks", name, {}, path=str(place), on_bad="refuse"), "refuse").load()

        yield _of_file(f"{name} {Path(file).name}", place / file, read, changes)


def _pictures(folder: Path) -> Iterator[Target]:
    drawn = Image.radial_gradient("L").resize((16, 12)).convert("RGB")
    for kind in ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM"):
        seeds = []
        for picture in (drawn, drawn.convert("L"), drawn.rotate(90, expand=True)):
            buffer = io.BytesIO()
            picture.save(buffer, kind)
            seeds.append(buffer.getvalue())
        file = folder / f"picture.{kind.lower()}"
        yield Target(f"picture {kind}", tuple(seeds), _placed(file, lambda file=file: open_picture(file)))
