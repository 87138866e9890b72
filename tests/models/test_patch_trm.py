"""Patch-TRM: its pass and its pictures against plainly written ones, its sizes, and what it takes and refuses."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from transformers import BertModel, ResNetModel

from fedloom.core.contracts import IMAGE, Backbone, Example
from fedloom.core.errors import FedloomError
from fedloom.core.seeds import Seeds
from fedloom.models import NANO, AdapterSpec, load, opened
from fedloom.models.labels import called
from fedloom.models.meta import Batch, Meta
from fedloom.models.patch_trm.configuration import PatchTrmConfig
from fedloom.models.patch_trm.network import PatchTrm
from fedloom.models.patch_trm.pictures import Patches, cut, read
from fedloom.models.patch_trm.words import Dictionary, simplified, words
from fedloom.objectives.bce import bce

FULL = AdapterSpec(kind="full", where=("connector", "text"))
SMALL: dict[str, Any] = {
    "vision_config": {"depths": [1, 1], "hidden_sizes": [8, 12], "embedding_size": 8, "layer_type": "basic"},
    "text_config": {
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "vocab_size": 1024,
        "max_position_embeddings": 40,
    },
    "grids": [1, 2],
    "patch_size": 32,
    "width": 24,
    "heads": 4,
    "feed_forward": 40,
    "hidden": 20,
    "choice_width": 6,
    "choice_words": 5,
    "answers": ["3", "red", "cat"],
    "tokenizer": "nano-clip",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A configuration without weights."""
    place = tmp_path_factory.mktemp("patch-trm")
    PatchTrmConfig(**SMALL).save_pretrained(place)
    Patches((1, 2), 32).save_pretrained(place)
    return place


def picture(seed: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (30, 44, 3), dtype=np.uint8), "RGB")


def chosen(number: int = 0, among: int = 3) -> Example:
    texts = ("red", "two cats", "a key", "blue", "Tom's")[:among]
    asked = f"What is {number}?"
    return Example(f"t{number}", (picture(number),), f"{IMAGE} {asked}", texts, texts[number % among], question=asked)


def pictured(number: int = 0, among: int = 3) -> Example:
    shown = tuple(picture(10 * number + place) for place in range(1 + among))
    return Example(
        f"p{number}", shown, IMAGE * (1 + among), tuple("ABCDE"[:among]), "ABCDE"[number % among], question="?"
    )


def blank(number: int = 0, answer: str = "red") -> Example:
    return Example(f"b{number}", (picture(number),), f"{IMAGE} Say.", (), answer, question=f"How many {number}?")


def loaded(folder: Path | str, **options: Any) -> Backbone:
    return load(str(folder), adapter=options.pop("adapter", FULL), seeds=Seeds(options.pop("seed", 0)), **options)


# --- the pass, written down plainly -----------------------------------------------------------------------------------


def linear(x: np.ndarray, own: dict[str, np.ndarray], name: str) -> np.ndarray:
    """A layer whose matrix has a norm of its own."""
    weight = own[f"{name}.weight"]
    return np.asarray(x @ (weight * own[f"{name}.norm"] / np.sqrt((weight**2).sum())).T + own[f"{name}.bias"])


def fc(x: np.ndarray, own: dict[str, np.ndarray], name: str) -> np.ndarray:
    return np.maximum(linear(x, own, f"{name}.0"), 0)


def norm(x: np.ndarray, own: dict[str, np.ndarray], name: str) -> np.ndarray:
    middle = x - x.mean(axis=-1, keepdims=True)
    return (
        middle / np.sqrt((middle**2).mean(axis=-1, keepdims=True) + 1e-5) * own[f"{name}.weight"] + own[f"{name}.bias"]
    )


def softmax(x: np.ndarray, axis: int) -> np.ndarray:
    power = np.exp(x - x.max(axis=axis, keepdims=True))
    return np.asarray(power / power.sum(axis=axis, keepdims=True))


