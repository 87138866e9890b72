"""Tiny checkpoints of the real architecture classes, made and saved by the tests themselves."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    Blip2Config,
    Blip2ForConditionalGeneration,
    Blip2Processor,
    BlipImageProcessorPil,
    CLIPConfig,
    CLIPImageProcessorPil,
    CLIPModel,
    CLIPProcessor,
    Idefics3Config,
    Idefics3ForConditionalGeneration,
    Idefics3ImageProcessorPil,
    Idefics3Processor,
    InstructBlipConfig,
    InstructBlipForConditionalGeneration,
    InstructBlipProcessor,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaNextConfig,
    LlavaNextForConditionalGeneration,
    LlavaNextImageProcessorPil,
    LlavaNextProcessor,
    LlavaProcessor,
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2VLConfig,
    Qwen2VLForConditionalGeneration,
    Qwen2VLImageProcessorPil,
    Siglip2Config,
    Siglip2ImageProcessorPil,
    Siglip2Model,
    Siglip2Processor,
    SiglipConfig,
    SiglipImageProcessorPil,
    SiglipModel,
    SiglipProcessor,
    SmolVLMConfig,
    SmolVLMForConditionalGeneration,
    SmolVLMImageProcessorPil,
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
LONG = {**TEXT, "max_position_embeddings": 512, "initializer_range": 0.3}


def tokenizer(
    bos: bool, eos: bool, marks: tuple[str, ...] | dict[str, str] = ("<image>",), extra: str = ""
) -> PreTrainedTokenizerFast:
    """A word-level tokenizer over ``WORDS`` that wraps a text in ``<s>`` and ``</s>`` as asked; ``marks``: its special
    tokens besides, from id 4 on, by name where they have one; ``extra``: words that it knows besides."""
    special = ["<pad>", "<unk>", "<s>", "</s>", *(marks.values() if isinstance(marks, dict) else marks)]
    vocabulary = {word: number for number, word in enumerate([*special, *WORDS.split(), *extra.split()])}
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
        extra_special_tokens=marks if isinstance(marks, dict) else list(marks),
        model_max_length=16 if eos else LONG["max_position_embeddings"],
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
    SiglipModel(SiglipConfig(text_config=text, vision_config=VISION)).save_pretrained(folder)
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


def llama(words: PreTrainedTokenizerFast, **options: object) -> dict[str, object]:
    """Options of a two-layer Llama that reads long prompts."""
    ends = {"eos_token_id": 3, "bos_token_id": 2, "pad_token_id": 0}
    return {**LONG, "model_type": "llama", "vocab_size": len(words), "num_key_value_heads": 1, **ends, **options}


def llava_next(folder: Path) -> Path:
    """A LLaVA-NeXT, which cuts pictures into tiles of 4 rows."""
    torch.manual_seed(0)
    words = tokenizer(bos=True, eos=False)
    config = LlavaNextConfig(
        vision_config={**VISION, "model_type": "clip_vision_model"},
        text_config=llama(words),
        image_token_id=4,
        vision_feature_layer=-1,
        image_grid_pinpoints=[[16, 32], [32, 16], [32, 32]],
    )
    LlavaNextForConditionalGeneration(config).save_pretrained(folder)
    pictures = LlavaNextImageProcessorPil(
        size={"shortest_edge": 16},
        crop_size={"height": 16, "width": 16},
        image_grid_pinpoints=config.image_grid_pinpoints,
    )
    LlavaNextProcessor(
        pictures, words, patch_size=8, vision_feature_select_strategy="default", num_additional_image_tokens=1
    ).save_pretrained(folder)
    return folder


SQUARE = {"height": 16, "width": 16}
SHARP = {**VISION, "initializer_range": 0.3}  # theirs is so small that all pictures would look alike
QFORMER = {"hidden_size": 24, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
QFORMER |= {"encoder_hidden_size": 16, "cross_attention_frequency": 1, "initializer_range": 0.3}


def blip2(folder: Path) -> Path:
    """A BLIP-2 of a two-layer Q-Former with 3 queries and a two-layer OPT."""
    torch.manual_seed(0)
    words = tokenizer(bos=True, eos=False)
    text = {"model_type": "opt", "hidden_size": 16, "ffn_dim": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    text |= {"word_embed_proj_dim": 16, "max_position_embeddings": 64, "vocab_size": len(words), "init_std": 0.3}
    text |= {"eos_token_id": 3, "bos_token_id": 2, "pad_token_id": 0}
    config = Blip2Config(
        vision_config=SHARP, qformer_config=QFORMER, text_config=text, num_query_tokens=3, image_token_index=4
    )
    model = Blip2ForConditionalGeneration(config)
    torch.nn.init.normal_(model.query_tokens)
    model.save_pretrained(folder)
    Blip2Processor(BlipImageProcessorPil(size=SQUARE), words, num_query_tokens=3).save_pretrained(folder)
    return folder


def instructblip(folder: Path) -> Path:
    """An InstructBLIP of a two-layer Q-Former with 3 queries and a two-layer Llama."""
    words = tokenizer(bos=True, eos=False)
    return _instructblip(folder, words, llama(words))


def _instructblip(folder: Path, words: PreTrainedTokenizerFast, text: dict[str, Any]) -> Path:
    torch.manual_seed(0)
    asked = tokenizer(bos=True, eos=True)
    config = InstructBlipConfig(
        vision_config=SHARP,
        qformer_config={**QFORMER, "vocab_size": len(asked)},
        text_config=text,
        num_query_tokens=3,
        image_token_index=4,
    )
    model = InstructBlipForConditionalGeneration(config)
    torch.nn.init.normal_(model.query_tokens)
    model.save_pretrained(folder)
    InstructBlipProcessor(BlipImageProcessorPil(size=SQUARE), words, asked, num_query_tokens=3).save_pretrained(folder)
    return folder


def t5(words: PreTrainedTokenizerFast, **options: Any) -> dict[str, Any]:
    """The configuration of a T5 of two blocks."""
    text = {"model_type": "t5", "d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 2, "num_heads": 2}
    text |= {"vocab_size": len(words), "dropout_rate": 0.0, "pad_token_id": 0, "eos_token_id": 3}
    # Of the smallest models the usual start says next to nothing.
    text |= {"decoder_start_token_id": 0, "initializer_factor": 2.0, "feed_forward_proj": "gated-gelu"}
    return text | options


def blip2_t5(folder: Path) -> Path:
    """A BLIP-2 of a two-layer Q-Former with 3 queries and a T5 of two blocks, whose output layer is its own."""
    torch.manual_seed(0)
    words = tokenizer(bos=False, eos=True)
    config = Blip2Config(
        vision_config=SHARP,
        qformer_config=QFORMER,
        text_config=t5(words, tie_word_embeddings=False, initializer_factor=1.0),
        num_query_tokens=3,
        image_token_index=4,
    )
    model = Blip2ForConditionalGeneration(config)
    torch.nn.init.normal_(model.query_tokens)
    model.save_pretrained(folder)
    Blip2Processor(BlipImageProcessorPil(size=SQUARE), words, num_query_tokens=3).save_pretrained(folder)
    return folder


def instructblip_t5(folder: Path) -> Path:
    """An InstructBLIP of a two-layer Q-Former with 3 queries and a T5 of two blocks, whose output layer is tied."""
    words = tokenizer(bos=False, eos=True)
    return _instructblip(folder, words, t5(words))


def _qwen(folder: Path, configuration: type, model: type, vision: dict[str, object]) -> Path:
    torch.manual_seed(0)
    marks = ("image_pad", "video_pad", "vision_start", "vision_end")
    words = tokenizer(bos=False, eos=False, marks=tuple(f"<|{mark}|>" for mark in marks))
    names = ("image_token_id", "video_token_id", "vision_start_token_id", "vision_end_token_id")
    rope = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 1, 1]}
    text = {name: value for name, value in llama(words).items() if name != "model_type"}
    config = configuration(
        vision_config={"depth": 2, "num_heads": 2, "patch_size": 4, "initializer_range": 0.3, **vision},
        text_config={**text, "rope_parameters": rope},
        tie_word_embeddings=False,
        **{name: 4 + number for number, name in enumerate(names)},
    )
    model(config).save_pretrained(folder)
    # Their whole processors need torchvision, to read videos.
    size = {"shortest_edge": 8 * 8, "longest_edge": 32 * 32}
    Qwen2VLImageProcessorPil(patch_size=4, merge_size=2, size=size).save_pretrained(folder)
    words.save_pretrained(folder)
    return folder


def qwen2_vl(folder: Path) -> Path:
    """A Qwen2-VL whose tokens each show 8 x 8 pixels."""
    vision = {"embed_dim": 16, "hidden_size": 16, "mlp_ratio": 2}
    return _qwen(folder, Qwen2VLConfig, Qwen2VLForConditionalGeneration, vision)


def qwen2_5_vl(folder: Path) -> Path:
    """A Qwen2.5-VL whose tokens each show 8 x 8 pixels, and whose first block sees windows of 16 x 16 alone."""
    vision = {"hidden_size": 16, "out_hidden_size": 16, "intermediate_size": 32, "fullatt_block_indexes": [1]}
    return _qwen(folder, Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration, {**vision, "window_size": 16})


TILED = ("<image>", "<fake_token_around_image>", "<global-img>", "<end_of_utterance>")
TILED += tuple(f"<row_{row}_col_{column}>" for row in (1, 2) for column in (1, 2))
_CUT = {"size": {"longest_edge": 32}, "max_image_size": {"longest_edge": 16}}


def _idefics(configuration: type, words: PreTrainedTokenizerFast) -> object:
    return configuration(
        vision_config={**VISION, "patch_size": 4},
        text_config=llama(words),
        scale_factor=2,
        image_token_id=4,
        pad_token_id=0,
        tie_word_embeddings=False,
    )


def idefics3(folder: Path) -> Path:
    """An Idefics3 that cuts pictures into tiles of 4 rows."""
    torch.manual_seed(0)
    words = tokenizer(bos=True, eos=False, marks=TILED)
    Idefics3ForConditionalGeneration(_idefics(Idefics3Config, words)).save_pretrained(folder)
    Idefics3Processor(Idefics3ImageProcessorPil(**_CUT), words, image_seq_len=4).save_pretrained(folder)
    return folder


def smolvlm(folder: Path) -> Path:
    """A SmolVLM that cuts pictures into tiles of 4 rows."""
    torch.manual_seed(0)
    words = tokenizer(bos=True, eos=False, marks=TILED)
    SmolVLMForConditionalGeneration(_idefics(SmolVLMConfig, words)).save_pretrained(folder)
    # Its whole processor needs torchvision, to read videos.
    SmolVLMImageProcessorPil(**_CUT).save_pretrained(folder)
    words.save_pretrained(folder)
    return folder


def picture(seed: int, size: int = 20, width: int = 0) -> Image.Image:
    """A picture of noise, square unless it has another ``width``."""
    pixels = np.random.default_rng(seed).integers(0, 256, (size, width or size, 3), dtype=np.uint8)
    return Image.fromarray(pixels)
