"""A plan as people read it: parameters, bytes a round, memory, and what was assumed."""

from collections.abc import Iterator, Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from fedloom.core.printable import printable
from fedloom.planning.plan import Plan, Round
from fedloom.report import split, words

HEADER, TOTAL = "header", "total"


def shown(plan: Plan) -> RenderableType:
    """The whole plan for a terminal."""
    who, rounds = _counted(plan.clients_in_all, "client"), _counted(plan.rounds_in_all, "round")
    parts: list[RenderableType] = [
        _line(f"{plan.model}: {plan.method}, {who}, {rounds}", "bold"),
        _parameters(plan),
        _line("\nbytes a round", "bold"),
        _bytes(plan),
        *_beginning(plan),
        *_whole_run(plan),
        _line("\nmemory", "bold"),
        _memory(plan),
    ]
    if plan.machine:
        told = f"one machine that runs it all, {_counted(plan.workers, 'worker')}: {words.size(plan.machine)}"
        parts.append(_line(told))
    if plan.split is not None:
        parts += split.shown(plan.split, plan.parameters["total"])
    return Group(*parts, "", *(_line(f"- {note}") for note in plan.notes))


def _parameters(plan: Plan) -> Table:
    table = Table(header_style="bold")
    table.add_column("parameters")
    table.add_column("", justify="right")
    table.add_column("of the model", justify="right")
    total = plan.parameters["total"]
    for kind, count in plan.parameters.items():
        share = f"{100 * count / total:.3g}%" if total and kind != "total" else ""
        table.add_row("in all" if kind == "total" else kind, words.number(count), share)
    return table


def _bytes(plan: Plan) -> Table:
    rounds = _distinct(plan.rounds)
    table = Table(header_style="bold")
    table.add_column("")
    for label, _ in rounds:
        table.add_column(f"{label}\ndown", justify="right")
        table.add_column(f"{label}\nup", justify="right")
    several = any(len(each.turns) > 1 for each in plan.rounds)
    ranks = sorted({turn.rank for each in plan.rounds for turn in each.turns})
    for rank in ranks:
        ways = [part for _, each in rounds for part in _turn(each, rank)]
        _section(table, f"one client of rank {rank}" if several else "one client", ways)
    sizes = {sum(turn.clients for turn in each.turns) for each in plan.rounds}
    cohort = f"cohort of {sizes.pop()}" if len(sizes) == 1 else "whole cohort"
    _section(table, cohort, [way for _, each in rounds for way in (each.down, each.up)])
    return table


def _both(each: Round) -> int:
    return sum(each.down.values()) + sum(each.up.values())


def _beginning(plan: Plan) -> list[Text]:
    """The bytes of the exchange before round 1, where there is one."""
    if plan.begin is None:
        return []
    down, up = (words.size(sum(way.values())) for way in (plan.begin.down, plan.begin.up))
    return [_line(f"before round 1, the clients' first update: {down} down and {up} up for the whole cohort")]


def _whole_run(plan: Plan) -> list[Text]:
    """The bytes of all rounds, where a second one was gone through: nothing is sent of a start that all have."""
    last = plan.rounds[-1].number
    sums = [_both(each) for each in plan.rounds]
    if not sums[-1] or (last == 1 and plan.rounds_in_all > 1):
        return []
    before = _both(plan.begin) if plan.begin else 0
    run = words.size(before + sum(sums) + (plan.rounds_in_all - last) * sums[-1])
    supposed = f", if later ones are as round {last}" if last < plan.rounds_in_all else ""
    return [_line(f"{_counted(plan.rounds_in_all, 'round')}: {run} in all{supposed}")]


def _distinct(rounds: Sequence[Round]) -> list[tuple[str, Round]]:
    """The rounds with a label each; two that are alike are one."""
    if len(rounds) == 2 and all(getattr(rounds[0], key) == getattr(rounds[1], key) for key in ("turns", "down", "up")):
        return [("rounds 1, 2", rounds[0])]
    return [(f"round {each.number}", each) for each in rounds]


def _turn(each: Round, rank: int) -> Iterator[dict[str, int]]:
    """What a client of a rank is sent and sends; nothing where none of this rank takes part."""
    found = next((turn for turn in each.turns if turn.rank == rank), None)
    yield found.down if found else {}
    yield found.up if found else {}


def _section(table: Table, title: str, ways: Sequence[dict[str, int]]) -> None:
    """A row a part and one for their sum; the parts in the order of their names, the header first."""
    table.add_row(Text(title, style="bold"))
    for part in sorted({part for way in ways for part in way}, key=lambda part: (part != HEADER, part)):
        table.add_row(f"  {part}", *(_size(way.get(part, 0)) for way in ways))
    table.add_row(f"  {TOTAL}", *(_size(sum(way.values())) for way in ways), end_section=True)


def _memory(plan: Plan) -> Table:
    table = Table(header_style="bold")
    for name in ("", "one client", "server"):
        table.add_column(name, justify="right" if name else "left")
    for part in dict.fromkeys([*plan.client, *plan.server]):
        table.add_row(part, _size(plan.client.get(part, 0)), _size(plan.server.get(part, 0)))
    table.add_section()
    table.add_row(TOTAL, _size(sum(plan.client.values())), _size(sum(plan.server.values())))
    return table


def _line(text: str, style: str = "") -> Text:
    return Text(printable(text), style=style)


def _size(count: int) -> str:
    return words.size(count) if count else words.MISSING


def _counted(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"
