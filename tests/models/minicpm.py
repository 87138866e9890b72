"""A tiny checkpoint of MiniCPM-V 4.6, and its processor without the part for videos."""

from pathlib import Path
from typing import Any

import torch
from transformers import (
    MiniCPMV4_6Config,
    MiniCPMV4_6ForConditionalGeneration,
    MiniCPMV4_6ImageProcessorPil,
    MiniCPMV4_6Processor,
)

from tests.models.checkpoints import SHARP, llama, tokenizer

NUMBERED = {  # how the tokenizer of a MiniCPM-V calls its own tokens
    "image_token": "<|image_pad|>",
    "video_token": "<|video_pad|>",
    "image_start_token": "<image>",
    "image_end_token": "</image>",
    "slice_start_token": "<slice>",
    "slice_end_token": "</slice>",
    "image_id_start_token": "<image_id>",
    "image_id_end_token": "</image_id>",
}


def minicpmv4_6(folder: Path) -> Path:
    """A MiniCPM-V 4.6 whose tokens each show 16 x 16 pixels, which cuts pictures of more than 22 x 22 into slices; its
    language model has one layer of linear attention and one of full."""
    torch.manual_seed(0)
    words = tokenizer(bos=False, eos=False, marks=NUMBERED, extra="0 1")
    text = {name: value for name, value in llama(words).items() if name != "model_type"}
    text |= {"model_type": "qwen3_5_text", "head_dim": 8, "layer_types": ["linear_attention", "full_attention"]}
    text |= {"linear_key_head_dim": 8, "linear_value_head_dim": 8}
    text |= {"linear_num_key_heads": 2, "linear_num_value_heads": 4}
    vision = {**SHARP, "image_size": 32, "patch_size": 4, "num_hidden_layers": 3}
    config = MiniCPMV4_6Config(
        vision_config=vision, text_config=text, insert_layer_id=1, image_token_id=4, video_token_id=5
    )
    MiniCPMV4_6ForConditionalGeneration(config).save_pretrained(folder)
    # Its whole processor needs torchvision, to read videos.
    MiniCPMV4_6ImageProcessorPil(patch_size=4, scale_resolution=22).save_pretrained(folder)
    words.save_pretrained(folder)
    return folder


def processor(pictures: Any, words: Any) -> Any:
    """The processor of a MiniCPM-V."""
    made = object.__new__(MiniCPMV4_6Processor)
    made.image_processor, made.tokenizer, made.video_processor, made.chat_template = pictures, words, None, None
    made.slice_mode, made.default_use_image_id = pictures.slice_mode, pictures.use_image_id
    for name in NUMBERED:
        setattr(made, name, getattr(words, name))
    made.image_token_id, made.video_token_id = words.image_token_id, words.video_token_id
    return made
