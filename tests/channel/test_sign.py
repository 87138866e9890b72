import torch

from fedloom.channel import pipeline


def test_a_bit_a_number_and_the_mean_magnitude_of_each_tensor() -> None:
    channel = pipeline(["sign"])
    tree = {"a": torch.tensor([[1.0, -2.0], [0.0, 5.0]]), "b": torch.tensor([-3.0, -1.0, -0.0])}
    sent = channel.encode(tree, tree, change=True)
    assert sent["values"].tolist() == [0b1001101]  # + - + +, then - - +; the first is the lowest bit
    torch.testing.assert_close(sent["format.scales"], torch.tensor([8 / 4, 4 / 3]))
    back = channel.decode(sent, tree, change=True)
    assert back["a"].tolist() == [[2.0, -2.0], [2.0, 2.0]]
    torch.testing.assert_close(back["b"], torch.tensor([-4 / 3, -4 / 3, 4 / 3]))


def test_after_a_mask_each_group_has_its_own_scale() -> None:
    channel = pipeline(["topk:0.5", "sign"])
    tree = {"a": torch.tensor([1.0, -9.0, 7.0, 0.0]), "b": torch.tensor([0.1, -0.3])}
    back = channel.decode(channel.encode(tree, tree, change=True), tree, change=True)
    assert back["a"].tolist() == [0.0, -8.0, 8.0, 0.0]
    torch.testing.assert_close(back["b"], torch.tensor([0.0, -0.3]))


def test_two_steps_of_ef_signsgd_by_hand() -> None:
    # arXiv 1901.09847, Algorithm 1: p = change + e, sent = mean|p| sign(p), e = p - sent
    channel, memory = pipeline(["feedback", "sign"]), torch.zeros(2)
    for change, sent, left in (([3.0, -1.0], [2.0, -2.0], [1.0, 1.0]), ([0.0, 3.0], [2.5, 2.5], [-1.5, 1.5])):
        tree = {"a": torch.tensor(change) + memory}
        back = channel.decode(channel.encode(tree, tree, change=True), tree, change=True)["a"]
        memory = tree["a"] - back
        assert back.tolist() == sent
        assert memory.tolist() == left
