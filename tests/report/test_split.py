"""What a plan shows of a client without the language model: never the adapter's bytes without those of a step."""

import io

from rich.console import Console

from fedloom.planning.apart import SplitPlan
from fedloom.planning.crossing import Crossing
from fedloom.report.split import shown

PLAN = SplitPlan(
    used=True,
    parameters={"vision tower and connector": 300, "word embeddings": 80, "adapter": 20},
    rows=8,
    table=32,
    width=10,
    client={"word embeddings": 160, "activations": 1000},
    whole={"weights": 16_000, "activations": 13_000},
    host={"weights": 15_000},
    less={"parameters": 0.96, "parameters with all words": 0.936, "memory": 0.96},
    batch=16,
    labels="private",
    numbers="bf16",
    crossings=[Crossing("full", 2000, 1900, 2000, 1900, 5000), Crossing("low-rank", 2100, 70, 60, 50, 4000)],
)


def lines() -> list[list[str]]:
    console = Console(width=110, file=io.StringIO())
    with console.capture() as capture:
        for part in shown(PLAN, 10_000):
            console.print(part)
    return [line.translate(dict.fromkeys(map(ord, "│┃"), " ")).split() for line in capture.get().splitlines()]


def test_the_parts_stand_with_their_shares_and_sums() -> None:
    found = lines()
    assert ["word", "embeddings,", "8", "of", "32", "rows", "80", "0.8%"] in found
    assert ["adapter", "20", "0.2%"] in found
    assert ["total", "400", "4%"] in found
    assert ["with", "all", "words", "640", "6.4%"] in found  # 300 + 32 x 10 + 20
    told = [" ".join(line) for line in found]
    assert "96.0% less to hold than the whole model; 93.6% less with all words" in told
    assert "96.0% less memory while it trains" in told


def test_the_bytes_of_a_step_stand_for_both_wires_and_visits() -> None:
    found = lines()
    heading = "between client and host in a step of 16 examples, labels private, numbers bf16"
    assert heading in [" ".join(line) for line in found]
    assert ["full", "2.0", "kB", "1.9", "kB", "2.0", "kB", "1.9", "kB"] in found
    assert ["low-rank", "2.1", "kB", "70", "B", "60", "B", "50", "B"] in found


def test_memory_stands_for_a_client_without_and_with_the_language_model_and_for_its_host() -> None:
    assert ["total", "1.2", "kB", "29.0", "kB", "15.0", "kB"] in lines()
