import pytest
from transformers import PreTrainedTokenizerFast

from fedloom.core.contracts import IMAGE
from fedloom.core.seeds import Seeds
from fedloom.pretrain.tokens import VOCABULARY, train_tokenizer, wrap


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return train_tokenizer(Seeds(0))


@pytest.mark.parametrize("text", ["How many red keys?", "Ein Würfel: 3/4 → 12:30", "漢字 and\nlines"])
def test_any_text_comes_back(tokenizer: PreTrainedTokenizerFast, text: str) -> None:
    assert tokenizer.decode(tokenizer(text)["input_ids"], skip_special_tokens=True) == text


def test_the_vocabulary_is_small_and_knows_its_world(tokenizer: PreTrainedTokenizerFast) -> None:
    assert len(tokenizer) == VOCABULARY
    assert len(tokenizer(" purple", add_special_tokens=False)["input_ids"]) == 1
    assert tokenizer(f"{IMAGE}{IMAGE}", add_special_tokens=False)["input_ids"] == [tokenizer.image_token_id] * 2


def test_clip_wants_an_end_and_not_with_id_two(tokenizer: PreTrainedTokenizerFast) -> None:
    assert tokenizer.eos_token_id != 2
    ended = wrap(tokenizer.backend_tokenizer, "<s> $A </s>")("a key")["input_ids"]
    assert (ended[0], ended[-1]) == (tokenizer.bos_token_id, tokenizer.eos_token_id)
