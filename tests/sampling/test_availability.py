"""Who is there, by hand."""

import tomllib
from pathlib import Path
from typing import Any

import pytest

from fedloom.core import config, resolve
from fedloom.core.contracts import ClientInfo, Sampler
from fedloom.core.errors import FedloomError
from fedloom.core.seeds import Seeds

CLIENTS = [ClientInfo(name, 1, 1) for name in ("mercy", "lakeside", "hill", "bay")]


def availability(fraction: float = 1.0, **options: Any) -> Sampler:
    sampler: Sampler = resolve.build("sampling", "availability", options, fraction=fraction)
    return sampler


def names(sampler: Sampler, round: int) -> list[str]:
    return [client.name for client in sampler(CLIENTS, round, Seeds(0).numpy(f"{round}"))]


def test_patterns_repeat_and_lists_do_not() -> None:
    sampler = availability(present={"mercy": "1100", "lakeside": [1, 3, 7], "hill": "0"})
    assert [names(sampler, number) for number in range(1, 9)] == [
        ["mercy", "lakeside", "bay"],
        ["mercy", "bay"],
        ["lakeside", "bay"],
        ["bay"],
        ["mercy", "bay"],
        ["mercy", "bay"],
        ["lakeside", "bay"],
        ["bay"],
    ]


def test_those_who_are_not_named_follow_the_others() -> None:
    sampler = availability(present={"mercy": "1"}, others="01")
    assert names(sampler, 1) == ["mercy"]
    assert names(sampler, 2) == ["mercy", "lakeside", "hill", "bay"]


def test_without_a_trace_everyone_is_always_there() -> None:
    assert all(names(availability(), number) == [client.name for client in CLIENTS] for number in (1, 2, 99))


def test_a_fraction_of_those_present_is_drawn_all_as_likely() -> None:
    sampler, rng = availability(0.4, present={"hill": "01"}), Seeds(0).numpy("a")
    cohorts = [sampler(CLIENTS, 3, rng) for _ in range(2000)]
    assert {len(cohort) for cohort in cohorts} == {1}  # of three: 1.2; of all four it would be 1.6
    turns = {client.name: sum(client in cohort for cohort in cohorts) for client in CLIENTS}
    assert turns.pop("hill") == 0
    assert all(abs(count - 2000 / 3) < 4 * (2000 * 2 / 9) ** 0.5 for count in turns.values())
    assert len(availability(0.01)(CLIENTS, 1, rng)) == 1


def test_a_round_with_nobody_is_named() -> None:
    sampler = availability(present={"mercy": [1, 2]}, others="0")
    assert names(sampler, 2) == ["mercy"]
    with pytest.raises(FedloomError, match="nobody is there in round 3"):
        names(sampler, 3)


def test_an_unknown_client_is_refused_with_the_nearest() -> None:
    with pytest.raises(FedloomError, match=r"present\.mercey.*Did you mean 'mercy'"):
        names(availability(present={"mercey": "10"}), 1)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"present": {"mercy": "12"}}, r"present\.mercy is '12'"),
        ({"present": {"mercy": ""}}, r"present\.mercy is ''"),
        ({"present": {"mercy": [0, 1]}}, r"present\.mercy is \[0, 1\]"),
        ({"present": {"mercy": []}}, r"present\.mercy is \[\]"),
        ({"present": {"mercy": 1100}}, r"present\.mercy.*1100"),
        ({"others": "x"}, "others is 'x'"),
    ],
)
def test_what_is_no_pattern_and_no_rounds_is_refused(options: dict[str, Any], named: str) -> None:
    with pytest.raises(FedloomError, match=named):
        availability(**options)


def test_an_experiment_file_holds_the_trace(tmp_path: Path) -> None:
    text = """
        [model]
        name = "nano-vlm"
        [task]
        name = "icons-memes"
        [scenario]
        name = "iid"
        clients = 2
        [sampling]
        name = "availability"
        fraction = 0.5
        others = "10"
        present = {mercy = "01", lakeside = [2]}
    """
    file = tmp_path / "mine.toml"
    file.write_text(text)
    experiment = config.load(file, ['sampling.present={mercy="01", lakeside=[2, 3]}'])
    assert config.parse(config.dump(experiment), "again") == experiment
    assert tomllib.loads(config.dump(experiment))["sampling"]["present"] == {"mercy": "01", "lakeside": [2, 3]}
    sampler: Sampler = config.build(experiment, "sampling")
    assert [set(names(sampler, number)) <= {"mercy", "lakeside"} for number in (1, 2, 3)] == [False, True, False]
