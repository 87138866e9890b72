"""A task of six drawn questions of two skills, one of which needs both."""

from PIL import Image

from fedloom.core.contracts import IMAGE, Data, Example, Sample, Task

SKILLS = ("counting", "time", "counting+time", "time", "counting", "time")


def asked(kind: str = "left") -> Task:
    """The questions ``<kind>-0`` to ``<kind>-5``, whose answers are ``a`` or ``b`` by turns."""

    def load() -> Data:
        test = tuple(
            Sample(
                f"{kind}-{n}",
                (Image.new("RGB", (8, 8), (40 * n, 0, 0)),),
                None,
                f"Which is {n}?",
                ("a", "b"),
                "ab"[n % 2],
                meta={"skill": skill, "label": "ab"[n % 2]},
            )
            for n, skill in enumerate(SKILLS)
        )
        return Data(test[:1], test)

    def word(sample: Sample) -> Example:
        return Example(sample.id, sample.images or (), f"{IMAGE} {sample.question}", sample.choices, sample.answer)

    return Task("asked", "accuracy", load, word, lambda sample, answer: float(answer == sample.answer))
