"""Either half of a model against the whole: the same bits, and nothing read of the other half."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from fedloom import models
from fedloom.core.errors import FedloomError
from fedloom.core.seeds import Seeds
from fedloom.models import AdapterSpec
from fedloom.models.checkpoints import checkpoint, fingerprints, halves
from fedloom.models.checkpoints.rows import Rows
from tests.models.backbones import backbone, examples, shaken

Tiny = Callable[[str], Path]
Rename = Callable[[str], str]
NANO = {"kind": "nano", "rank": 3, "alpha": 6}
FILES = {"vision": "a.safetensors", "words": "b.safetensors", "language": "c.safetensors"}


def as_saved(name: str) -> str:
    return name


def as_on_the_hub(name: str) -> str:
    return name.replace("vision_tower.", "vision_tower.vision_model.")


def as_in_memory(name: str) -> str:
    if name.startswith("language_model.lm_head."):
        return name.removeprefix("language_model.")
    return "model." + name.replace("language_model.model.", "language_model.")


def sharded(source: Path, folder: Path, rename: Rename = as_saved) -> Path:
    """A LLaVA in three files: vision tower and connector, embeddings, all else."""
    folder.mkdir()
    for file in source.iterdir():
        if file.suffix != ".safetensors":
            (folder / file.name).write_bytes(file.read_bytes())
    parts: dict[str, dict[str, Tensor]] = {file: {} for file in FILES.values()}
    for name, value in load_file(source / "model.safetensors").items():
        words = name == "language_model.model.embed_tokens.weight"
        part = "words" if words else "language" if name.startswith("language_model.") else "vision"
        parts[FILES[part]][rename(name)] = value
    for file, tensors in parts.items():
        save_file(tensors, folder / file, metadata={"format": "pt"})
    index = {name: file for file, tensors in parts.items() for name in tensors}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": index}))
    return folder


def edge(folder: Path, adapter: dict[str, Any] | None = None) -> Any:
    """A client's half, behind which is the language model of the same folder, if that is there."""
    return models.load(
        str(folder),
        adapter=AdapterSpec(**(adapter or NANO)),
        seeds=Seeds(0),
        edge=True,
        route=lambda language: elsewhere(language, folder),
    )


def elsewhere(language: object, folder: Path) -> Any:
    assert language is None
    there = (folder / "model.safetensors").exists() or (folder / FILES["language"]).exists()
    return models.served(str(folder)).language if there else object()


def rows_of(model: Any) -> Rows:
    found = model._model.get_input_embeddings()
    assert isinstance(found, Rows)
    return found


def nbytes(file: Path) -> int:
    return sum(value.nbytes for value in load_file(file).values())


@pytest.mark.parametrize("rename", [as_saved, as_on_the_hub, as_in_memory])
def test_halves_make_the_bits_of_the_whole(rename: Rename, tiny: Tiny, tmp_path: Path) -> None:
    folder = sharded(tiny("llava"), tmp_path / "model", rename)
    whole, half = backbone(tiny("llava"), adapter=NANO), edge(folder)
    assert {n: v.tolist() for n, v in half.read().items()} == {n: v.tolist() for n, v in whole.read().items()}
    for model in (whole, half):
        model.write(shaken(whole.read()))
    batches = [model.collate(examples()) for model in (whole, half)]
    passages = [m._passage(b.tokens, b.mask, b.images, b.keys) for m, b in zip((whole, half), batches, strict=True)]
    assert torch.equal(passages[0].base, passages[1].base)
    losses = [model.loss(batch) for model, batch in zip((whole, half), batches, strict=True)]
    assert torch.equal(losses[0], losses[1])
    slopes = [torch.autograd.grad(losses[i].sum(), list(m.leaves().values())) for i, m in enumerate((whole, half))]
    assert all(torch.equal(left, right) for left, right in zip(*slopes, strict=True))
    assert half.answer(examples()) == whole.answer(examples())
    assert half.total_parameters == whole.total_parameters


