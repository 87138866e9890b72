"""What every backbone must satisfy, whatever its architecture."""

import copy
import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModel, AutoModelForImageTextToText

from fedloom.core.contracts import Backbone, Tree
from fedloom.core.errors import FedloomError
from fedloom.models.language.decoder import Language
from tests.models.backbones import GENERATIVE, KINDS, backbone, examples, other_rank, shaken

Tiny = Callable[[str], Path]
pytestmark = pytest.mark.parametrize("kind", KINDS)


def losses(model: Backbone) -> torch.Tensor:
    with torch.no_grad():
        return model.loss(model.collate(examples()))


def raw(kind: str, folder: Path) -> Any:
    auto = AutoModelForImageTextToText if kind in GENERATIVE else AutoModel
    return auto.from_pretrained(folder).eval()


def transplant(model: Any, module: Any) -> Any:
    """The same backbone around another module, as ``PeftModel`` made it: only the weights' home differs."""
    twin = copy.copy(model)
    twin._model = module
    if hasattr(twin, "_texts"):
        twin._texts = copy.copy(twin._texts)
        twin._texts._model = module
    else:
        twin._family = copy.copy(twin._family)
        twin._family.model = module
        twin._embed = module.get_input_embeddings()
        twin._middle = Language(module, "float32")
    return twin


def equal(left: Tree, right: Tree) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


def test_it_is_a_backbone(kind: str, tiny: Tiny) -> None:
    model = backbone(tiny(kind))
    assert isinstance(model, Backbone)
    assert model.total_parameters == sum(p.numel() for p in raw(kind, tiny(kind)).parameters())
    assert model.fingerprint == backbone(tiny(kind), seed=1).fingerprint


def test_read_after_write_is_the_identity(kind: str, tiny: Tiny) -> None:
    model = backbone(tiny(kind))
    adapter = shaken(model.read())
    model.write(adapter)
    assert equal(model.read(), adapter)


def test_the_adapter_starts_from_its_named_stream(kind: str, tiny: Tiny) -> None:
    torch.manual_seed(5)
    first = backbone(tiny(kind)).read()
    before = torch.random.get_rng_state()
    again = backbone(tiny(kind)).read()
    assert torch.equal(before, torch.random.get_rng_state())
    assert equal(first, again)
    assert not equal(first, backbone(tiny(kind), seed=1).read())
    for name, value in first.items():
        bound = value.shape[1] ** -0.5
        assert not value.any() if "lora_B" in name else bound / 2 < value.abs().max() <= bound


def test_only_the_adapter_learns(kind: str, tiny: Tiny) -> None:
    model = backbone(tiny(kind))
    model.write(shaken(model.read(), size=0.1))
    before = {name: value.clone() for name, value in model._model.state_dict().items()}
    leaves = model.leaves()
    assert {id(p) for p in model._model.parameters() if p.requires_grad} == {id(leaf) for leaf in leaves.values()}
    optimiser = torch.optim.SGD(leaves.values(), lr=0.1)
    model.loss(model.collate(examples())).mean().backward()
    optimiser.step()
    changed = {name for name, value in model._model.state_dict().items() if not torch.equal(value, before[name])}
    assert changed
    assert all("lora_" in name for name in changed)


def test_same_inputs_same_bits(kind: str, tiny: Tiny) -> None:
    first, second = backbone(tiny(kind)), backbone(tiny(kind))
    for model in (first, second):
        model.loss(model.collate(examples())).mean().backward()
    grads = [{name: leaf.grad for name, leaf in model.leaves().items()} for model in (first, second)]
    assert equal(*grads)
    assert first.answer(examples(6)) == second.answer(examples(6))


def test_every_example_has_its_own_loss(kind: str, tiny: Tiny) -> None:
    model = backbone(tiny(kind))
    alone = [model.loss(model.collate([example]))[0] for example in examples()]
    torch.testing.assert_close(torch.stack(alone), model.loss(model.collate(examples())))


def test_a_change_to_the_base_and_back(kind: str, tiny: Tiny) -> None:
    model = backbone(tiny(kind))
    adapter = shaken(model.read())
    model.write(adapter)
    before, weights = losses(model), copy.deepcopy(model._model.state_dict())
    base = other_rank(adapter, rank=3, seed=1)
    model.write(adapter, base)
    changed = losses(model)
    assert not torch.equal(before, changed)
    module = next(iter(base)).removesuffix(".lora_A.weight").removesuffix(".lora_B.weight")
    name = module.removeprefix("base_model.model.") + ".base_layer.weight"
    product = base[f"{module}.lora_B.weight"] @ base[f"{module}.lora_A.weight"]
    assert torch.equal(model._model.state_dict()[name], weights[name] + product)
    model.write(adapter, base)
    assert torch.equal(losses(model), changed)
    model.write(adapter, None)
    assert equal(model._model.state_dict(), weights)
    assert torch.equal(losses(model), before)


def test_a_change_to_the_base_is_the_same_as_a_folded_adapter(kind: str, tiny: Tiny) -> None:
    """W0 + B2 A2 + s B1 A1 as base and adapter, or as one pair [A1; A2], [B1, B2 / s]."""
    model = backbone(tiny(kind))
    adapter, base = shaken(model.read()), other_rank(model.read(), rank=3, seed=1)
    model.write(adapter, base)
    expected = losses(model)
    scale = 4 / 2
    folded = {
        n: torch.cat([v, base[n]]) if "lora_A" in n else torch.cat([v, base[n] / scale], dim=1)
        for n, v in adapter.items()
    }
    model.write(folded)
    torch.testing.assert_close(losses(model), expected, rtol=1e-4, atol=1e-5)


