"""What a plan shows: every part in its place, sums, and what was assumed."""

import io
from dataclasses import replace

from rich.console import Console

from fedloom.planning.plan import Plan, Round, Turn
from fedloom.report.plan import shown
from fedloom.report.words import MISSING

FIRST = Round(1, [Turn(4, 3, {"header": 96}, {"header": 104, "adapter": 2000})], {"header": 288}, {"adapter": 6312})
LATER = Round(
    2,
    [Turn(4, 3, {"header": 100, "adapter": 2000}, {"header": 104, "adapter": 2000})],
    {"header": 300, "adapter": 6000},
    {"header": 312, "adapter": 6000},
)
PLAN = Plan(
    model="nano-vlm",
    method="fedavg",
    rounds_in_all=5,
    clients_in_all=3,
    parameters={"total": 1000, "trained": 50, "shared": 25},
    rounds=[FIRST, LATER],
    client={"weights": 4000, "gradients": 200},
    server={"weights": 4000, "state": 1000},
    machine=9_000,
    workers=2,
    kept=0,
    notes=["[assumed] of a text"],
)


def lines(plan: Plan) -> list[list[str]]:
    """The words of each line, without the tables' frames."""
    console = Console(width=100, file=io.StringIO())
    with console.capture() as capture:
        console.print(shown(plan))
    return [line.translate(dict.fromkeys(map(ord, "│┃"), " ")).split() for line in capture.get().splitlines()]


def test_bytes_stand_by_part_and_round_for_one_client_and_for_the_cohort() -> None:
    found = lines(PLAN)
    assert ["header", "96", "B", "104", "B", "100", "B", "104", "B"] in found
    assert ["adapter", MISSING, "2.0", "kB", "2.0", "kB", "2.0", "kB"] in found
    assert ["total", "96", "B", "2.1", "kB", "2.1", "kB", "2.1", "kB"] in found
    assert ["cohort", "of", "3"] in found
    assert ["total", "288", "B", "6.3", "kB", "6.3", "kB", "6.3", "kB"] in found
    # 288 + 6312 + 4 (300 + 6000 + 312 + 6000)
    assert ["5", "rounds:", "57.0", "kB", "in", "all,", "if", "later", "ones", "are", "as", "round", "2"] in found


def test_memory_adds_up_and_parameters_have_their_share() -> None:
    found = lines(PLAN)
    assert ["trained", "50", "5%"] in found
    assert ["shared", "25", "2.5%"] in found
    assert ["gradients", "200", "B", MISSING] in found
    assert ["total", "4.2", "kB", "5.0", "kB"] in found
    assert ["one", "machine", "that", "runs", "it", "all,", "2", "workers:", "9.0", "kB"] in found
    assert ["-", "[assumed]", "of", "a", "text"] in found


def test_rounds_that_are_alike_are_shown_once() -> None:
    found = lines(replace(PLAN, rounds=[replace(LATER, number=1), LATER], rounds_in_all=2))
    assert ["rounds", "1,", "2", "rounds", "1,", "2"] in found
    assert ["2", "rounds:", "25.2", "kB", "in", "all"] in found


def test_clients_of_several_ranks_are_told_apart() -> None:
    both = replace(LATER, turns=[*LATER.turns, Turn(8, 1, {"header": 1}, {"header": 2})])
    found = lines(replace(PLAN, rounds=[FIRST, both]))
    assert ["one", "client", "of", "rank", "8"] in found
    assert ["header", MISSING, MISSING, "1", "B", "2", "B"] in found
    assert ["whole", "cohort"] in found


def test_one_round_of_several_says_nothing_of_the_whole_run() -> None:
    assert not any("later" in line for line in lines(replace(PLAN, rounds=[FIRST])))
