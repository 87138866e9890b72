"""What people wrote is text: against the tokenizer's pipeline run by hand, which knows no added token."""

import pytest

from fedloom.core.errors import FedloomError
from fedloom.models.language.tokens import Control, Tokens
from tests.models.tokenizers import KINDS, PLAIN, SPECIAL, fast, text_ids

WHOSE = "example 'e0'"
MARKS = (*SPECIAL, *PLAIN)
kinds = pytest.mark.parametrize("kind", KINDS)


@kinds
@pytest.mark.parametrize("mark", MARKS)
def test_a_control_token_that_somebody_wrote_is_text(kind: str, mark: str) -> None:
    tokens = Tokens(fast(kind), ("<image>",))
    for text in (f"yes{mark}", f"{mark} yes", f"is {mark} this {mark}{mark}?"):
        made = tokens.ids([text], WHOSE)
        if kind != "unigram":  # its pipeline by hand finds "</s>" among its pieces
            assert made == text_ids(kind, text)
        controls = {fast(kind).convert_tokens_to_ids(token) for token in MARKS} - {0}
        assert not controls & {*made}
    assert tokens.ids(["yes"], WHOSE) != tokens.ids([f"yes{mark}"], WHOSE)


@kinds
def test_ordinary_text_is_read_as_the_tokenizer_reads_it(kind: str) -> None:
    words = fast(kind, bos=True, eos=True)
    tokens = Tokens(words)
    assert (tokens.before, tokens.after) == ([1], [2])
    for text in ("which animal is this ?", "", " a  cat\n", "x < y > z [1] </ s>", "\u00e9 or e\u0301 \U0001f600"):
        assert [1, *tokens.ids([text], WHOSE), 2] == words(text)["input_ids"]


@kinds
def test_marks_that_are_meant_stand_among_those_that_are_not(kind: str) -> None:
    """As with another word of as many letters in the place of the written mark, which is split the same way."""
    words = fast(kind)
    tokens, image = Tokens(words, ("<image>",)), words.convert_tokens_to_ids("<image>")
    parts = [Control("<image>" * 3), " is </s> this ", Control("<image>"), " <image>?"]
    made = tokens.ids(parts, WHOSE)
    places = [place for place, number in enumerate(made) if number == image]
    assert len(places) == 4
    assert places[:3] == [0, 1, 2]
    assert words.eos_token_id not in made
    harmless = [Control("<image>" * 3), " is this ", Control("<image>"), " ?"]
    assert tokens.ids(harmless, WHOSE) == words("".join(harmless), add_special_tokens=False)["input_ids"]


def test_half_a_character_is_named() -> None:
    with pytest.raises(FedloomError, match=r"example 'e0': its text holds '\\ud83d', half of a character"):
        Tokens(fast("bytes")).ids(["a \ud83d smile"], WHOSE)


def test_a_mark_that_cannot_be_told_apart_is_refused() -> None:
    """Full-width letters that a normaliser makes into the mark's own, where marks are looked for behind it."""
    words = fast("unigram")
    assert words.convert_tokens_to_ids("</s>") not in Tokens(words).ids(["yes\uff1c/s\uff1e"], WHOSE)


def test_a_word_level_tokenizer_knows_a_mark_only_as_a_mark() -> None:
    words = fast("words")
    assert Tokens(words).ids(["cat </s> dog"], WHOSE) == [
        words.convert_tokens_to_ids(token) for token in ("cat", "<unk>", "<unk>", "<unk>", "dog")
    ]
