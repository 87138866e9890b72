"""Numbers as people read them."""

from datetime import datetime

MISSING = "\u2013"

PARTS = {
    "header": "names and shapes",
    "adapter": "adapter weights",
    "adapter.mask.indices": "places of the entries kept",
    "adapter.mask.seed": "seed of the mask",
    "adapter.format.scales": "scales of the codes",
    "fisher": "Fisher information",
    "control": "control variates",
    "base": "changes of the base model",
    "split": "to and from the language model",
}
"""What travels, by its name in ``clients.jsonl``."""


def score(value: float | None) -> str:
    """A score in [0, 1] as a percentage: ``0.7204`` is ``72.0%``; a missing one is a dash."""
    return MISSING if value is None else f"{100 * value:.1f}%"


def points(before: float | None, after: float | None) -> str:
    """The difference of two scores in percentage points, with its sign; one that is rounded to nothing has none."""
    if before is None or after is None:
        return ""
    shown = f"{100 * (after - before):+.1f}"
    return f"{shown.lstrip('+-') if float(shown) == 0 else shown} points"


def interval(low: float, high: float) -> str:
    """An interval of scores as percentages: ``65.1% to 78.0%``."""
    return f"{score(low)} to {score(high)}"


def client(name: str) -> str:
    """A client as a label that stands alone: a number is ``client 1``; a name is itself."""
    return f"client {name}" if name.isdigit() else name


def size(count: float) -> str:
    """A number of bytes in decimal units: ``1_500_000`` is ``1.5 MB``."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def part(name: str) -> str:
    """What a part of a message is: ``header`` is ``names and shapes``; one without words keeps its name."""
    return PARTS.get(name, name)


def duration(seconds: float) -> str:
    """Seconds as ``8.4 s``, ``2 min 05 s`` or ``3 h 07 min``."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def number(count: int) -> str:
    """A count with thin spaces between thousands."""
    return f"{count:,}".replace(",", "\u202f")


def count(number: int, noun: str) -> str:
    """``1 round``, ``5 rounds``."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def date(text: str) -> str:
    """A date as ``environment.jsonl`` has it, to the minute; what is no date stays as it is."""
    try:
        return datetime.fromisoformat(text).strftime("%Y-%m-%d %H:%M %Z").strip()
    except ValueError:
        return text