def test_the_rank_can_change(kind: str, tiny: Tiny) -> None:
    model = backbone(tiny(kind))
    start = model.read()
    for rank in (5, 1, 2):
        adapter = other_rank(start, rank)
        model.write(adapter)
        assert equal(model.read(), adapter)
        model.loss(model.collate(examples())).mean().backward()
        assert all(leaf.grad is not None for leaf in model.leaves().values())


def test_what_does_not_fit_is_refused(kind: str, tiny: Tiny) -> None:
    model = backbone(tiny(kind))
    start = model.read()
    name = next(iter(start))
    with pytest.raises(FedloomError, match=r"(?s)missing .*another model"):
        model.write({n: v for n, v in start.items() if n != name})
    with pytest.raises(FedloomError, match="unexpected 'nonsense'"):
        model.write(start | {"nonsense": torch.zeros(1)})
    with pytest.raises(FedloomError, match=r"has A \[2, .*expected A \[r, "):
        model.write(start | {name: torch.zeros(2, 99)})
    with pytest.raises(FedloomError, match="unexpected"):
        model.write(start, {"base_model.model.other.lora_A.weight": torch.zeros(2, 2)})
    assert equal(model.read(), start)


@pytest.mark.parametrize("case", ["plain", "base", "ranks"])
def test_the_saved_folder_opens_with_peft(kind: str, case: str, tiny: Tiny, tmp_path: Path) -> None:
    model = backbone(tiny(kind))
    adapter = shaken(model.read()) if case != "ranks" else other_rank(model.read(), rank=3)
    base = other_rank(model.read(), rank=3, seed=1) if case == "base" else None
    if base is not None:  # a change to some layers only: ranks differ from module to module
        kept = sorted({n.split(".lora_")[0] for n in base})[::2]
        base = {n: v for n, v in base.items() if n.split(".lora_")[0] in kept}
    model.write(adapter, base)
    expected, answers = losses(model), model.answer(examples(8))
    model.save(tmp_path / "adapter", adapter, base, "# A card\n")
    assert (tmp_path / "adapter" / "README.md").read_text() == "# A card\n"
    with warnings.catch_warnings(action="ignore", category=FutureWarning):  # PEFT's own
        opened = PeftModel.from_pretrained(raw(kind, tiny(kind)), str(tmp_path / "adapter"))
    twin = transplant(model, opened.base_model.model)
    torch.testing.assert_close(losses(twin), expected, rtol=0, atol=1e-5)
    assert twin.answer(examples(8)) == answers
    if case == "plain":
        assert equal(load_file(tmp_path / "adapter" / "adapter_model.safetensors"), adapter)
        opened.save_pretrained(tmp_path / "again")
        assert equal(load_file(tmp_path / "again" / "adapter_model.safetensors"), adapter)
        config = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
        assert (config["r"], config["lora_alpha"], config["base_model_name_or_path"]) == (2, 4, model.name)


def test_a_hit_has_the_bits_of_a_miss(kind: str, tiny: Tiny, tmp_path: Path) -> None:
    adapter = (
        {"where": ["connector", "language"], "modules": ["q", "mlp"]} if kind in GENERATIVE else {"where": ["text"]}
    )
    options = {"adapter": adapter, "cache_dir": tmp_path}
    fresh = backbone(tiny(kind), adapter=adapter)
    missed = backbone(tiny(kind), **options)
    expected = losses(fresh)
    assert torch.equal(losses(missed), expected)
    assert torch.equal(losses(missed), expected)  # from memory
    assert list(tmp_path.rglob("*.safetensors"))
    found = backbone(tiny(kind), **options)
    found._images.encode = lambda pixels: pytest.fail("the cache was not used")
    assert torch.equal(losses(found), expected)


def test_features_do_not_depend_on_the_batch(kind: str, tiny: Tiny) -> None:
    frozen = {"where": ["language" if kind in GENERATIVE else "text"]}
    alone, together = backbone(tiny(kind), adapter=frozen), backbone(tiny(kind), adapter=frozen)
    pictures = [e.images[0] for e in examples(11)]
    batch = together._images.each([*pictures, *pictures])
    for number, picture in enumerate(reversed(pictures)):
        (single,) = alone._images.each([picture])
        assert equal(single, batch[10 - number])


def test_dropout_draws_from_torchs_own_stream(kind: str, tiny: Tiny) -> None:
    model = backbone(tiny(kind), adapter={"rank": 2, "dropout": 0.5})
    model.write(shaken(model.read()))
    batch = model.collate(examples())

    def loss(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        return model.loss(batch)

    first = loss(0)
    assert torch.equal(loss(0), first)
    assert not torch.equal(loss(1), first)
    assert not torch.equal(losses(model), first)  # no dropout where nothing learns
    with model.steady():
        assert torch.equal(model.loss(batch), losses(model))
    assert torch.equal(loss(0), first)


def test_a_broken_picture_is_named(kind: str, tiny: Tiny, tmp_path: Path) -> None:
    model = backbone(tiny(kind))
    (tmp_path / "broken.png").write_bytes(b"not a picture")
    for name in ("broken.png", "absent.png"):
        example = examples(1)[0]
        object.__setattr__(example, "images", (tmp_path / name,))
        with pytest.raises(FedloomError, match=name):
            model.collate([example])


def test_bfloat16_is_close(kind: str, tiny: Tiny) -> None:
    half = backbone(tiny(kind), dtype="bfloat16")
    assert losses(half).dtype == torch.float32
    torch.testing.assert_close(losses(half), losses(backbone(tiny(kind))), rtol=0.05, atol=0.05)
