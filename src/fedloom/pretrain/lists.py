"""Lists: many short answers about one picture in one text, each right after it is asked for.

The signal of a caption with the form of an answer: every item of a list has something to learn.
"""

from collections.abc import Iterable

from fedloom.core.contracts import IMAGE, Example
from fedloom.core.passage import IGNORE
from fedloom.models.language.sequences import Words

Items = list[tuple[str, str]]
"""What is read, and the answer that is learnt."""


def spell(
    words: Words, example: Example, items: Iterable[tuple[str, str]], patches: int
) -> tuple[list[int], list[int]]:
    """Tokens of the list that follows the example's prompt, and its targets: the answers alone.

    ``patches``: image tokens of the example's picture.
    """
    tokens = list(words.prompt(example, [IMAGE * patches]))
    wanted = [IGNORE] * len(tokens)
    for read, answer in items:
        before = words.answer(Example(example.id, (), '"', (), ""), read)
        learnt = words.answer(Example(example.id, (), read, (), ""), answer)
        tokens += [*before, *learnt]
        wanted += [*[IGNORE] * len(before), *learnt]
    return tokens, wanted