@pytest.mark.parametrize(
    "kind", ["llava_next", "blip2", "instructblip", "qwen2_vl", "qwen2_5_vl", "idefics3", "smolvlm", "minicpmv4_6"]
)
def test_every_family_has_halves(kind: str, tiny: Tiny) -> None:
    whole, half = backbone(tiny(kind), adapter=NANO), edge(tiny(kind))
    losses, answers = [], []
    for model in (whole, half):
        model.write(shaken(whole.read()))
        losses.append(model.loss(model.collate(examples())))
        answers.append(model.answer(examples()))
    assert torch.equal(losses[0], losses[1])
    assert answers[0] == answers[1]
    held = sum(p.numel() for p in half._model.parameters())
    assert held + rows_of(half).num_embeddings * 16 < whole.total_parameters
    assert rows_of(half).read < rows_of(half).num_embeddings


def test_a_client_reads_its_own_and_the_rows_of_its_words_alone(tiny: Tiny, tmp_path: Path) -> None:
    folder = sharded(tiny("llava"), tmp_path / "model")
    whole = backbone(tiny("llava"), adapter=NANO)
    (folder / FILES["language"]).unlink()
    half = edge(folder)
    rows, shards = rows_of(half), rows_of(half)._shards
    own, words = nbytes(folder / FILES["vision"]), nbytes(folder / FILES["words"])
    headers = sum((folder / FILES[part]).stat().st_size for part in ("vision", "words")) - own - words
    assert shards.bytes_read == headers + 2 * own + words  # once to load, once more with the table for the fingerprint
    assert rows.read == 0
    kept = sum(p.nbytes for n, p in half._model.named_parameters())
    assert kept <= own + 16 * 4 * 2  # what is left of the language model: a norm, and an output layer of one word
    batch = half.collate(examples())
    made = half._passage(batch.tokens, batch.mask, batch.images, batch.keys)
    expected = whole.collate(examples())
    assert torch.equal(made.base, whole._passage(expected.tokens, expected.mask, expected.images, ()).base)
    assert rows.read == len(set(batch.tokens.flatten().tolist())) < rows.num_embeddings
    assert shards.bytes_read == headers + 2 * own + words + rows.read * 16 * 4


@pytest.mark.parametrize("part", ["vision", "words"])
def test_what_a_client_needs_must_be_there(part: str, tiny: Tiny, tmp_path: Path) -> None:
    folder = sharded(tiny("llava"), tmp_path / "model")
    (folder / FILES["language"]).write_bytes(b"nothing")
    edge_file = folder / FILES[part]
    whole = edge_file.read_bytes()
    edge_file.write_bytes(whole[:-8])
    with pytest.raises(FedloomError, match=rf"{FILES[part]}'.* is not where its header says"):
        halves.edge("it", folder, "float32", AdapterSpec(**NANO))
    edge_file.unlink()
    with pytest.raises(FedloomError, match=rf"{FILES[part]}' is missing"):
        halves.edge("it", folder, "float32", AdapterSpec(**NANO))


def test_a_tensor_that_is_in_no_file_is_named(tiny: Tiny, tmp_path: Path) -> None:
    folder = sharded(tiny("llava"), tmp_path / "model")
    for file, lost in ((FILES["vision"], "linear_2.bias"), (FILES["language"], "layers.1.mlp.up_proj.weight")):
        tensors = {name: value for name, value in load_file(folder / file).items() if not name.endswith(lost)}
        save_file(tensors, folder / file)
    index = folder / "model.safetensors.index.json"
    held = {name: file for file in FILES.values() for name in load_file(folder / file)}
    index.write_text(json.dumps({"weight_map": held}))
    with pytest.raises(FedloomError, match=r"no '.*linear_2\.bias' in its files"):
        halves.edge("it", folder, "float32", AdapterSpec(**NANO))
    with pytest.raises(FedloomError, match=r"no '.*layers\.1\.mlp\.up_proj\.weight' in its files"):
        halves.language("it", folder, "float32")


