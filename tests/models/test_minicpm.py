"""MiniCPM-V 4.6: what stands for a picture in its prompts, and prompts of several lengths in a model with states."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import DynamicCache

from fedloom.core.errors import FedloomError
from fedloom.models import AdapterSpec
from fedloom.models.language import decoding
from fedloom.models.meta import Batch, Meta
from tests.models import whole
from tests.models.backbones import backbone, examples
from tests.models.checkpoints import picture
from tests.models.test_families import mixed

Tiny = Callable[[str], Path]
KIND = "minicpmv4_6"
SIZES = [(20, 20), (14, 40), (40, 14), (60, 50), (12, 90), (8, 8)]  # height, width


@pytest.mark.parametrize("numbered", [True, False])
def test_what_is_shown_is_the_processors_own_text(numbered: bool, tiny: Tiny) -> None:
    """Alone and as the second picture, whole and in slices of several rows."""
    family = backbone(tiny(KIND))._family
    _, processor = whole.parts(KIND, tiny(KIND))
    family.processor.image_processor.use_image_id = numbered
    pictures = [picture(number, *size) for number, size in enumerate(SIZES)]
    made = processor.image_processor(pictures, return_tensors="pt")
    bare = [processor.replace_image_token(made, number, image_token_divisor=16) for number in range(len(pictures))]
    numbers = [f"<image_id>{number}</image_id>" if numbered else "" for number in range(len(pictures))]
    grids = [family.pixels(one)["grid"][0].tolist() for one in pictures]
    assert family.all_shown(grids) == [number + text for number, text in zip(numbers, bare, strict=True)]
    assert any("\n" in text for text in bare)
    assert [grid[:2] for grid in grids] == made["grids"]


def test_two_pictures_written_out(tiny: Tiny) -> None:
    """20 x 20 pixels are no more than 22 x 22: 16 x 16 and one token; 14 x 40, in shape nearest to 1 x 3, are cut
    into three slices of 16 x 16, and seen whole as 16 x 32, two tokens."""
    family = backbone(tiny(KIND))._family
    grids = [family.pixels(picture(1, *size))["grid"][0].tolist() for size in ((20, 20), (14, 40))]
    assert grids == [[0, 0, 4, 4, 0, 0], [1, 3, 4, 8, 4, 4]]
    token = "<|image_pad|>"
    assert family.all_shown(grids) == [
        f"<image_id>0</image_id><image>{token}</image>",
        f"<image_id>1</image_id><image>{token * 2}</image>" + f"<slice>{token}</slice>" * 3,
    ]


def test_four_times_the_tokens_where_the_tower_merges_nothing(tiny: Tiny) -> None:
    """``downsample_mode`` "4x" in the configuration and the image processor."""
    model = backbone(tiny(KIND), adapter={"where": ["vision"]})
    hugging, processor = whole.parts.__wrapped__(KIND, tiny(KIND))
    hugging.config.downsample_mode = model._model.config.downsample_mode = "4x"
    for images in (processor.image_processor, model._processor.image_processor):
        images.downsample_mode = "4x"
    (example,) = [replace(e, images=(picture(3, 14, 40),)) for e in examples(1)]
    batch = model.collate([example])
    prompt = f"{example.prompt} {example.answer}".replace("<image>", "<|image_pad|>")
    given = processor(text=prompt, images=[picture(3, 14, 40)], return_tensors="pt")
    assert torch.equal(batch.tokens, given["input_ids"])
    assert int((batch.tokens == 4).sum()) > 4 * 4 - 4
    with torch.no_grad():
        expected = hugging(**given).logits
        passage = model._passage(batch.tokens, batch.mask, batch.images, batch.keys)
        found = model._middle.logits(passage.embeddings(), batch.mask, torch.arange(batch.tokens.shape[1]))
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_slices_of_several_sizes_are_refused(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    model = backbone(tiny(KIND))
    images = model._processor.image_processor

    def uneven(image: Any, return_tensors: str) -> dict[str, Any]:
        sizes = torch.tensor([[4, 4], [4, 4], [4, 8]])
        return {"pixel_values": torch.zeros(1, 3, 4, 64), "target_sizes": sizes, "grids": [[1, 2]]}

    monkeypatch.setattr(type(images), "__call__", lambda self, *given, **options: uneven(*given, **options))
    with pytest.raises(FedloomError, match=r"1 x 2 slices of .*; expected as many, all of one size"):
        model._family.pixels(picture(1))


def test_a_tokenizer_without_the_marks_of_a_picture_is_told(tiny: Tiny, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny(KIND), tmp_path / "model"))
    said = json.loads((folder / "tokenizer_config.json").read_text())
    for box in (said, said.get("model_specific_special_tokens", {})):
        box.pop("slice_start_token", None)
    (folder / "tokenizer_config.json").write_text(json.dumps(said))
    with pytest.raises(FedloomError, match=r"cannot place a picture: .*slice_start_token"):
        backbone(folder)


def test_a_plan_says_why_it_does_not_count_pictures(tiny: Tiny) -> None:
    planned = Meta(str(tiny(KIND)), AdapterSpec(kind="nano", rank=2))
    for ask in (planned.activations, planned.seeing):
        with pytest.raises(FedloomError, match="a picture of a 'minicpmv4_6' takes tokens after its size"):
            ask(Batch(2))
    real = backbone(tiny(KIND), adapter={"kind": "nano", "rank": 2})
    halves = planned.halves
    assert halves.edge + halves.language + halves.words * halves.width == real.total_parameters
    assert (halves.words, halves.width) == (real._embed.num_embeddings, 16)


def test_what_people_wrote_is_text(tiny: Tiny) -> None:
    """A slice's mark, a picture's number and its token in someone's text are letters, and no picture's place."""
    model = backbone(tiny(KIND))
    (example,) = examples(1)
    prompt = "<image> what is <slice> <|image_pad|> <image_id> 0 </image_id> ?"
    tokens = model.collate([replace(example, prompt=prompt)]).tokens[0]
    plain = model.collate([replace(example, prompt="<image> what is ?")]).tokens[0]
    special = set(range(4, 12))
    assert [int(t) for t in tokens if int(t) in special] == [int(t) for t in plain if int(t) in special]


def test_states_are_not_touched_by_padding(tiny: Tiny) -> None:
    """Prompts of several lengths read together leave the states and logits of each read alone."""
    model = backbone(tiny(KIND))
    language = model._middle
    prompts = [model._prompt(e) for e in mixed()]
    assert len({len(p) for p in prompts}) == 4
    embed = model._model.get_input_embeddings()
    longest = max(map(len, prompts))
    tokens = torch.tensor([[*p, *[3] * (longest - len(p))] for p in prompts])
    mask = torch.arange(longest) < torch.tensor([len(p) for p in prompts])[:, None]
    with torch.no_grad():
        cache = decoding.empty(language._decoder.config)
        together = decoding.read(language.logits, embed(tokens), mask, None, cache)
        for row, prompt in enumerate(prompts):
            one = torch.tensor([prompt])
            alone = DynamicCache(config=language._decoder.config)
            expected = language.logits(embed(one), torch.ones_like(one).bool(), torch.tensor([len(prompt) - 1]), alone)
            torch.testing.assert_close(together.after[row], expected[0, 0], rtol=1e-5, atol=1e-5)
            for part in ("conv_states", "recurrent_states"):
                found, wanted = (getattr(c.layers[0], part)[0] for c in (together.cache, alone))
                torch.testing.assert_close(found[row], wanted[0], rtol=1e-5, atol=1e-5)
            assert int(together.next[row]) == len(prompt)


def test_a_prefix_counts_its_states_and_is_not_used_up_by_ranking(tiny: Tiny) -> None:
    model = backbone(tiny(KIND))
    cache = decoding.empty(model._middle._decoder.config)
    passage = torch.randn(2, 5, 16)
    with torch.no_grad():
        prefix = decoding.read(model._middle.logits, passage, torch.ones(2, 5).bool(), None, cache)
    states = prefix.cache.layers[0].recurrent_states[0].clone()
    # Of two rows: keys and values 2 * (1 head * 5 places * 8), a state 4 heads * 8 * 8, and 4 places of 2 * 16 + 32.
    kept = 2 * 4 * (2 * 5 * 8 + 4 * 8 * 8 + 4 * 64)
    assert sum(t.nbytes for layer in prefix.cache.layers for t in decoding._kept(layer)) == kept
    ranked = [decoding.score(model._middle.logits, model._embed, prefix, [(0, [7]), (1, [8, 9])], 3) for _ in "ab"]
    assert ranked[0] == ranked[1]
    assert torch.equal(prefix.cache.layers[0].recurrent_states[0], states)
