"""A revision of a model on the hub, from a cache of the hub that the test lays out itself; nothing is fetched."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import huggingface_hub
import pytest
from huggingface_hub import constants

from fedloom import models
from fedloom.core.errors import FedloomError
from fedloom.core.seeds import Seeds
from fedloom.core.tables import ModelTable
from fedloom.models import AdapterSpec, load
from fedloom.models.checkpoints import checkpoint
from fedloom.models.merging import merge
from fedloom.models.meta import Meta

Tiny = Callable[[str], Path]
OLD, NEW = "a" * 40, "b" * 40
ID = "owner/tiny"


@pytest.fixture
def hub(tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache with two commits of one model, of which ``main`` is the second and tag ``v1`` the first."""
    root = tmp_path / "hub"
    here = root / "models--owner--tiny"
    for commit, kind in ((OLD, "clip"), (NEW, "siglip")):
        shutil.copytree(tiny(kind), here / "snapshots" / commit)
    (here / "refs").mkdir()
    (here / "refs" / "main").write_text(NEW)
    (here / "refs" / "v1").write_text(OLD)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(root))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr("transformers.utils.hub.constants.HF_HUB_CACHE", str(root))
    return here


def loaded(revision: str) -> models.Backbone:
    return load(ID, adapter=AdapterSpec(rank=2), seeds=Seeds(0), revision=revision)


@pytest.mark.parametrize(("revision", "commit"), [("", NEW), ("main", NEW), ("v1", OLD), (OLD, OLD), (NEW, NEW)])
def test_the_revision_that_is_meant_is_loaded_and_its_commit_told(hub: Path, revision: str, commit: str) -> None:
    found = loaded(revision)
    folder = hub / "snapshots" / commit
    whole = load(str(folder), adapter=AdapterSpec(rank=2), seeds=Seeds(0))
    assert found.commit == commit  # type: ignore[attr-defined]
    assert found.fingerprint == whole.fingerprint  # of the files: a folder with the same is the same model
    assert Meta(ID, AdapterSpec(rank=2), revision=revision).total_parameters == whole.total_parameters


def test_a_model_that_is_not_the_hubs_has_no_commit(tiny: Tiny) -> None:
    assert load(str(tiny("clip")), adapter=AdapterSpec(rank=2), seeds=Seeds(0)).commit == ""  # type: ignore[attr-defined]


def test_an_adapter_is_merged_into_the_commit_that_it_was_trained_on(hub: Path, tiny: Tiny, tmp_path: Path) -> None:
    shutil.rmtree(hub / "snapshots" / OLD)
    shutil.copytree(tiny("llava"), hub / "snapshots" / OLD)
    trained = loaded("v1")
    trained.save(tmp_path / "adapter", trained.read(), None, "card")
    assert json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())["revision"] == OLD
    assert merge(tmp_path / "adapter", tmp_path / "merged") == "llava"
    own = load(ID, adapter=AdapterSpec(kind="full", where=("connector",)), seeds=Seeds(0), revision="v1")
    own.save(tmp_path / "own", own.read(), None, "card")
    assert models.opened(tmp_path / "own").commit == OLD  # type: ignore[attr-defined]
    assert merge(tmp_path / "own", tmp_path / "whole") == "llava"
    for name in ("tokenizer.json", "processor_config.json"):  # the words and pictures are that commit's too
        kept = [(folder / name) for folder in (tmp_path / "whole", hub / "snapshots" / OLD)]
        assert len({file.read_bytes() for file in kept}) == 1


@pytest.mark.parametrize("revision", ["c" * 40, "v2"])
def test_a_revision_that_is_not_here_is_named(hub: Path, revision: str) -> None:
    with pytest.raises(FedloomError, match=rf"'{ID}' at revision '{revision}' is not in the .*--revision {revision}`"):
        loaded(revision)


def test_every_part_of_a_split_model_is_of_the_same_revision(hub: Path, tiny: Tiny) -> None:
    for commit in (OLD, NEW):
        shutil.rmtree(hub / "snapshots" / commit)
        shutil.copytree(tiny("llava"), hub / "snapshots" / commit)
    file = hub / "snapshots" / OLD / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"marker": 1}))
    for part in ("edge", "language", "split"):
        assert len({models.fingerprint(ID, part, revision=each) for each in (OLD, "v1")}) == 1  # type: ignore[arg-type]
        assert models.fingerprint(ID, part, revision=OLD) != models.fingerprint(ID, part)  # type: ignore[arg-type]
    assert models.split_identity(ID, revision=OLD) != models.split_identity(ID, revision=NEW)
    assert models.served(ID, revision=OLD).fingerprint == models.fingerprint(ID, "language", revision="v1")
    half = load(
        ID,
        adapter=AdapterSpec(kind="nano", rank=2),
        seeds=Seeds(0),
        edge=True,
        route=lambda language: models.served(ID).language,
        revision="v1",
    )
    assert half.commit == OLD  # type: ignore[attr-defined]


SPEC = AdapterSpec(rank=2)
WAYS = {
    "load": lambda name: load(name, adapter=SPEC, seeds=Seeds(0), revision="main"),
    "plan": lambda name: Meta(name, SPEC, revision="main"),
    "served": lambda name: models.served(name, revision="main"),
}


@pytest.mark.parametrize("way", WAYS)
def test_what_is_not_the_hubs_has_no_revision(tiny: Tiny, way: str) -> None:
    for name, what in (("nano-clip", "ships with fedloom"), (str(tiny("llava")), "is a folder")):
        with pytest.raises(FedloomError, match=rf"model.revision = 'main': .* {what} and has no revisions"):
            WAYS[way](name)


def test_a_function_of_the_users_own_has_no_revision() -> None:
    with pytest.raises(FedloomError, match="'mine:model' is a function of your own"):
        WAYS["load"]("mine:model")


@pytest.mark.parametrize("text", ["../../etc", "/etc/passwd", "a/../../b", "-x", "a b", "a\n", "x" * 201, "..", "@"])
def test_a_revision_is_no_path(text: str) -> None:
    with pytest.raises(ValueError, match="a commit, tag or branch"):
        ModelTable(name=ID, revision=text)
    for good in ("", "main", "v1.0", "refs/pr/3", OLD):
        assert ModelTable(name=ID, revision=good).revision == good


def test_the_hub_is_asked_for_the_revision(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[object] = []

    def download(name: str, *, revision: str | None, local_files_only: bool = False, **rest: object) -> str:
        asked.append((revision, local_files_only))
        if local_files_only:
            raise OSError("not here")
        return str(tmp_path)

    monkeypatch.setattr(checkpoint, "snapshot_download", download)
    checkpoint.locate(ID, {}, revision="v1")
    checkpoint.locate(ID, {})
    assert asked == [("v1", True), ("v1", False), (None, True), (None, False)]
    assert huggingface_hub.snapshot_download is not download