def sigmoid(x: np.ndarray) -> np.ndarray:
    return np.asarray(1 / (1 + np.exp(-x)))


def gelu(x: np.ndarray) -> np.ndarray:
    from scipy.special import erf

    return np.asarray(x * (1 + erf(x / np.sqrt(2))) / 2)


def plain_joint(own: dict[str, np.ndarray], features: np.ndarray, question: np.ndarray, heads: int) -> np.ndarray:
    """One example: features ``[P, D]`` and the question's vector, to what picture and question are together."""
    layer = "pyramid.layers.0"
    x = features @ own["pyramid.patches.weight"].T + own["pyramid.patches.bias"]
    x = np.vstack([own["pyramid.token"][0], x]) + own["pyramid.positions"][0]
    width = x.shape[1]
    both = norm(x, own, f"{layer}.before") @ own[f"{layer}.qkv.weight"].T
    q, k, v = (both[:, part * width : (part + 1) * width] for part in range(3))
    seen, step = np.zeros_like(x), width // heads
    for head in range(heads):
        mine = slice(head * step, (head + 1) * step)
        seen[:, mine] = softmax(q[:, mine] @ k[:, mine].T / np.sqrt(step), 1) @ v[:, mine]
    x = x + seen @ own[f"{layer}.out_proj.weight"].T + own[f"{layer}.out_proj.bias"]
    inner = norm(x, own, f"{layer}.between") @ own[f"{layer}.feed_forward.0.weight"].T
    inner = gelu(inner + own[f"{layer}.feed_forward.0.bias"])
    x = x + inner @ own[f"{layer}.feed_forward.3.weight"].T + own[f"{layer}.feed_forward.3.bias"]
    read = fc(question, own, "reading")
    together = fc(x, own, "attention.picture") * fc(read, own, "attention.question")
    weights = softmax(linear(together, own, "attention.weigh"), 0)
    return fc(read, own, "question") * fc((weights * x).sum(axis=0), own, "picture")


def plain_words(own: dict[str, np.ndarray], ids: list[int]) -> np.ndarray:
    """The last state of a GRU over a choice's words (Cho et al. 2014, as PyTorch has it)."""
    state = np.zeros(own["words.gru.weight_hh_l0"].shape[1])
    for id in ids:
        x = own["words.embeddings.weight"][id]
        inputs = own["words.gru.weight_ih_l0"] @ x + own["words.gru.bias_ih_l0"]
        before = own["words.gru.weight_hh_l0"] @ state + own["words.gru.bias_hh_l0"]
        (ir, iz, inew), (hr, hz, hnew) = np.split(inputs, 3), np.split(before, 3)
        update = sigmoid(iz + hz)
        state = (1 - update) * np.tanh(inew + sigmoid(ir + hr) * hnew) + update * state
    return state


def plain_head(own: dict[str, np.ndarray], head: str, joint: np.ndarray, choices: np.ndarray | None) -> np.ndarray:
    if choices is None:
        return linear(np.maximum(linear(joint, own, f"{head}.0"), 0), own, f"{head}.3")
    read = fc(choices.reshape(-1), own, f"{head}.choices")
    both = fc(np.concatenate([joint, read]), own, f"{head}.both") * joint
    return linear(np.maximum(linear(both, own, f"{head}.classifier.0"), 0), own, f"{head}.classifier.3")


