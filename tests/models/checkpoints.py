"""Tiny checkpoints of the real architecture classes, made and saved by the tests themselves."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    CLIPConfig,
    CLIPImageProcessorPil,
    CLIPModel,
    CLIPProcessor,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaNextConfig,
    LlavaNextForConditionalGeneration,
    LlavaNextImageProcessorPil,
    LlavaNextProcessor,
    LlavaProcessor,
    PreTrainedTokenizerFast,
    Siglip2Config,
    Siglip2ImageProcessorPil,
    Siglip2Model,
    Siglip2Processor,
    SiglipConfig,
    SiglipImageProcessorPil,
    SiglipModel,
    SiglipProcessor,
)

WORDS = (
    "a photo of the cat dog bird fish which animal is this what colour red green blue yes no ? : . answer two and one"
)
VISION = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 16,
    "patch_size": 8,
}
TEXT = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "max_position_embeddings": 64,
}


def tokenizer(bos: bool, eos: bool) -> PreTrainedTokenizerFast:
    """A word-level tokenizer over ``WORDS`` that wraps a text in ``<s>`` and ``</s>`` as asked."""
    special = ["<pad>", "<unk>", "<s>", "</s>", "<image>"]
    vocabulary = {word: number for number, word in enumerate([*special, *WORDS.split()])}
    core = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.Whitespace()
    core.post_processor = processors.TemplateProcessing(
        single=f"{'<s> ' if bos else ''}$A{' </s>' if eos else ''}", special_tokens=[("<s>", 2), ("</s>", 3)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token="<pad>",
        unk_token="<unk>",
        bos_token="<s>",
        eos_token="</s>",
        additional_special_tokens=["<image>"],
        model_max_length=16 if eos else 64,
    )


def images(size: int = 16) -> dict[str, object]:
    """Options of an image processor that makes ``size`` x ``size`` pictures."""
    return {"size": {"height": size, "width": size}, "do_center_crop": False}


def clip(folder: Path) -> Path:
    """A CLIP of two layers a tower."""
    torch.manual_seed(0)
    words = tokenizer(bos=True, eos=True)
    text = {**TEXT, "vocab_size": len(words), "eos_token_id": 3, "bos_token_id": 2, "pad_token_id": 0}
    config = CLIPConfig(text_config=text, vision_config=VISION, projection_dim=12)
    CLIPModel(config).save_pretrained(folder)
    CLIPProcessor(CLIPImageProcessorPil(**images()), words).save_pretrained(folder)
    return folder


def siglip(folder: Path) -> Path:
    """A SigLIP of two layers a tower."""
    torch.manual_seed(0)
    words = tokenizer(bos=False, eos=True)
    text = {**TEXT, "max_position_embeddings": 16, "vocab_size": len(words), "projection_size": 16}
    text |= {"eos_token_id": 3, "bos_token_id": 2, "pad_token_id": 0}
    model = SiglipModel(SiglipConfig(text_config=text, vision_config=VISION))
    model.save_pretrained(folder)
    SiglipProcessor(SiglipImageProcessorPil(size={"height": 16, "width": 16}), words).save_pretrained(folder)
    return folder


def siglip2(folder: Path) -> Path:
    """A SigLIP 2 of two layers a tower, for pictures of any shape: at most 16 patches."""
    torch.manual_seed(0)
    words = tokenizer(bos=False, eos=True)
    text = {**TEXT, "max_position_embeddings": 16, "vocab_size": len(words), "projection_size": 16}
    text |= {"eos_token_id": 3, "bos_token_id": 2, "pad_token_id": 0}
    vision = {**{key: value for key, value in VISION.items() if key != "image_size"}, "num_patches": 16}
    Siglip2Model(Siglip2Config(text_config=text, vision_config=vision)).save_pretrained(folder)
    Siglip2Processor(Siglip2ImageProcessorPil(patch_size=8, max_num_patches=16), words).save_pretrained(folder)
    return folder


def llava(folder: Path) -> Path:
    """A LLaVA of a two-layer CLIP tower (4 image tokens) and a two-layer Llama."""
    torch.manual_seed(0)
    words = tokenizer(bos=True, eos=False)
    text = {**TEXT, "model_type": "llama", "vocab_size": len(words), "num_key_value_heads": 1}
    text |= {"eos_token_id": 3, "bos_token_id": 2, "pad_token_id": 0, "initializer_range": 0.3}
    config = LlavaConfig(
        vision_config={**VISION, "model_type": "clip_vision_model"},
        text_config=text,
        image_token_id=4,
        vision_feature_layer=-1,
        vision_feature_select_strategy="default",
        image_seq_length=4,
    )
    LlavaForConditionalGeneration(config).save_pretrained(folder)
    processor = LlavaProcessor(
        CLIPImageProcessorPil(**images()),
        words,
        patch_size=8,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
    )
    processor.save_pretrained(folder)
    return folder


def llava_next(folder: Path) -> Path:
    """A LLaVA-NeXT, which cuts pictures into tiles, of a one-layer tower and a one-layer Llama."""
    words = tokenizer(bos=True, eos=False)
    text = {**TEXT, "num_hidden_layers": 1, "model_type": "llama", "vocab_size": len(words), "num_key_value_heads": 1}
    config = LlavaNextConfig(
        vision_config={**VISION, "num_hidden_layers": 1, "model_type": "clip_vision_model"},
        text_config={**text, "eos_token_id": 3, "bos_token_id": 2, "pad_token_id": 0},
        image_token_id=4,
        image_grid_pinpoints=[[16, 32], [32, 16], [32, 32]],
    )
    LlavaNextForConditionalGeneration(config).save_pretrained(folder)
    pictures = LlavaNextImageProcessorPil(
        size={"shortest_edge": 16}, crop_size=16, image_grid_pinpoints=config.image_grid_pinpoints
    )
    LlavaNextProcessor(
        pictures, words, patch_size=8, vision_feature_select_strategy="default", num_additional_image_tokens=1
    ).save_pretrained(folder)
    return folder


def picture(seed: int, size: int = 20) -> Image.Image:
    """A picture of noise."""
    pixels = np.random.default_rng(seed).integers(0, 256, (size, size, 3), dtype=np.uint8)
    return Image.fromarray(pixels)
