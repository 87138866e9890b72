import pytest
import torch
from torch import Tensor

from fedloom.channel import Channel, Stage, pipeline
from fedloom.channel._stage import Coded, Shapes
from fedloom.core.errors import FedloomError

STAGE = """
from fedloom.channel._stage import Coded, Stage
def mine(x: float, n: int = 1):
    return Stage("format", x * n, lambda v, shapes, seed: Coded(v), lambda coded, shapes: coded.values)
"""


def scale(factor: float) -> Stage:
    return Stage("mask", 0.1, lambda v, shapes, seed: Coded(v * factor), lambda coded, shapes: coded.values / factor)


def add(amount: float) -> Stage:
    return Stage("format", 0.1, lambda v, shapes, seed: Coded(v + amount), lambda coded, shapes: coded.values - amount)


def first(count: int) -> Stage:
    """Sends the first numbers alone, and their sum besides."""

    def encode(values: Tensor, shapes: Shapes, seed: int) -> Coded:
        return Coded(values[:count], {"sum": values.sum().reshape(1)})

    def decode(coded: Coded, shapes: Shapes) -> Tensor:
        filled = torch.full((sum(torch.Size(shape).numel() for shape in shapes) - count,), float(coded.parts["sum"]))
        return torch.cat([coded.values, filled])

    return Stage("mask", 1.0, encode, decode, shapes=lambda before: ((count,),), change=True)


def test_empty_is_the_identity() -> None:
    tree = {"a": torch.ones(2)}
    assert pipeline([]).decode(pipeline([]).encode(tree, {}), {}) == tree


def test_stages_are_undone_in_reverse() -> None:
    channel, tree = Channel({"scale:2": scale(2), "add:1": add(1)}), {"a": torch.tensor([3.0])}
    sent = channel.encode(tree, tree)
    assert sent["values"].item() == 7.0  # 3 * 2 + 1
    assert channel.decode(sent, tree)["a"].item() == 3.0  # (7 - 1) / 2


def test_a_tree_is_one_vector_in_the_order_of_its_names() -> None:
    tree = {"b": torch.tensor([[3.0, 4.0]]), "a": torch.tensor([1.0, 2.0]), "n": torch.tensor(7)}
    channel = Channel({"first:3": first(3)})
    sent = channel.encode(tree, tree, change=True)
    assert {name: value.tolist() for name, value in sent.items()} == {
        "values": [1.0, 2.0, 3.0],
        "mask.sum": [10.0],
        "exact.n": 7,
    }
    back = channel.decode(sent, tree, change=True)
    assert back["a"].tolist() == [1.0, 2.0]
    assert back["b"].tolist() == [[3.0, 10.0]]


def test_stages_for_changes_pass_by_what_is_none() -> None:
    tree = {"a": torch.arange(4.0)}
    channel = Channel({"first:3": first(3), "add:1": add(1)})
    assert channel.encode(tree, tree)["values"].tolist() == [1.0, 2.0, 3.0, 4.0]
    assert channel.decode(channel.encode(tree, tree), tree)["a"].tolist() == [0.0, 1.0, 2.0, 3.0]
    assert Channel({"first:3": first(3)}).encode(tree, tree) is tree


def test_names_and_shapes_travel_only_where_the_receiver_lacks_them() -> None:
    channel, tree = pipeline(["fp16"]), {"a": torch.ones(2, 3, dtype=torch.bfloat16)}
    assert "layout" not in channel.encode(tree, tree)
    sent = channel.encode(tree, {"b": torch.ones(6)})
    back = channel.decode(sent, {"b": torch.ones(6)})
    assert back["a"].shape == (2, 3)
    assert back["a"].dtype == torch.bfloat16


F32 = '"torch.float32"'


@pytest.mark.parametrize(
    "text",
    [
        *("", "[", "5", '[["a"]]', '[["a","pickle",[6]]]', f'[["a",{F32},[-6]]]'),
        f'[["a",{F32},[{10**30}]]]',
        f'[["a",{F32},[{2**62},{2**62}]]]',
        f'[["a",{F32},[{2**39},-1]]]',
        f'[["a",{F32},[3]],["a",{F32},[3]]]',
    ],
)
def test_a_layout_that_is_none_is_refused(text: str) -> None:
    channel = pipeline(["fp16"])
    sent = {
        "values": torch.ones(6, dtype=torch.float16),
        "layout": torch.tensor(list(text.encode()), dtype=torch.uint8),
    }
    with pytest.raises(FedloomError, match="'layout' is no list"):
        channel.decode(sent, {})


def test_a_change_to_other_tensors_is_refused() -> None:
    tree, other = {"a": torch.ones(6)}, {"b": torch.ones(6)}
    channel = pipeline(["fp16"])
    with pytest.raises(FedloomError, match="other names or shapes"):
        channel.decode(channel.encode(tree, other, change=True), other, change=True)


def test_arguments_stand_after_the_colon(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "mypack").mkdir()
    (tmp_path / "mypack" / "stages.py").write_text(STAGE)
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


class TestWhatIsRefused:
    def test_two_formats(self) -> None:
        with pytest.raises(FedloomError, match="'fp16' and 'bf16' both set the format"):
            pipeline(["fp16", "bf16"])

    def test_an_order_that_leaves_nothing_to_work_on(self) -> None:
        with pytest.raises(FedloomError, match=r"'feedback' \(kind memory\) comes after 'fp16' \(kind format\)"):
            pipeline(["fp16", "feedback"])

    def test_a_change_on_its_way_down(self) -> None:
        with pytest.raises(FedloomError, match=r"channel.down: 'feedback' codes the change"):
            pipeline(["feedback", "fp16"], down=True)

    def test_feedback_of_nothing(self) -> None:
        with pytest.raises(FedloomError, match="nothing to feed back"):
            pipeline(["feedback"])