@pytest.mark.parametrize("make", [chosen, pictured, blank])
def test_the_pass_is_the_one_written_down(folder: Path, make: Callable[..., Example]) -> None:
    made: Any = loaded(folder)
    network, config = made._model, made._model.config
    with torch.no_grad():  # weights whose norm is not the one that they began with, so that it matters
        for name, value in network.connector.named_parameters():
            if name.endswith(".norm"):
                value.mul_(1.3)
    own = {name: value.double().numpy() for name, value in network.connector.state_dict().items()}
    patches, tokenizer = Patches((1, 2), 32), made._processor.tokenizer
    examples = [make(0), make(1)]
    with made.steady():
        outputs = made.outputs(made.collate(examples)).labels().logits
    for example, row in zip(examples, outputs.detach().numpy(), strict=True):
        with torch.no_grad():
            features = resnet(network.vision_model, patches(example.images[0])["pixel_values"][0])
            ids = torch.tensor([tokenizer(example.question)["input_ids"]])
            question = network.text_model(ids).last_hidden_state[0, 0].double().numpy()
            choices = None
            if make is pictured:
                whole = replace(patches, choice=True)
                seen = [resnet(network.vision_model, whole(one)["pixel_values"][0])[0] for one in example.images[1:]]
                choices = np.vstack([*seen, *[np.zeros(len(seen[0]))] * (config.choices - len(seen))])
            if make is chosen:
                read = [tokenizer(choice, add_special_tokens=False)["input_ids"][:5] for choice in example.choices]
                rows = [[1024] * (5 - len(ids)) + list(ids) for ids in read] + [[1024] * 5] * (5 - len(read))
                choices = np.vstack([plain_words(own, ids) for ids in rows])
        head = {chosen: "choose_txt", pictured: "choose_img", blank: "fill_in_blank"}[make]
        plain = plain_head(own, head, plain_joint(own, features, question, config.heads), choices)
        np.testing.assert_allclose(row, plain, rtol=1e-5, atol=1e-6)


def resnet(network: ResNetModel, patches: Tensor) -> np.ndarray:
    return np.vstack([network(pixel_values=patch[None]).pooler_output.flatten().double().numpy() for patch in patches])


def test_its_parameters_count_as_the_papers_shapes_say() -> None:
    config = PatchTrmConfig(dictionary=[f"w{n}" for n in range(2263)], answers=[str(n) for n in range(502)])
    with torch.device("meta"):
        made = PatchTrm(config)

    def wn(inputs: int, outputs: int) -> int:
        return inputs * outputs + outputs + 1  # matrix, bias, one norm

    layer = 2 * 2 * 768 + 3 * 768 * 768 + (768 * 768 + 768) + (768 * 2048 + 2048) + (2048 * 768 + 768)
    pyramid = (2048 * 768 + 768) + 768 + 80 * 768 + layer
    attention = wn(768, 1024) + wn(1024, 1024) + wn(1024, 1)
    shared = pyramid + attention + wn(512, 1024) + wn(1024, 1024) + wn(768, 1024)
    words = 2264 * 300 + 3 * 1024 * (300 + 1024 + 2)
    fusing = wn(6 * 1024, 1024) + wn(1024, 2048) + wn(2048, 5)
    expected = {
        "choose_txt": words + wn(5 * 1024, 5 * 1024) + fusing,
        "choose_img": wn(5 * 2048, 5 * 1024) + fusing,
        "fill_in_blank": wn(1024, 2048) + wn(2048, 502),
    }
    assert sum(p.numel() for p in made.connector.parameters()) == shared + sum(expected.values())
    for form, count in expected.items():
        with torch.device("meta"):
            alone = PatchTrm(PatchTrmConfig(dictionary=config.dictionary, answers=config.answers, forms=[form]))
        assert sum(p.numel() for p in alone.connector.parameters()) == shared + count
    # ResNet-101 without its head (He et al. 2016: 44.5 M with 2,048 x 1,000 weights and 1,000 biases).
    assert sum(p.numel() for p in made.vision_model.parameters()) == 44_549_160 - 2048 * 1000 - 1000
    assert made.text_model.config.hidden_size == 512


# --- pictures and words -----------------------------------------------------------------------------------------------


