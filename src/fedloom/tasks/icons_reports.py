"""icons-reports: which office is a report for? Its picture tells in some cases, its sentence in others.

The public data sets of two modalities are like that: each modality tells a part, and some examples are told by either.
Of the examples

    37%  the picture alone tells,      37%  the sentence alone tells,      23%  both tell,      3%  nothing tells

so whoever sees pictures alone knows 60% of them, and sentences alone 60%, and both 97%. Of the rest one in six is
guessed: 67%, 67% and 97.5%. A part that does not tell is drawn from things and words that stand for no office.
"""

from functools import partial
from typing import Annotated

from pydantic import Field

from fedloom.core import limits
from fedloom.core.contracts import Data, Example, Sample, Task
from fedloom.core.seeds import Seeds
from fedloom.tasks._common import Wording, asked, basis, check_names, exact, literal, offered, prompt
from fedloom.tasks._icons import reports
from fedloom.tasks._icons.scene import draw

Count = Annotated[int, Field(ge=6)]

NAME = "icons-reports"
QUESTION = "Which office is it for?"
CHOICES = tuple(reports.OFFICES)


def icons_reports(
    train: Count = 1200,
    test: Count = 600,
    packs: tuple[str, ...] = reports.PACKS,
    wording: Wording = "plain",
    seed: int = 0,
) -> Task:
    """Send reports to one of six offices: picture and sentence tell each of some 60% of them, together of 97%.

    ``packs``: the icon packs that pictures are drawn from, at most the private ones with enough things of every office.
    The six offices are as frequent as one another in every pack where its share is a multiple of six (``train`` and
    ``test`` multiples of 42 with all seven packs); else the first ones have one example more. ``wording``: whether
    prompts name the modalities that are there (``named``), say that modality does not matter (``agnostic``), or
    neither.

    Raises:
        FedloomError: an unknown pack, or one that draws too few things of an office.
    """
    check_names(NAME, "packs", packs, reports.PACKS)

    def load() -> Data:
        return Data(_half("train", train, packs, seed), _half("test", test, packs, seed))

    return Task(NAME, "accuracy", load, partial(word, wording=wording), exact, lambda: CHOICES)


def word(sample: Sample, wording: Wording = "plain") -> Example:
    """``<image>\\n"sentence" Question: Which office is it for? Choices: sun, ... . Answer:``."""
    images = sample.images or ()
    quoted = f'"{sample.text}"' if sample.text else None
    text = prompt(len(images), quoted, basis(sample, wording), asked(sample.question), offered(sample.choices))
    caption = f"a report for {{}}: {literal(sample.text)}" if sample.text else "a report for {}"
    return Example(sample.id, images, text, sample.choices, sample.answer, caption)


def _half(half: str, size: int, packs: tuple[str, ...], seed: int) -> tuple[Sample, ...]:
    """``size`` reports, dealt evenly over the packs and within each over the offices."""
    limits.draw(size)
    samples: list[Sample] = []
    for number in range(size):
        limits.tick()
        pack, turn = packs[number % len(packs)], number // len(packs)
        drawn = reports.report(
            Seeds(seed).numpy(f"tasks/{NAME}/{half}/{pack}/{turn}"), pack, CHOICES[turn % len(CHOICES)]
        )
        samples.append(
            Sample(
                id=f"{half}-{pack}-{turn}",
                images=(draw(drawn.scene),),
                text=drawn.text,
                question=QUESTION,
                choices=CHOICES,
                answer=drawn.office,
                meta={"pack": pack, "label": drawn.office, "tells": drawn.tells},
            )
        )
    return tuple(samples)
