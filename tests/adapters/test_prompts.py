"""A learnt context against the model that reads the same words itself."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from fedloom.core.errors import FedloomError
from tests.adapters.kinds import CONTRASTIVE, Tiny, moved, tuned
from tests.models.backbones import backbone, examples

both = pytest.mark.parametrize("model", CONTRASTIVE)
WORDS = {"options": {"words": "a photo of a"}}


@both
def test_begun_with_words_it_reads_what_the_model_itself_reads(model: str, tiny: Tiny) -> None:
    """``[a photo of a] [CLASS].`` is ``a photo of a {class}.``, to the bit."""
    made, plain = tuned("prompts", tiny(model), WORDS), backbone(tiny(model), adapter={"rank": 1})
    said = [replace(e, caption="a photo of a {}.") for e in examples()]
    assert made.read()["prompts.context"].shape == (4, 16)
    with torch.no_grad():
        assert torch.equal(made.loss(made.collate(examples())), plain.loss(plain.collate(said)))
    assert made.answer(examples(8)) == plain.answer([replace(e, caption="a photo of a {}.") for e in examples(8)])


def test_a_class_is_read_as_in_the_sentence_by_a_tokenizer_that_knows_spaces() -> None:
    """A byte-level BPE has other pieces for a word that no space stands before."""
    made = tuned("prompts", Path("nano-clip"), {"options": {"words": "an icon of a"}})
    plain = backbone(Path("nano-clip"), adapter={"rank": 1})
    names = ("cat", "paper airplane", "bell")
    asked = [replace(e, choices=names, answer=names[n % 3]) for n, e in enumerate(examples())]
    said = [replace(e, caption="an icon of a {}.") for e in asked]
    with torch.no_grad():
        assert torch.equal(made.loss(made.collate(asked)), plain.loss(plain.collate(said)))


@both
def test_the_same_vectors_written_into_a_drawn_context(model: str, tiny: Tiny) -> None:
    made, begun = tuned("prompts", tiny(model), {"options": {"length": 4}}), tuned("prompts", tiny(model), WORDS)
    assert abs(float(made.read()["prompts.context"].std()) - 0.02) < 0.005
    with torch.no_grad():
        batch = made.collate(examples())
        assert not torch.equal(made.loss(batch), begun.loss(batch))
        made.write(begun.read())
        assert torch.equal(made.loss(batch), begun.loss(batch))


@both
def test_its_gradient_is_that_of_the_embeddings_of_these_places(model: str, tiny: Tiny) -> None:
    """By hand: the plain text tower on embeddings, of which the context's are a leaf."""
    made, plain = tuned("prompts", tiny(model)), backbone(tiny(model), adapter={"rank": 1})
    tree = moved(made.read(), size=0.3)
    made.write(tree)
    made.loss(made.collate(examples())).mean().backward()
    context = tree["prompts.context"].clone().requires_grad_()
    table = plain._model.text_model.get_input_embeddings()
    skipped = int(model == "clip")  # its beginning mark

    def put(module: torch.nn.Module, given: object, out: torch.Tensor) -> torch.Tensor:
        before, after = out[:, :skipped], out[:, skipped + 3 :]
        return torch.cat([before, context.expand(len(out), -1, -1), after], dim=1)

    table.register_forward_hook(put)
    said = [replace(e, caption="dog dog dog {}.") for e in examples()]  # three tokens, which are put out
    plain.loss(plain.collate(said)).mean().backward()
    torch.testing.assert_close(made.leaves()["prompts.context"].grad, context.grad)


def test_more_than_the_tower_reads_is_refused(tiny: Tiny) -> None:
    with pytest.raises(
        FedloomError, match=r"adapter.length = 14: .* reads 16 tokens, .* take 13. Lower adapter.length"
    ):
        tuned("prompts", tiny("siglip"), {"options": {"length": 14}})
    with pytest.raises(FedloomError, match=r"adapter.words = .*, 15 tokens: .* Shorten adapter.words"):
        tuned("prompts", tiny("siglip"), {"options": {"words": "photo " * 15}})
    with pytest.raises(FedloomError, match=r"adapter.words = ' ': the text tower reads no token of it"):
        tuned("prompts", tiny("siglip"), {"options": {"words": " "}})


def test_words_decide_its_length_and_not_the_other_option(tiny: Tiny) -> None:
    """The default, 16, is more than this tower reads."""
    made = tuned("prompts", tiny("siglip"), WORDS)
    assert made._adapter.context == 4


def test_names_that_the_context_leaves_no_room_for_are_refused(tiny: Tiny) -> None:
    made = tuned("prompts", tiny("siglip"), {"options": {"length": 13}})
    made.check(examples(1), True)
    alike = replace(examples(1)[0], choices=("red green blue cat", "red green blue dog"), answer="red green blue cat")
    with pytest.raises(FedloomError, match=r"'e0' \(a text tower that reads 16 tokens\): its choices .* same"):
        made.check([alike], True)
