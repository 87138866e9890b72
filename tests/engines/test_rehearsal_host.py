"""A rehearsal whose language model is at a host of its own: in a file apart, so that it runs beside the others."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("flwr")

from fedloom import engines
from fedloom.deploy.loopback import Kill
from tests.engines.noted import Noted
from tests.split import shown

pytestmark = pytest.mark.usefixtures("own_code")

EPOCHS = 30
"""Long enough a turn for a host to be killed in."""


def test_a_language_models_host_is_killed_and_the_result_is_what_it_would_have_been(
    tiny: Callable[[str], Path], tmp_path: Path
) -> None:
    """Three sites without a language model, a host, a SuperLink, all as processes; the local engine has it in place."""
    sets = ["split.wire=low-rank", "method=fednano", f"client.epochs={EPOCHS}"]
    whole = engines.run(shown.experiment(tiny("llava"), *sets), tmp_path / "local")
    watch = Noted()
    experiment = shown.experiment(tiny("llava"), *sets, "engine.name=flower", "engine.patience=150.0")
    result = engines.run(experiment, tmp_path / "run", watch=watch, kills=[Kill.parse("host@2", 3)])
    ours, theirs = (tmp_path / name / "adapter" / "adapter_model.safetensors" for name in ("local", "run"))
    assert ours.read_bytes() == theirs.read_bytes()
    assert (result["final"], result["left_out"]) == (whole["final"], [])
    assert "round 2: host is killed" in watch.told
    assert "the language model's host is started again" in watch.told
    # Over the wire a request names the model that it means: 64 characters. A turn is so many epochs of 2 steps, a look
    # at an example after the last of them, and F of 4 examples.
    # What the host had held of an example was sent once more, and no more.
    named, (first, second), (answered, _) = (
        64 * (EPOCHS * 2 + 1 + 4),
        more(tmp_path, "split_up"),
        more(tmp_path, "split_down"),
    )
    assert (first, answered) == ([named] * 3, [0] * 3)
    assert 0 < max(second) - named < 20_000  # rows of 4 examples, and the requests without them


def more(folder: Path, way: str) -> list[list[int]]:
    """Bytes of each turn to or from the language model in ``run`` more than in ``local``, round by round."""
    files = [folder / name / "clients.jsonl" for name in ("local", "run")]
    turns = [[json.loads(line) for line in file.read_text().splitlines()] for file in files]
    sent = [{(turn["round"], turn["client"]): turn[way] for turn in found} for found in turns]
    return [[sent[1][turn] - sent[0][turn] for turn in sorted(sent[0]) if turn[0] == number] for number in (1, 2)]
