"""What every page is made with: its templates, which escape whatever other people wrote."""

from jinja2 import Environment, PackageLoader, StrictUndefined

from fedloom.core.contracts import IMAGE
from fedloom.report import words


def environment() -> Environment:
    """The templates of this package, with the words for numbers as filters."""
    made = Environment(
        loader=PackageLoader("fedloom.report"),
        autoescape=True,  # names, questions and answers are other people's data
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(
        score=words.score,
        size=words.size,
        duration=words.duration,
        number=words.number,
        unmarked=_unmarked,
        part=words.part,
        client=words.client,
        date=words.date,
    )
    return made


def _unmarked(prompt: str) -> str:
    """A prompt without the marks where its pictures stand."""
    return prompt.replace(IMAGE, "").strip()
