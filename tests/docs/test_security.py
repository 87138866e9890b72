"""What docs/security.md says that methods tell, and that a site does at most, is what the code declares."""

import re
from pathlib import Path

from fedloom.core import resolve
from fedloom.federation import begin
from fedloom.site.policy import Policy

TEXT = (Path(__file__).parents[2] / "docs" / "security.md").read_text(encoding="utf-8")


def table(heading: str) -> list[list[str]]:
    """The rows of the table whose first row begins so, cell by cell."""
    lines = TEXT[TEXT.index(f"| {heading} |") :].split("\n\n", 1)[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def code(cell: str) -> list[str]:
    return re.findall("`([^`]*)`", cell)


def test_the_table_of_methods_says_what_each_of_them_declares() -> None:
    told = {name: word for names, _, word in table("method") for name in code(names)}
    assert told.keys() == set(resolve.known("methods"))
    for name, cell in told.items():
        local = resolve.build("methods", name, {}).local
        assert sorted(code(cell)) == sorted(set(local.reveals.values())), name
    assert f"`{begin.REVEALS}`" in TEXT


def test_the_table_of_bounds_has_every_default() -> None:
    rules = Policy()
    told: dict[str, str] = {}
    for keys, values, _ in table("key"):
        told |= dict(zip(code(keys), re.split(", (?=[0-9]+$)", values), strict=True))
    assert told.pop("max_threads") == "the machine's cores"
    assert told.pop("max_runs") == "0"
    assert {key: int(value.replace(",", "")) for key, value in told.items()} == {
        key: value
        for key, value in rules.model_dump().items()
        if (key.startswith("max_") or key == "keep_runs") and key not in ("max_threads", "max_runs")
    }
