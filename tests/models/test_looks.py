"""Between two batches of answers a backbone looks whether it may go on."""

from collections.abc import Callable
from pathlib import Path

import pytest

from fedloom.core import limits
from tests.core.test_limits import Counter
from tests.models.backbones import backbone, examples


@pytest.mark.parametrize("kind", ["clip", "llava"])
def test_it_looks_before_every_batch_of_answers(kind: str, tiny: Callable[[str], Path]) -> None:
    model, meter = backbone(tiny(kind), answer_batch=2), Counter()
    with limits.metered(meter):
        model.answer(examples(5))
    assert meter.ticks == 3
