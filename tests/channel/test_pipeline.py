import pytest
import torch

from fedloom.channel import Channel, Stage, pipeline
from fedloom.core.errors import FedloomError


def scale(factor: float) -> Stage:
    """A stage of a user's own, which also counts its turns in the sender's state."""

    def encode(tree, state):  # type: ignore[no-untyped-def]
        state["turns"] = state.get("turns", torch.tensor(0)) + 1
        return {key: tensor * factor for key, tensor in tree.items()}

    return Stage("scale", 0.0, encode, lambda tree: {key: tensor / factor for key, tensor in tree.items()})


def add(amount: float) -> Stage:
    return Stage(
        "add",
        0.0,
        lambda tree, state: {key: tensor + amount for key, tensor in tree.items()},
        lambda tree: {key: tensor - amount for key, tensor in tree.items()},
    )


def test_empty_is_the_identity() -> None:
    tree = {"a": torch.ones(2)}
    assert pipeline([]).decode(pipeline([]).encode(tree)) == tree


def test_stages_are_undone_in_reverse() -> None:
    channel = Channel({"scale:2": scale(2), "add:1": add(1)})
    sent = channel.encode({"a": torch.tensor([3.0])})
    assert sent["a"].item() == 7.0  # 3 * 2 + 1
    assert channel.decode(sent)["a"].item() == 3.0  # (7 - 1) / 2


def test_state_lives_with_the_sender() -> None:
    channel, state = Channel({"scale:2": scale(2)}), {}
    channel.encode({"a": torch.ones(1)}, state)
    channel.encode({"a": torch.ones(1)}, state)
    assert state["scale:2"]["turns"].item() == 2


def test_arguments_stand_after_the_colon(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:  # type: ignore[no-untyped-def]
    source = "from fedloom.channel import Stage\ndef mine(x: float, n: int = 1):\n"
    (tmp_path / "mypack").mkdir()
    stage_file = tmp_path / "mypack" / "stages.py"
    stage_file.write_text(source + "    return Stage('k', x * n, lambda t, s: t, lambda t: t)\n")
    monkeypatch.syspath_prepend(tmp_path)
    (stage,) = pipeline(["mypack.stages:mine:0.5,3"]).stages.values()
    assert stage.error == 1.5
    with pytest.raises(FedloomError, match=r"takes 2 argument\(s\) \(x, n\), got 3"):
        pipeline(["mypack.stages:mine:1,2,3"])
    with pytest.raises(FedloomError, match="got 'much'"):
        pipeline(["mypack.stages:mine:much"])


def test_unknown_stage_answers_with_the_nearest() -> None:
    with pytest.raises(FedloomError, match="Did you mean 'fp16'"):
        pipeline(["fp17"])


def test_two_formats_exclude_each_other() -> None:
    with pytest.raises(FedloomError, match="'fp16' and 'bf16' both set the format"):
        pipeline(["fp16", "bf16"])
