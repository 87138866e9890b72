"""icons-memes: picture and caption each alone are at chance, together they tell."""

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from fedloom.core import resolve
from fedloom.core.contracts import Answered, Data, Sample
from fedloom.core.errors import FedloomError
from fedloom.tasks._icons.words import nouns, plural, spoken

Feature = Callable[[Sample], Hashable]


@pytest.fixture(scope="module")
def data() -> Data:
    loaded: Data = resolve.build("tasks", "icons-memes", {}).load()
    return loaded


def lookup(data: Data, feature: Feature) -> float:
    """Accuracy on the test half of the majority label that the training half has for each value of a feature."""
    votes: dict[Hashable, Counter[str]] = defaultdict(Counter)
    for sample in data.train:
        votes[feature(sample)][sample.answer] += 1
    return sum(_majority(votes[feature(s)]) == s.answer for s in data.test) / len(data.test)


def _majority(votes: Counter[str]) -> str:
    return "mean" if votes["mean"] > votes["kind"] else "kind"


def linear(data: Data, vector: Callable[[Sample], np.ndarray]) -> float:
    """Accuracy on the test half of a ridge regression on the training half."""
    train, test = (np.stack([vector(s) for s in half]) for half in (data.train, data.test))
    mean = train.mean(axis=0)
    signs = np.array([1.0 if s.answer == "kind" else -1.0 for s in data.train])
    gram = (train - mean).T @ (train - mean) + 10.0 * np.eye(train.shape[1])
    scores = (test - mean) @ np.linalg.solve(gram, (train - mean).T @ signs)
    return float(np.mean([(score > 0) == (s.answer == "kind") for score, s in zip(scores, data.test, strict=True)]))


def picture(sample: Sample) -> Image.Image:
    assert sample.images
    (image,) = sample.images
    assert isinstance(image, Image.Image)
    return image


def caption(sample: Sample) -> str:
    assert sample.text
    return sample.text


def called(sample: Sample) -> str:
    """The thing that a caption names."""
    fits = [
        thing
        for thing in nouns(sample.meta["pack"])
        if spoken(thing) in caption(sample) or plural(thing) in caption(sample)
    ]
    return max(fits, key=len)


def shown(data: Data) -> dict[bytes, str]:
    """Picture -> the thing it shows, which the kind memes tell."""
    return {picture(s).tobytes(): called(s) for s in (*data.train, *data.test) if s.answer == "kind"}


def test_one_modality_is_at_chance_and_both_together_tell(data: Data) -> None:
    things = shown(data)
    thing: Feature = lambda s: things[picture(s).tobytes()]  # noqa: E731
    alone = {
        "the picture itself": lookup(data, lambda s: picture(s).tobytes()),
        "the thing shown": lookup(data, thing),
        "the caption itself": lookup(data, caption),
        "the thing called for": lookup(data, called),
        "the pixels": linear(data, lambda s: np.asarray(picture(s).resize((16, 16)), dtype=float).ravel() / 255),
        "the words": linear(data, _words(data)),
    }
    both = lookup(data, lambda s: called(s) == thing(s))
    assert both == 1.0
    assert all(0.45 <= accuracy <= 0.55 for accuracy in alone.values()), alone


def _words(data: Data) -> Callable[[Sample], np.ndarray]:
    index = {word: i for i, word in enumerate(sorted({w for s in data.train for w in caption(s).split()}))}

    def vector(sample: Sample) -> np.ndarray:
        counts = np.zeros(len(index))
        for word in caption(sample).split():
            if word in index:
                counts[index[word]] += 1
        return counts

    return vector


def test_classes_and_packs_are_balanced(data: Data) -> None:
    for half in (data.train, data.test):
        assert len(set(Counter((s.meta["pack"], s.answer) for s in half).values())) == 1


def test_sizes_that_are_no_fours_are_refused() -> None:
    with pytest.raises(FedloomError, match=r"train.*multiple of 4"):
        resolve.build("tasks", "icons-memes", {"train": 10})


def test_the_wording_adds_a_sentence_and_changes_nothing_else() -> None:
    plain, named, agnostic = (
        resolve.build("tasks", "icons-memes", {"train": 4, "test": 4} | more)
        for more in ({}, {"wording": "named"}, {"wording": "agnostic"})
    )
    meme = plain.load().train[0]
    before = plain.word(meme)
    assert before.prompt == f'<image>\n"{meme.text}" Question: Is this meme kind or mean? Choices: kind, mean. Answer:'
    for task, sentence in (
        (named, "Judge by the image and the text."),
        (agnostic, "Judge without regard to modality."),
    ):
        found = task.word(meme)
        assert found.prompt == before.prompt.replace("<image>\n", f"<image>\n{sentence} ")
        assert replace(found, prompt=before.prompt) == before
    alone = named.word(replace(meme, images=None))
    assert alone.prompt.startswith(f'Judge by the text. "{meme.text}" Question')


def test_the_figures_of_hateful_memes_are_there_beside_the_accuracy() -> None:
    task = resolve.build("tasks", "icons-memes", {"train": 4, "test": 4})
    memes = task.load().test  # kind, mean, mean, kind
    assert [meme.answer for meme in memes] == ["kind", "mean", "mean", "kind"]
    found = [
        Answered(answer, answer, task.score(meme, answer), (1 - share, share))
        for meme, answer, share in zip(memes, ["kind", "mean", "kind", "kind"], [0.1, 0.9, 0.4, 0.4], strict=True)
    ]
    assert task.metrics["AUC"](memes, found) == 0.75
    assert task.metrics["soft AUC"](memes, found) == 3.5 / 4
