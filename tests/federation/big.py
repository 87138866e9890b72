"""A LLaVA large enough that its memory can be measured, saved in bfloat16, and a client process of it.

python -m tests.federation.big FOLDER TINY ADDRESS TOKEN ROOT WIRE BATCH   ->   JSON: bytes, rows read, bytes sent
"""

import json
import sys
from pathlib import Path

PICTURE, PATCH, WIDTH, WORDS = 160, 16, 2048, 8192


def save(folder: Path) -> Path:
    """A tower of 57 M parameters, a connector of 6 M, and a language model of one layer."""
    import torch
    from transformers import CLIPImageProcessorPil, LlavaConfig, LlavaForConditionalGeneration, LlavaProcessor

    from tests.models.checkpoints import TEXT, images, tokenizer

    words = tokenizer(bos=True, eos=False)
    words.model_max_length = 2048
    text = {**TEXT, "model_type": "llama", "vocab_size": WORDS, "hidden_size": WIDTH, "num_hidden_layers": 1}
    text |= {"num_attention_heads": 16, "num_key_value_heads": 1, "max_position_embeddings": 2048}
    vision = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 8, "num_attention_heads": 12}
    config = LlavaConfig(
        vision_config={**vision, "image_size": PICTURE, "patch_size": PATCH, "model_type": "clip_vision_model"},
        text_config={**text, "eos_token_id": 3, "bos_token_id": 2, "pad_token_id": 0},
        image_token_id=4,
        image_seq_length=(PICTURE // PATCH) ** 2,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        LlavaForConditionalGeneration(config).to(torch.bfloat16).save_pretrained(folder)
    LlavaProcessor(
        CLIPImageProcessorPil(**images(PICTURE)),
        words,
        patch_size=PATCH,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
    ).save_pretrained(folder)
    return folder


def trained(folder: str, address: str, token: str, root: str, wire: str, batch: int) -> dict[str, int]:
    """A client's few steps on ``batch`` examples, and what it has read and sent."""
    import torch

    from fedloom import models
    from fedloom.core.seeds import Seeds
    from fedloom.split.boundary import Boundary
    from fedloom.split.dial import Dial
    from tests.models.backbones import examples

    boundary = Boundary(Dial(address, token=token, root_certificates=root).ask, wire)  # type: ignore[arg-type]
    spec = models.AdapterSpec(kind="nano", rank=64, alpha=64)
    model = models.load(folder, adapter=spec, seeds=Seeds(0), edge=True, route=lambda language: boundary)
    optimiser = torch.optim.AdamW(list(model.leaves().values()))
    mine = examples(batch)
    for _ in range(3):
        sent = boundary.traffic.up, boundary.traffic.down
        optimiser.zero_grad()
        model.loss(model.collate(mine)).mean().backward()
        optimiser.step()
    adapter = model.read()
    return {
        "rows": model._model.get_input_embeddings().read,  # type: ignore[attr-defined]
        "tokens": model.collate(mine).tokens.shape[1] - (PICTURE // PATCH) ** 2 if "tiny" not in folder else 0,
        "up": boundary.traffic.up - sent[0],
        "down": boundary.traffic.down - sent[1],
        "adapter": sum(value.nbytes for value in adapter.values()),
    }


def main(folder: str, tiny: str, address: str, token: str, root: str, wire: str, batch: str) -> None:
    """Print what a client of ``folder`` takes above a process that has had one of ``tiny``, with all its imports."""
    import torch

    from fedloom.core import memory

    torch.set_num_threads(1)
    tiny_address, address = address.split(",")
    trained(tiny, tiny_address, token, root, wire, 2)
    memory.reset_peak()
    before = memory.peak()
    found = trained(folder, address, token, root, wire, int(batch))
    print(json.dumps({**found, "memory": memory.peak() - before}))


if __name__ == "__main__":
    main(*sys.argv[1:])
