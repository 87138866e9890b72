"""The part of a plan about a client without the language model: what it holds, and what a step sends and takes."""

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from fedloom.planning.apart import WORDS, SplitPlan
from fedloom.report import words


def shown(plan: SplitPlan, total: int) -> list[RenderableType]:
    """The tables for a terminal; ``total``: parameters of the whole model."""
    one = "1 example" if plan.batch == 1 else f"{plan.batch} examples"
    what = f"between client and host in a step of {one}, labels {plan.labels}, numbers {plan.numbers}"
    return [
        Text("\na client without the language model" + ("" if plan.used else ", with split.wire"), style="bold"),
        _parameters(plan, total),
        *(Text(line) for line in _less(plan)),
        Text(f"\n{what}", style="bold"),
        _steps(plan),
        Text("\nmemory without and with the language model, and of its host", style="bold"),
        _memory(plan),
    ]


def _parameters(plan: SplitPlan, total: int) -> Table:
    table = Table(header_style="bold")
    table.add_column("parameters at the client")
    table.add_column("", justify="right")
    table.add_column("of the model", justify="right")
    for part, count in plan.parameters.items():
        name = f"{part}, {words.number(plan.rows)} of {words.number(plan.table)} rows" if part == WORDS else part
        table.add_row(name, words.number(count), _share(count / total))
    held = sum(plan.parameters.values())
    table.add_section()
    table.add_row("total", words.number(held), _share(held / total))
    every = held - plan.parameters[WORDS] + plan.table * plan.width
    table.add_row("with all words", words.number(every), _share(every / total))
    return table


def _less(plan: SplitPlan) -> list[str]:
    """How much less that is than the whole model."""
    holds, every = (plan.less[key] for key in ("parameters", "parameters with all words"))
    lines = [f"{words.score(holds)} less to hold than the whole model; {words.score(every)} less with all words"]
    if "memory" in plan.less:
        lines.append(f"{words.score(plan.less['memory'])} less memory while it trains")
    return lines


def _steps(plan: SplitPlan) -> Table:
    table = Table(header_style="bold")
    table.add_column("split.wire")
    for when in ("first visit", "later"):
        for way in ("up", "down"):
            table.add_column(f"{when}\n{way}", justify="right")
    for each in plan.crossings:
        table.add_row(each.wire, *map(words.size, (each.first_up, each.first_down, each.up, each.down)))
    return table


def _memory(plan: SplitPlan) -> Table:
    table = Table(header_style="bold")
    sides = {"without": plan.client, "with": plan.whole, "host": plan.host}
    for name in ("", *sides):
        table.add_column(name, justify="right" if name else "left")
    for part in dict.fromkeys(part for side in sides.values() for part in side):
        counts = (side.get(part, 0) for side in sides.values())
        table.add_row(part, *(words.size(count) if count else words.MISSING for count in counts))
    table.add_section()
    table.add_row("total", *(words.size(sum(side.values())) for side in sides.values()))
    return table


def _share(share: float) -> str:
    return f"{100 * share:.3g}%"
