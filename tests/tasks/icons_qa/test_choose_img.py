"""icons-qa/choose_img: the choices are letters, one a picture."""

from PIL import Image

from fedloom.core.contracts import Sample
from fedloom.tasks.icons_qa.choose_img import word


def test_words_a_letter_for_each_picture() -> None:
    first, second, third = (Image.new("RGB", (4, 4), colour) for colour in ("red", "green", "blue"))
    sample = Sample("1", (first,), None, "Which picture comes next?", ("A", "B"), "B", (second, third))
    example = word(sample)
    assert example.prompt == "<image>\nQuestion: Which picture comes next? A: <image> B: <image> Answer:"
    assert example.images == (first, second, third)
    assert (example.choices, example.answer) == (("A", "B"), "B")
