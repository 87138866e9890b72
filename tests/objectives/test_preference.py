from math import exp, log

import pytest
import torch

from fedloom.core.errors import FedloomError
from fedloom.objectives.preference import preference
from tests.objectives.fixed import Fixed, example


def outputs(now: list[list[float]], before: list[list[float]], counts: list[list[int]]) -> Fixed:
    given = tuple(example("yes", rejected="no", id=str(row)) for row in range(len(now[0])))
    sums = torch.tensor(now, requires_grad=True)
    return Fixed(given, sums=sums, before=torch.tensor(before), counts=torch.tensor(counts))


def test_it_is_log_two_where_nothing_was_learned() -> None:
    same = [[-1.0, -2.0], [-3.0, -0.5]]
    losses = preference().loss(outputs(same, same, [[2, 2], [3, 3]]))
    torch.testing.assert_close(losses, torch.tensor([log(2), log(2)]))


def test_equation_seven_by_hand() -> None:
    """Margins: (-1 + 3) - (-4 + 3) = 3 and (-2 + 1) - (-1 + 2) = -2, times a beta of 0.5."""
    given = outputs([[-1.0, -2.0], [-4.0, -1.0]], [[-3.0, -1.0], [-3.0, -2.0]], [[2, 4], [3, 3]])
    losses = preference(beta=0.5).loss(given)
    torch.testing.assert_close(losses, torch.tensor([log(1 + exp(-1.5)), log(1 + exp(1.0))]))
    losses.sum().backward()
    # -beta sigmoid(-beta margin) for the answer, and the opposite for the rejected one
    slopes = torch.tensor([0.5 / (1 + exp(1.5)), 0.5 / (1 + exp(-1.0))])
    assert given.sums is not None
    torch.testing.assert_close(given.sums.grad, torch.stack([-slopes, slopes]))


def test_the_answers_own_likelihood_by_its_length() -> None:
    given = outputs([[-1.0, -2.0], [-4.0, -1.0]], [[-1.0, -2.0], [-4.0, -1.0]], [[2, 4], [3, 3]])
    losses = preference(normalised=0.2).loss(given)
    torch.testing.assert_close(losses, torch.tensor([log(2) + 0.2 * 1 / 2, log(2) + 0.2 * 2 / 4]))


def test_a_wrong_choice_is_the_one_after_the_right_one() -> None:
    letters = ("a", "b", "c")
    texts = preference(rejected="choice").texts
    assert [texts(example(right, letters)) for right in letters] == [("b",), ("c",), ("a",)]


def test_what_cannot_be_preferred_is_refused() -> None:
    given, choice = preference(), preference(rejected="choice")
    given.check([example("yes", rejected="no")])
    choice.check([example("a", ("a", "b"))])
    with pytest.raises(FedloomError, match=r"example 'x' has no rejected answer.*Sample.rejected"):
        given.check([example("yes", rejected="no"), example(id="x")])
    with pytest.raises(FedloomError, match=r"or set objective.rejected = 'choice'"):
        given.check([example("a", ("a", "b"))])
    with pytest.raises(FedloomError, match=r"example 'x' rejects its own answer, 'yes'"):
        given.check([example("yes", rejected="yes", id="x")])
    for few in ((), ("a",)):
        with pytest.raises(FedloomError, match=r"objective.rejected = 'choice': example 'x' has no wrong choice"):
            choice.check([example("a", few, id="x")])
    assert given.texts(example("yes", rejected="no")) == ("no",)
