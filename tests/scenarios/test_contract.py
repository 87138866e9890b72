"""What every scenario must satisfy; each is found by itself."""

import hashlib
import json

import pytest

from fedloom.core.partition import Partition, deal
from fedloom.core.resolve import build, known, summary
from fedloom.core.seeds import Seeds

NAMES = sorted(set(known("scenarios")) - {"sites"})  # which deals nothing: test_sites.py
TRAIN = [{"pack": "abcde"[i % 5], "label": str(i % 7)} for i in range(103)]
TEST = [{"pack": "abcde"[i % 5], "label": str(i % 7)} for i in range(31)]

# The first 16 digits of the SHA-256 of the partition: the same on every machine.
SAME = {
    "dirichlet": "c70bcdc1bc0f64c6",
    "few-shot": "bc03563213f38ad9",
    "iid": "8065b5485ba40975",
    "natural": "2f8e851f2e92764f",
    "quantity": "c728e81cfe63c753",
    "shards": "46973d6b913c5a39",
}


def dealt(name: str, seed: int = 0) -> Partition:
    return deal(build("scenarios", name, {}), TRAIN, TEST, clients=4, minimum=5, seeds=Seeds(seed))


def test_there_are_scenarios() -> None:
    assert set(SAME) == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_each_index_once_and_nothing_lost(name: str) -> None:
    part = dealt(name)
    held = sorted(index for mine in part.train for index in mine)
    assert held == (sorted(set(held)) if name == "few-shot" else list(range(len(TRAIN))))
    assert sorted(index for mine in part.test for index in mine) == list(range(len(TEST)))


@pytest.mark.parametrize("name", NAMES)
def test_minimum_is_met(name: str) -> None:
    assert min(map(len, dealt(name).train)) >= 5


@pytest.mark.parametrize("name", NAMES)
def test_same_seed_same_split_on_any_machine(name: str) -> None:
    part = dealt(name)
    assert hashlib.sha256(json.dumps([part.train, part.test, part.names]).encode()).hexdigest()[:16] == SAME[name]


@pytest.mark.parametrize("name", NAMES)
def test_another_seed_is_another_split_unless_nothing_is_drawn(name: str) -> None:
    assert (dealt(name, seed=1).train == dealt(name).train) == (name == "natural")


@pytest.mark.parametrize("name", NAMES)
def test_the_lists_show_one_line(name: str) -> None:
    assert summary("scenarios", name).endswith(".")