def test_patches_are_cut_as_the_authors_cut_them() -> None:
    base = Image.new("RGB", (20, 10), (200, 0, 0))
    base.paste((0, 0, 250), (0, 0, 2, 2))
    made = Patches((1, 3), 26, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))(base)["pixel_values"][0]
    assert made.shape == (10, 3, 26, 26)
    whole = (made[0].permute(1, 2, 0) * 255).round().byte().numpy()  # 20 + 6 pixels a side: nothing is resized
    assert tuple(whole[3, 3]) == (0, 0, 250)  # the picture begins 3 pixels from the left and the top
    assert tuple(whole[2, 3]) == tuple(whole[13, 3]) == tuple(whole[3, 23]) == (255, 255, 255)
    assert tuple(whole[12, 22]) == (200, 0, 0)
    parts = cut(Image.fromarray(whole), (3,))  # 26 // 3 = 8 pixels each, the last two of a side are in none
    assert [part.size for part in parts] == [(8, 8)] * 9
    assert np.array_equal(np.asarray(parts[5]), whole[8:16, 16:24])
    with pytest.raises(ValueError, match="7 x 7 pixels cannot be cut into 9 x 9"):
        cut(Image.new("RGB", (7, 7)), (9,))


def test_a_choice_loses_its_white_margins_and_stands_in_the_middle() -> None:
    base = Image.new("RGB", (50, 40), (255, 255, 255))
    base.paste((10, 20, 30), (20, 5, 30, 9))  # 10 x 4
    made = Patches((1, 2), 14, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), choice=True)(base)["pixel_values"][0]
    assert made.shape == (1, 3, 14, 14)
    inked = (made[0, 0] < 0.5).nonzero()
    assert (inked.min(dim=0).values.tolist(), inked.max(dim=0).values.tolist()) == ([5, 2], [8, 11])
    blank_ = Patches((1,), 14, choice=True)(Image.new("RGB", (9, 9), "white"))["pixel_values"]
    assert blank_.isfinite().all()


def test_what_says_how_pictures_are_cut_is_checked() -> None:
    assert read(json.loads(Patches().to_json_string())) == Patches()
    for said in ([], {"grid": [1]}, {"grids": []}, {"grids": [0]}, {"grids": [1], "size": 0}, {"grids": ["1"]}):
        with pytest.raises(ValueError, match="expected"):
            read(said)


def test_words_by_hand() -> None:
    assert words("What is Tom's, exactly?") == ["what", "is", "tom", "'s", "exactly"]
    assert simplified("Count the dots by twos. How many are there?") == "How many are there?"
    assert simplified("Count the dots. How many are there?") == "Count the dots. How many are there?"
    assert simplified("Count by fives.") == "Count by fives."
    made = Dictionary(["a", "key", "red"], None, 4, 3)
    assert made.ids("A red, KEY?") == [3, 0, 2, 1]
    assert made.ids("red red red red key") == [2, 2, 2, 2]
    assert made.ids("unheard") == [3, 3, 3, 3]


# --- as a backbone ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [chosen, pictured, blank])
def test_what_it_learns_and_answers(folder: Path, make: Callable[..., Example]) -> None:
    made: Any = loaded(folder, objective=bce())
    examples = [make(number) for number in range(3)]
    batch = made.collate(examples)
    with made.steady():
        found = made.loss(batch)
    logits = made.outputs(batch).labels().logits if make is not blank else None
    ranked = made.ranked(examples)
    names = made.names if make is blank else examples[0].choices
    with torch.no_grad(), made.steady():
        scores = made.outputs(batch).labels().logits
    target = torch.zeros_like(scores)
    for row, example in enumerate(examples):
        target[row, names.index(example.answer)] = 1
        answer, told = ranked[row]
        assert answer == names[int(scores[row, : len(names)].argmax())]
        assert told == pytest.approx(scores[row, : len(names)].tolist() if make is not blank else [], abs=1e-5)
    # the mean over labels times their number (Patch-TRM's code): five labels of choices, even where there are three
    expected = torch.nn.functional.binary_cross_entropy_with_logits(scores, target, reduction="none").sum(dim=1)
    torch.testing.assert_close(found, expected)
    assert scores.shape == (3, 3 if make is blank else 5)
    assert logits is None or not torch.equal(logits, scores)  # in training it drops at random
    found.sum().backward()
    heads = {chosen: "choose_txt", pictured: "choose_img", blank: "fill_in_blank"}
    touched = {name.split(".")[1] for name, leaf in made.leaves().items() if leaf.grad is not None and leaf.grad.any()}
    assert heads[make] in touched
    assert not touched & ({*heads.values()} - {heads[make]})


