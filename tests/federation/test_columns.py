"""FedMLLM's twelve columns on a small set: who holds which example and what is left of it, pinned for seed 0."""

from collections import Counter
from dataclasses import replace
from statistics import fmean

import pytest
from PIL import Image

from fedloom.core.contracts import Data, Sample, Task, present
from fedloom.federation.result import who_holds_what
from fedloom.federation.setup import Setup
from tests.federation import toy
from tests.federation.test_seen import memes
from tests.modalities.seats import fingerprint

HERE = "tests.federation.test_columns"
LABELS = ("affected", "damage", "rescue", "other")
ALPHA = "scenario=dirichlet", "scenario.by=label", "scenario.clients=10", "scenario.minimum=1"
SKEWED = (*ALPHA, "scenario.alpha=0.5")
COLUMNS = {
    **{f"alpha {a}": (*ALPHA, f"scenario.alpha={a}") for a in (5, 1, 0.5)},
    **{
        f"missing {r}": (*SKEWED, "modality=missing", "modality.what=each", f"modality.rate={r}")
        for r in (0.3, 0.4, 0.5)
    },
    **{f"cross {n}:{10 - n}": (*SKEWED, "modality=cross", f"modality.image={n}") for n in (3, 5, 7)},
    **{f"hybrid {p}": (*SKEWED, "modality=hybrid", f"modality.p={p}") for p in (0.8, 0.7, 0.6)},
}


def tiny(train: int = 160, test: int = 40, backwards: bool = False) -> Task:
    """Numbered samples of four labels, in order or as another machine's folder may list them."""

    def sample(id: str, number: int) -> Sample:
        label = LABELS[number % 4 if number % 3 else 0]
        picture = (Image.new("RGB", (2, 2)),)
        return Sample(id, picture, f"words of {id}", "so?", toy.CHOICES, toy.CHOICES[number % 2], meta={"label": label})

    def load() -> Data:
        halves = [[sample(f"{half}-{n}", n) for n in range(count)] for half, count in (("a", train), ("b", test))]
        return Data(*(tuple(reversed(half)) if backwards else tuple(half) for half in halves))

    return replace(memes(), load=load)


def column(name: str, *sets: str) -> Setup:
    return Setup(toy.experiment(f"task={HERE}:tiny", *COLUMNS[name], *sets))


def holds(setup: Setup) -> set[tuple[str, str]]:
    """Each client and what its training examples have."""
    return {(client, what) for half, _, client, what in rows(setup) if half == "train"}


def rows(setup: Setup) -> list[tuple[str, str, str, str]]:
    """Half, id, client and what is present of every sample."""
    halves = (("train", setup.data.train, setup.partition.train), ("test", setup.data.test, setup.partition.test))
    return [
        (half, samples[index].id, name, present(samples[index]))
        for half, samples, dealt in halves
        for name, mine in zip(setup.partition.names, dealt, strict=True)
        for index in mine
    ]


PINNED = {
    "alpha 5": "1d7d6ed5eb84a217",
    "alpha 1": "643e9a0035897e4d",
    "alpha 0.5": "5dafc019ef2e672c",
    "missing 0.3": "28c9b51cd2809f61",
    "missing 0.4": "349e41275b4e5932",
    "missing 0.5": "306ff6f2880aa25a",
    "cross 3:7": "fcce5e1a41fd3f9e",
    "cross 5:5": "d1932e0f278fd0ba",
    "cross 7:3": "d298fd803dfc5cd8",
    "hybrid 0.8": "11fa553d09e7b245",
    "hybrid 0.7": "2fec7f0a9d8d8195",
    "hybrid 0.6": "6c0eadf07f18fdb5",
}
"""SHA-256 of the rows in sorted order, its first 16 digits."""


@pytest.mark.parametrize("name", COLUMNS)
def test_partition_and_mask_are_the_same_on_every_machine(name: str) -> None:
    found = rows(column(name))
    assert len(found) == 200
    assert fingerprint(found) == PINNED[name]
    assert all(what == "image+text" for half, _, _, what in found if half == "test")


def test_the_columns_are_what_their_names_say() -> None:
    kinds = {name: Counter(what for half, *_, what in rows(column(name)) if half == "train") for name in COLUMNS}
    assert kinds["alpha 0.5"] == {"image+text": 160}
    missing = kinds["missing 0.5"]
    assert all(20 < missing[kind] < 60 for kind in ("image+text", "image", "text", "neither"))  # 40 each, deviation 5.5
    for count in (3, 5, 7):
        assert Counter(what for _, what in holds(column(f"cross {count}:{10 - count}"))) == {
            "image": count,
            "text": 10 - count,
        }


def test_the_order_in_which_files_are_listed_changes_no_mask() -> None:
    """FedMLLM's code draws over files as ``os.listdir`` gives them, so that machines differ."""
    for name in ("missing 0.4", "cross 3:7", "hybrid 0.6"):
        there, back = (column(name, f"task.backwards={flag}") for flag in ("false", "true"))
        if name.startswith("missing"):
            masks = [{(half, id, what) for half, id, _, what in rows(setup)} for setup in (there, back)]
        else:  # of a client, whoever's examples it has
            masks = [{(client, what, "") for client, what in holds(setup)} for setup in (there, back)]
        assert masks[0] == masks[1]


def test_labels_and_modalities_may_be_skewed_together() -> None:
    """The labels of ``cross 5:5`` lie as they do without it, and beside them each client holds one modality alone."""
    plain, both = (who_holds_what(column(name)) for name in ("alpha 0.5", "cross 5:5"))
    assert [one["train"] for one in plain["clients"]] == [one["train"] for one in both["clients"]]
    even = who_holds_what(column("alpha 5"))
    shares = [
        fmean(max(one["train"].values()) / sum(one["train"].values()) for one in held["clients"])
        for held in (even, both)
    ]
    assert shares[1] > shares[0] + 0.05  # of a client's examples so many have the label that most of them have
    assert all(len(one["present"][0]) == 1 for one in both["clients"])
    assert {next(iter(one["present"][0])) for one in both["clients"]} == {"image", "text"}
