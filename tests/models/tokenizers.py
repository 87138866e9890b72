"""Small tokenizers of every kind that checkpoints come with, learned from the words of the tests."""

from collections.abc import Callable
from functools import cache
from typing import Any

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from tests.models.checkpoints import WORDS, tokenizer

SPECIAL = ("<unk>", "<s>", "</s>", "<pad>", "<image>", "<|im_start|>")
PLAIN = ("[INST]",)  # a mark of turns that its tokenizer does not call special
SEEN = [WORDS, "Question: Which animal is this? Answer: A", "Answer: B yes no </s> <s> <image> [INST] <|im_start|>"]


def bare(kind: str) -> Tokenizer:
    """A tokenizer of a kind without any added token: all that it reads is text."""
    return Tokenizer.from_str(_learned(kind))


@cache
def _learned(kind: str) -> str:
    made = Tokenizer(_models()[kind]())
    made.normalizer, made.pre_tokenizer = _PIPELINES[kind]
    common: dict[str, Any] = {"special_tokens": ["<unk>", "<s>", "</s>", "<pad>"], "show_progress": False}
    if kind.startswith("byte"):
        common["initial_alphabet"] = pre_tokenizers.ByteLevel.alphabet()
    if kind == "unigram":
        made.train_from_iterator(SEEN * 4, trainers.UnigramTrainer(vocab_size=120, unk_token="<unk>", **common))
    elif kind == "wordpiece":
        made.train_from_iterator(SEEN * 4, trainers.WordPieceTrainer(vocab_size=200, **common))
    else:
        if made.pre_tokenizer is None:  # Llama's pieces were learned word by word
            made.pre_tokenizer = pre_tokenizers.Split("\u2581", "merged_with_next")
        made.train_from_iterator(SEEN * 4, trainers.BpeTrainer(vocab_size=400, **common))
    # Training leaves them as added tokens; of a tokenizer without any, only the pipeline is kept.
    clean = Tokenizer.from_str(made.to_str())
    if _PIPELINES[kind][1] is None:
        clean.pre_tokenizer = None
    clean.decoder = decoders.ByteLevel() if kind.startswith("byte") else decoders.Metaspace()
    return str(clean.to_str())


def text_ids(kind: str, text: str) -> list[int]:
    """Ids of a text that holds nothing but text, by the three steps of the pipeline and no search for added tokens."""
    made = bare(kind)
    normal = made.normalizer.normalize_str(text) if made.normalizer else text
    words = [word for word, _ in made.pre_tokenizer.pre_tokenize_str(normal)] if made.pre_tokenizer else [normal]
    return [token.id for word in words for token in made.model.tokenize(word)]


def fast(kind: str, bos: bool = True, eos: bool = False) -> PreTrainedTokenizerFast:
    """The same with its control tokens, and what it puts around every text."""
    if kind == "words":
        return tokenizer(bos, eos, ("<image>", "<|im_start|>", *PLAIN))
    made = bare(kind)
    single = f"{'<s> ' if bos else ''}$A{' </s>' if eos else ''}"
    made.post_processor = processors.TemplateProcessing(single=single, special_tokens=[("<s>", 1), ("</s>", 2)])
    words = PreTrainedTokenizerFast(
        tokenizer_object=made,
        unk_token="<unk>",
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        additional_special_tokens=["<image>", "<|im_start|>"],
    )
    words.add_tokens(list(PLAIN))
    return words


def _models() -> dict[str, Callable[[], Any]]:
    return {
        "bytes": models.BPE,
        "bytes-prefix": models.BPE,
        "metaspace-first": lambda: models.BPE(unk_token="<unk>"),
        "metaspace-always": lambda: models.BPE(unk_token="<unk>"),
        "prepend": lambda: models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True),
        "unigram": models.Unigram,
        "wordpiece": lambda: models.WordPiece(unk_token="<unk>"),
    }


_PIPELINES: dict[str, tuple[Any, Any]] = {
    "bytes": (None, pre_tokenizers.ByteLevel(add_prefix_space=False)),
    "bytes-prefix": (normalizers.NFC(), pre_tokenizers.ByteLevel(add_prefix_space=True)),
    "metaspace-first": (None, pre_tokenizers.Metaspace(prepend_scheme="first")),
    "metaspace-always": (None, pre_tokenizers.Metaspace(prepend_scheme="always")),
    "prepend": (normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")]), None),
    "unigram": (normalizers.NFKC(), pre_tokenizers.Metaspace()),
    "wordpiece": (normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()),
}
KINDS = tuple(_PIPELINES)
