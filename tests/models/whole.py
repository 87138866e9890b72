"""Models as Transformers itself runs them: the whole model, on what its own processor makes of text and pictures."""

from functools import cache
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoImageProcessor,
    AutoModelForImageTextToText,
    AutoProcessor,
    AutoTokenizer,
    Idefics3Processor,
    Qwen2_5_VLProcessor,
    Qwen2VLProcessor,
)

from fedloom.core.contracts import IMAGE, Example
from tests.models.minicpm import processor as numbering

FRONT = ("blip2", "instructblip")  # their processors put the one picture's tokens before the text


@cache
def parts(kind: str, folder: Path) -> tuple[Any, Any]:
    """Model and processor. Where the whole processor would read videos too, it is made without that."""
    model = AutoModelForImageTextToText.from_pretrained(folder).eval()
    if kind not in ("qwen2_vl", "qwen2_5_vl", "smolvlm", "minicpmv4_6"):
        return model, AutoProcessor.from_pretrained(folder, backend="pil")
    pictures, words = AutoImageProcessor.from_pretrained(folder, backend="pil"), AutoTokenizer.from_pretrained(folder)
    if kind == "smolvlm":
        return model, Idefics3Processor(pictures, words, image_seq_len=4)
    if kind == "minicpmv4_6":
        return model, numbering(pictures, words)
    made = object.__new__(Qwen2VLProcessor if kind == "qwen2_vl" else Qwen2_5_VLProcessor)
    made.image_processor, made.tokenizer, made.video_processor, made.chat_template = pictures, words, None, None
    made.image_token, made.video_token = "<|image_pad|>", "<|video_pad|>"
    made.image_token_id, made.video_token_id = 4, 5
    return model, made


def inputs(kind: str, folder: Path, example: Example, answer: str = "") -> dict[str, Any]:
    """What the whole model is called with for a prompt and an answer after it."""
    _, processor = parts(kind, folder)
    text = f"{example.prompt} {answer}".strip()
    if kind in FRONT:
        return _in_front(processor, text.replace(IMAGE, " "), example)
    if kind.startswith("qwen"):
        text = text.replace(IMAGE, "<|vision_start|><|image_pad|><|vision_end|>")
    if kind == "minicpmv4_6":
        text = text.replace(IMAGE, "<|image_pad|>")
    pictures = {"images": list(example.images)} if example.images else {}
    return dict(processor(text=text, return_tensors="pt", **pictures))


def _in_front(processor: Any, text: str, example: Example) -> dict[str, Any]:
    """Of one picture as the processor does it; of none or several the same, which it does not know to do."""
    if len(example.images) == 1:
        made = dict(processor(text=text, images=example.images[0], return_tensors="pt"))
    else:
        blank = torch.zeros(1, 3, 16, 16)
        seen = [processor.image_processor(p, return_tensors="pt")["pixel_values"] for p in example.images]
        made = {**processor(text=text, return_tensors="pt"), "pixel_values": torch.cat(seen or [blank])}
        marks = torch.full((1, 3 * len(example.images)), 4)
        made["input_ids"] = torch.cat([marks, made["input_ids"]], dim=1)
        made["attention_mask"] = torch.ones_like(made["input_ids"])
    if "qformer_input_ids" in made:  # it reads the prompt without the answer
        heard = processor.qformer_tokenizer(example.prompt.replace(IMAGE, " "), return_tensors="pt")["input_ids"]
        made["qformer_input_ids"] = heard.expand(len(made["pixel_values"]), -1)
        made["qformer_attention_mask"] = torch.ones_like(made["qformer_input_ids"])
    return made


def logits(kind: str, folder: Path, example: Example, answer: str = "", model: Any = None) -> torch.Tensor:
    """Logits ``[T, V]`` of the whole model, or of ``model`` in its place."""
    with torch.no_grad():
        found: torch.Tensor = (model or parts(kind, folder)[0])(**inputs(kind, folder, example, answer)).logits[0]
    return found