def test_it_is_built_from_its_seed_and_has_the_head_that_is_asked_for(folder: Path) -> None:
    first, same, other = loaded(folder), loaded(folder), loaded(folder, seed=1)
    assert first.name == same.name == f"{folder}@{Seeds(0).number('model') % 2**32}"
    assert first.fingerprint == same.fingerprint
    assert first.fingerprint != other.fingerprint
    assert all(torch.equal(value, same.read()[name]) for name, value in first.read().items())
    assert not all(torch.equal(value, other.read()[name]) for name, value in first.read().items())
    alone = loaded(folder, form="choose_img")
    assert alone.name.startswith(f"{folder}/choose_img@")
    assert {name.split(".")[1] for name in alone.leaves()} >= {"choose_img"}
    assert not any("choose_txt" in name or "fill_in_blank" in name for name in alone.leaves())
    again = loaded(alone.name, seed=9)
    assert again.fingerprint == alone.fingerprint
    with pytest.raises(FedloomError, match=r"is one of choose_txt, and .* has heads for choose_img alone"):
        alone.collate([chosen()])
    assert str(called("patch-trm/choose_txt@12")) == "patch-trm/choose_txt@12"
    assert (called("patch-trm@3").place, called("patch-trm@3").seed) == ("patch-trm", 3)
    for other in ("a/b@3", "nano-clip@3", "nano-vlm/choose_img", "patch-trm@x"):  # parts of names
        assert called(other).place == other


def test_a_saved_folder_and_an_exported_adapter_answer_as_before(folder: Path, tmp_path: Path) -> None:
    made: Any = loaded(folder, form="choose_txt")
    examples = [chosen(number) for number in range(4)]
    trained = {name: value + 0.05 * torch.randn(value.shape) for name, value in made.read().items()}
    made.write(trained)
    before = made.ranked(examples)
    made.save(tmp_path / "adapter", made.read(), None, "card")
    assert opened(tmp_path / "adapter").ranked(examples) == before  # type: ignore[attr-defined]
    made._model.save_pretrained(tmp_path / "whole")
    Patches((1, 2), 32).save_pretrained(tmp_path / "whole")
    whole: Any = loaded(tmp_path / "whole")
    assert whole.name == str(tmp_path / "whole")
    assert whole.ranked(examples) == before


def test_features_are_kept_where_the_network_is_frozen_and_learnt_through_where_not(folder: Path) -> None:
    kept: Any = loaded(folder)
    kept.prepare([chosen(), pictured()])
    assert kept._images.encode is not None
    every: Any = loaded(folder, adapter=AdapterSpec(kind="full"))
    assert every._images.encode is None
    assert any(name.startswith("vision_model") for name in every.leaves())
    for make in (chosen, pictured, blank):
        one, other = (made.ranked([make(0), make(1)]) for made in (kept, every))
        assert [answer for answer, _ in one] == [answer for answer, _ in other]
        np.testing.assert_allclose([s for _, s in one], [s for _, s in other], atol=1e-5)
    every.loss(every.collate([pictured()])).sum().backward()
    assert every.leaves()["vision_model.embedder.embedder.convolution.weight"].grad.abs().sum() > 0


