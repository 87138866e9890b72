"""Who holds what, as rows of text: clients down, and across what their training examples have and their groups."""

from fedloom.federation.written import Holdings
from fedloom.report import words
from fedloom.report.held import LETTERS
from fedloom.report.present import KINDS, means, told
from fedloom.report.svg import plain

GROUPS = 8
"""So many groups have a column each, the largest; the others share one."""


def rows(holdings: Holdings) -> list[list[str]]:
    """A header and a row for each client: its name, its training and test examples, those that have each modality where
    that is told (the mean over the rounds where these differ), and those of each group."""
    totals = {group: sum(one.train.get(group, 0) for one in holdings.clients) for group in holdings.groups}
    largest = sorted(totals, key=lambda group: -totals[group])[: GROUPS if len(totals) > GROUPS else None]
    shown = [group for group in holdings.groups if group in largest] if holdings.by else []
    known = told(holdings)
    kinds = [name for name, _ in KINDS.values()] if known else []
    others = [f"{len(totals) - len(shown)} others"] if shown and len(totals) > len(shown) else []
    found = [["client", "training", *kinds, *(plain(group, LETTERS) for group in shown), *others, "test"]]
    counts = means(holdings).tolist() if known else [[] for _ in holdings.clients]
    for client, having in zip(holdings.clients, counts, strict=True):
        size = sum(client.train.values())
        groups = [client.train.get(group, 0) for group in shown]
        rest = [size - sum(groups)] if others else []
        numbers = [size, *having, *groups, *rest, sum(client.test.values())]
        found.append([words.client(client.name), *(_number(number) for number in numbers)])
    return found


def text(table: list[list[str]]) -> str:
    """Rows as lines, the first column to the left and the others to the right."""
    widths = [max(len(row[column]) for row in table) for column in range(len(table[0]))]
    lines = []
    for first, *others in table:
        cells = [cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True)]
        lines.append("  ".join([first.ljust(widths[0]), *cells]).rstrip())
    return "\n".join(lines)


def _number(number: float) -> str:
    """A count; a mean that is no whole number with one decimal; nothing as a dash."""
    if not number:
        return words.MISSING
    return f"{number:.0f}" if float(number).is_integer() else f"{number:.1f}"