def test_a_host_reads_neither_vision_tower_nor_connector(tiny: Tiny, tmp_path: Path) -> None:
    folder = sharded(tiny("llava"), tmp_path / "model")
    prints = [fingerprints.language(folder), fingerprints.embeddings(folder)]
    (folder / FILES["vision"]).unlink()
    served = halves.language("it", folder, "float32")
    assert [served.fingerprint, served.embeddings] == prints
    assert served.language.learning() == []
    assert (served.language.width, served.language.vocabulary) == (16, 31)


def test_fingerprints_depend_on_bytes_and_not_on_the_names_of_a_release(tiny: Tiny, tmp_path: Path) -> None:
    parts = (fingerprints.edge, fingerprints.language, fingerprints.embeddings)
    found = [[part(tiny("llava")) for part in parts]]
    for rename in (as_saved, as_on_the_hub, as_in_memory):
        folder = sharded(tiny("llava"), tmp_path / rename.__name__, rename)
        found.append([part(folder) for part in parts])
    assert all(each == found[0] for each in found)
    assert len(set(found[0])) == 3
    for file, changed in ((FILES["vision"], [0]), (FILES["words"], [0, 1, 2]), (FILES["language"], [1])):
        raw = bytearray((folder / file).read_bytes())
        raw[-1] ^= 1
        (folder / file).write_bytes(bytes(raw))
        now = [part(folder) for part in parts]
        assert [i for i in range(3) if now[i] != found[-1][i]] == changed
        found.append(now)


def test_a_models_fingerprint_is_that_of_its_halves(tiny: Tiny) -> None:
    name = str(tiny("llava"))
    one, other = models.fingerprint(name, "edge"), models.fingerprint(name, "language")
    assert models.fingerprint(name, "split") == fingerprints.split(one, other) != fingerprints.split(other, one)
    assert edge(tiny("llava")).fingerprint == one
    assert models.served(name).embeddings == models.fingerprint(name, "embeddings")


def test_an_adapter_in_the_language_model_is_refused(tiny: Tiny) -> None:
    for where in ((), ("language", "connector")):
        with pytest.raises(FedloomError, match="'language' out of"):
            edge(tiny("llava"), {"rank": 2, "where": where})
    model = edge(tiny("llava"), {"rank": 2, "where": ("vision",)})
    assert torch.equal(
        model.loss(model.collate(examples())),
        (whole := backbone(tiny("llava"), adapter={"rank": 2, "where": ("vision",)})).loss(whole.collate(examples())),
    )


def test_a_contrastive_model_has_no_halves(tiny: Tiny) -> None:
    with pytest.raises(FedloomError, match="no language model"):
        edge(tiny("clip"))
    with pytest.raises(FedloomError, match="no language model"):
        models.served(str(tiny("clip")))


def test_loading_a_half_draws_nothing(tiny: Tiny) -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    halves.edge("it", tiny("llava"), "float32", AdapterSpec(**NANO))
    halves.language("it", tiny("llava"), "float32")
    assert torch.equal(torch.get_rng_state(), before)


def test_the_hub_is_asked_for_the_files_of_a_half_alone(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cache has the configuration; the language model's file is fetched once it is needed, and not before."""
    folder = sharded(tiny("llava"), tmp_path / "model")
    asked: list[list[str]] = []

    def hub(name: str, allow_patterns: list[str], local_files_only: bool = False, **rest: object) -> str:
        if not local_files_only:
            asked.append([pattern for pattern in allow_patterns if pattern.endswith(".safetensors")])
        return str(folder)

    monkeypatch.setattr(checkpoint, "snapshot_download", hub)
    hidden = folder.rename(tmp_path / "hidden")
    folder.mkdir()
    for file in hidden.iterdir():
        if file.suffix != ".safetensors":
            (folder / file.name).write_bytes(file.read_bytes())
    assert halves.locate("some/llava", {}) == folder
    assert asked == [[FILES["vision"], FILES["words"]]]
    for part in ("vision", "words"):
        (hidden / FILES[part]).rename(folder / FILES[part])
    halves.locate("some/llava", {})
    assert len(asked) == 1  # all is here
    checkpoint.locate("some/llava", {})
    assert asked[1:] == [["*.safetensors"]]