def test_weights_begin_as_those_of_the_folders_that_are_named(folder: Path, tmp_path: Path) -> None:
    config = PatchTrmConfig(**SMALL)
    torch.manual_seed(3)
    ResNetModel(config.vision_config).save_pretrained(tmp_path / "eyes")
    BertModel(config.text_config).save_pretrained(tmp_path / "reader")  # with a pooler, which is not needed
    place = tmp_path / "model"
    PatchTrmConfig(**SMALL, pictures=str(tmp_path / "eyes"), texts=str(tmp_path / "reader")).save_pretrained(place)
    Patches((1, 2), 32).save_pretrained(place)
    one, other = loaded(place), loaded(place, seed=1)
    texts = [name for name in one.leaves() if name.startswith("text_model")]
    assert all(torch.equal(one.read()[name], other.read()[name]) for name in texts)
    assert one.fingerprint != loaded(folder).fingerprint
    changed = json.loads((place / "config.json").read_text())
    for key, value, match in (
        ("pictures", "nowhere", r"pictures = 'nowhere' in its config.json is no folder and none of nano-clip"),
        ("texts", str(tmp_path / "eyes"), r"texts at .*eyes has no '.*', nor \d+ more"),
        ("pictures", "nano-resnet", r"pictures at .*nano-resnet has no|is \[.*\], expected"),
        ("tokenizer", "nowhere", "tokenizer = 'nowhere'"),
    ):
        (place / "config.json").write_text(json.dumps(changed | {key: value}))
        with pytest.raises(FedloomError, match=match):
            loaded(place)


@pytest.mark.parametrize(
    ("example", "match"),
    [
        (replace(chosen(), images=()), r"example 't0' has 0 pictures; .* needs one"),
        (replace(pictured(), images=pictured().images[:3]), "has 3 pictures"),
        (replace(chosen(), choices=tuple("abcdef"), answer="a"), "has 6 choices, and .* takes 5"),
        (replace(chosen(), answer="none"), "is none of its choices"),
        (replace(chosen(), question="why " * 60), r"its question has \d+ tokens, and .* reads 40"),
    ],
)
def test_what_it_cannot_take_is_refused(tmp_path: Path, example: Example, match: str) -> None:
    PatchTrmConfig(**SMALL, dictionary=["red", "two", "cats", "a", "key"]).save_pretrained(tmp_path)
    Patches((1, 2), 32).save_pretrained(tmp_path)
    made: Any = loaded(tmp_path)
    made.check([chosen(), pictured(), blank()], True)
    for attempt in (lambda: made.check([example], False), lambda: made.collate([example])):
        with pytest.raises(FedloomError, match=match):
            attempt()


def test_an_answer_outside_the_vocabulary_is_wrong_and_not_learnt(folder: Path) -> None:
    made: Any = loaded(folder)
    strange = [blank(0, "moss"), blank(1), blank(2, "elk")]
    made.check(strange, False)
    assert all(answer in SMALL["answers"] for answer, _ in made.ranked(strange))
    with pytest.raises(
        FedloomError, match=r"2 of 3 answers that are to be learnt are no labels .*'moss' of b0, 'elk' of"
    ):
        made.check(strange, True)
    loss = bce().loss(made.outputs(made.collate(strange[:1])))  # all outputs are to say no
    assert loss.isfinite().all()


def test_what_such_a_model_has_not_is_refused(folder: Path) -> None:
    for options, match in (
        ({"adapter": AdapterSpec(rank=2)}, r"adapter\.kind = 'lora'.*set adapter\.kind = 'full'"),
        ({"absent": "blank"}, r"model\.absent = 'blank'"),
        ({"augment": "crop"}, r"client\.augment = 'crop'"),
    ):
        with pytest.raises(FedloomError, match=match):
            loaded(folder, **options)
    with pytest.raises(FedloomError, match="several sub-tasks"):
        loaded(folder).collate([chosen(), blank()])


def test_weights_that_are_not_there_are_refused(folder: Path, tmp_path: Path) -> None:
    made: Any = loaded(folder, form="choose_txt")
    made._model.save_pretrained(tmp_path)
    Patches((1, 2), 32).save_pretrained(tmp_path)
    said = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(said | {"forms": ["choose_txt", "choose_img"]}))
    with pytest.raises(FedloomError, match=r"has no 'connector\.choose_img\..*' in its files, and \d+ more"):
        loaded(tmp_path)


def test_the_tokenizer_is_a_part_of_what_a_model_is(tmp_path: Path) -> None:
    words_of, place = tmp_path / "words", tmp_path / "model"
    words_of.mkdir()
    for file in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(NANO["nano-clip"] / file, words_of)
    PatchTrmConfig(**SMALL | {"tokenizer": str(words_of)}).save_pretrained(place)
    Patches((1, 2), 32).save_pretrained(place)
    before = loaded(place).fingerprint
    said = json.loads((words_of / "tokenizer.json").read_text())
    pieces = said["model"]["vocab"]
    one, other = list(pieces)[400:402]
    pieces[one], pieces[other] = pieces[other], pieces[one]
    (words_of / "tokenizer.json").write_text(json.dumps(said))
    assert loaded(place).fingerprint != before


def test_a_folder_of_the_hub_names_nothing_outside_itself(folder: Path, tmp_path: Path) -> None:
    """A server may name an id, and what lies in its snapshot is not this machine's."""
    place = tmp_path / "snapshots" / "0123abcd"
    private = tmp_path / "private"
    torch.manual_seed(1)
    BertModel(PatchTrmConfig(**SMALL).text_config).save_pretrained(private)
    for texts in (str(private), "../../private"):
        shutil.rmtree(place, ignore_errors=True)
        PatchTrmConfig(**SMALL | {"texts": texts}).save_pretrained(place)
        Patches((1, 2), 32).save_pretrained(place)
        with pytest.raises(FedloomError, match=r"texts = .* leads out of a folder that came from the hub"):
            loaded(place)


@pytest.mark.parametrize("value", [5, ["a"], "~nosuchuser/x", "nowhere"])
def test_a_source_that_is_none_is_refused(value: object, folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "it")
    said = json.loads((folder / "config.json").read_text())
    (tmp_path / "it" / "config.json").write_text(json.dumps(said | {"pictures": value}))
    with pytest.raises(FedloomError, match=r"config\.json|pictures"):
        loaded(tmp_path / "it")


def test_a_plan_counts_the_network_where_it_learns(folder: Path) -> None:
    frozen = Meta(str(folder), FULL, form="choose_txt").activations(Batch(4))
    learning = Meta(str(folder), AdapterSpec(kind="full"), form="choose_txt").activations(Batch(4))
    patches = 4 * 5 * 8 * 8 * 8 * 4  # bytes of what the first of its layers keeps of 4 x 5 patches, at the least
    assert learning - frozen > patches


def test_a_plan_counts_what_the_model_has(folder: Path) -> None:
    for form in ("choose_txt", "choose_img", "fill_in_blank"):
        meta = Meta(str(folder), FULL, form=form)  # type: ignore[arg-type]
        made = loaded(folder, form=form)
        assert meta.total_parameters == made.total_parameters
        assert {name: leaf.shape for name, leaf in meta.leaves().items()} == {
            name: leaf.shape for name, leaf in made.leaves().items()
        }
        assert meta.activations(Batch(4)) > 0


def test_the_shipped_one_knows_icons_and_fits_every_answer() -> None:
    from fedloom.tasks._icons.packs import PACKS
    from fedloom.tasks._icons.skills import SKILLS

    said = json.loads((NANO["patch-trm"] / "config.json").read_text())
    rng = np.random.default_rng(7)
    drawn = {make(rng, tuple(PACKS), "fill_in_blank", 2).answer for make in SKILLS.values() for _ in range(300)}
    assert drawn <= set(said["answers"])
    assert PatchTrmConfig.from_pretrained(NANO["patch-trm"]).patches == 79
    assert read(json.loads((NANO["patch-trm"] / "preprocessor_config.json").read_text())).size == 32
    megabytes = sum(file.stat().st_size for place in NANO.values() for file in place.rglob("*") if file.is_file()) / 1e6
    assert megabytes < 28
