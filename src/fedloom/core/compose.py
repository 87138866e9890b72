"""Client halves of several methods as one: ``method.with = ["fedprox:0.01"]``."""

import functools
import operator
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from fedloom.core import beside, lora, resolve
from fedloom.core.contracts import ClientInfo, Local, LocalRun, Method, Tree, everything
from fedloom.core.errors import FedloomError
from fedloom.core.tables import MethodTable

ALONE = ("rank", "personal", "backward", "choose")
"""What one part at most may have."""

Hook = Callable[..., Any]


def compose(*parts: Local, names: Sequence[str] = ()) -> Local:
    """One client half of several, each with a ``LocalRun.scratch`` of its own.

    - ``fits``, ``begin``, ``gradient``, ``after`` and ``end``: one after the other, in the order of the parts.
    - ``term``: the sum.
    - ``send`` and ``keep``: all slots; two parts never have the same one.
    - ``rank``, ``personal``, ``backward``, ``choose``: that of the part which has one, and one at most has.
    - ``goes_on``: where that of any part does. ``reveals``: all of them.

    Args:
        parts: the client halves.
        names: what they are called in messages.

    Raises:
        FedloomError: two parts have what one at most may, or declare the same slot; when the slots are made, two parts
            that send or keep the same one; names slot and parts.
    """
    if len(parts) == 1:
        return parts[0]
    named = list(zip(names or [f"part {number}" for number in range(1, len(parts) + 1)], parts, strict=True))
    for field in ALONE:
        if len(having := [name for name, part in named if getattr(part, field)]) > 1:
            raise FedloomError(
                f"method: {' and '.join(map(repr, having))} each have a {field!r}, and a turn has one of it at most. "
                "Fix: leave one of them out."
            )
    reveals: dict[str, str] = {}
    for name, part in named:
        for slot in part.reveals:
            if slot in reveals:
                raise _twice("send", slot, next(other for other, one in named if slot in one.reveals), name)
        reveals |= part.reveals
    return Local(
        begin=_in_order(parts, "begin"),
        term=_sum(parts),
        gradient=_in_order(parts, "gradient"),
        send=_united(named, "send"),
        rank=_alone(parts, "rank"),
        keep=_united(named, "keep"),
        personal=next((part.personal for part in parts if part.personal), None),
        goes_on=any(part.goes_on for part in parts),
        reveals=reveals,
        choose=_alone(parts, "choose"),
        backward=_alone(parts, "backward"),
        end=_in_order(parts, "end"),
        after=_in_order(parts, "after"),
        fits=_all_fit(parts),
    )


def extended(method: Method, table: MethodTable, seed: int) -> Method:
    """``method`` with the client halves of the methods that ``table.with_`` names.

    Only a method whose client half is the whole of it may be added, with what it merges beside (``Method.besides``):
    one that sends nothing further besides the adapter and cuts no rank, that trains and shares all of the adapter, and
    whose server keeps and sends nothing further. What it needs of an adapter is needed by both.

    Raises:
        FedloomError: an unknown name or a bad argument; a method that is there already, or that cannot be added, with
            the reason and those which can; as ``compose``.
    """
    _is_one(table.name, method)
    if not table.with_:
        return method
    names, parts, needs = [table.name], [method.local], {method.needs}
    for text in table.with_:
        try:
            name = resolve.parted(text)[0]
            _is_one(name, added := resolve.build_entry("methods", text, seed=seed))
            if reason := "is there already" if name in names else _whole(added, method):
                raise FedloomError(f"{name!r} {reason}. Fix: leave it out; {_addable(method, names, seed)}")
            method = functools.reduce(beside.attached, added.besides, method)
        except FedloomError as error:
            if type(error) is not FedloomError:  # a rule of the machine's, which says itself what it refuses
                raise
            raise FedloomError(f"method.with = {text!r}: {error}") from error
        names.append(name)
        parts.append(added.local)
        needs.add(added.needs)
    if "squares" in needs and needs & {"products", "weights"}:
        raise FedloomError(
            f"method: of {' and '.join(map(repr, names))} one needs an R between B and A, and another that there is "
            "none. Fix: leave one of them out."
        )
    strictest = next(need for need in ("squares", "weights", "products", "pairs", "any") if need in needs)
    return replace(method, local=compose(*parts, names=names), needs=strictest)


def _is_one(name: str, built: object) -> None:
    if not isinstance(built, Method):
        raise FedloomError(
            f"method: {name!r} builds a {type(built).__name__}, expected a fedloom.core.contracts.Method."
        )


def _whole(added: Method, method: Method) -> str:
    """Why a method's client half cannot be added to another ``method``; empty: it can."""
    local = added.local
    if local.rank or set(local.reveals) - beside.reads(added) or (local.send and not added.besides):
        return "needs its own server: its clients send more than the adapter"
    if added.pooled or added.trains is not everything or added.shares is not everything:
        return "is more than its client half: what is trained, shared or pooled is not added"
    if local == Local() and not added.besides:
        return "adds nothing: its client half is plain training"
    if not added.reduce.additive:
        return "is more than its client half: it merges replies in a way of its own"
    if local.personal and method.pooled:
        return "gives each client an adapter of its own, and the method has all data in one place"
    own = {"adapter", *(one.slot for one in added.besides)}
    pair: Tree = lora.tree({"m": (torch.zeros(1, 1), torch.zeros(1, 1))})
    try:
        state = added.server.init(pair, 1.0, 1)
        slots = {*state, *added.server.send(state, ClientInfo("0", 1, 1)).trees} - own
    except Exception as error:
        return f"has a server that does not begin with a plain adapter ({type(error).__name__}: {error})"
    return f"needs its own server, which has {', '.join(sorted(slots))} besides the adapter" if slots else ""


def _addable(method: Method, names: Sequence[str], seed: int) -> str:
    """The methods that can be added, in a sentence."""
    found = [
        name
        for name in sorted(resolve.known("methods"))
        if name not in names and not _whole(resolve.build("methods", name, {}, seed=seed), method)
    ]
    return f"these can be added: {', '.join(found) or 'none'}"


def _own(run: LocalRun, number: int) -> LocalRun:
    """The run as the part ``number`` sees it."""
    return replace(run, scratch=run.scratch.setdefault(f"part {number}", {}))


def _hooks(parts: Sequence[Local], field: str) -> list[tuple[int, Hook]]:
    """The parts' hooks of a kind, each with the number of its part."""
    return [(number, hook) for number, part in enumerate(parts) if (hook := getattr(part, field))]


def _in_order(parts: Sequence[Local], field: str) -> Callable[[LocalRun], None] | None:
    hooks = _hooks(parts, field)

    def each(run: LocalRun) -> None:
        for number, hook in hooks:
            hook(_own(run, number))

    return each if hooks else None


def _all_fit(parts: Sequence[Local]) -> Callable[[Tree], None] | None:
    checks = [part.fits for part in parts if part.fits]

    def each(adapter: Tree) -> None:
        for check in checks:
            check(adapter)

    return each if checks else None


def _sum(parts: Sequence[Local]) -> Callable[[LocalRun], Tensor] | None:
    hooks = _hooks(parts, "term")

    def total(run: LocalRun) -> Tensor:
        terms: list[Tensor] = [hook(_own(run, number)) for number, hook in hooks]
        return functools.reduce(operator.add, terms)

    return total if hooks else None


def _alone(parts: Sequence[Local], field: str) -> Hook | None:
    hooks = _hooks(parts, field)
    if not hooks:
        return None
    number, hook = hooks[0]
    return lambda run, *more: hook(_own(run, number), *more)


def _united(named: Sequence[tuple[str, Local]], field: str) -> Callable[[LocalRun], dict[str, Tree]] | None:
    hooks = _hooks([part for _, part in named], field)

    def slots(run: LocalRun) -> dict[str, Tree]:
        found: dict[str, Tree] = {}
        owner: dict[str, str] = {}
        for number, hook in hooks:
            name, made = named[number][0], hook(_own(run, number))
            for slot in made:
                if slot in owner:
                    raise _twice(field, slot, owner[slot], name)
                owner[slot] = name
            found |= made
        return found

    return slots if hooks else None


def _twice(what: str, slot: str, first: str, second: str) -> FedloomError:
    return FedloomError(
        f"method: {first!r} and {second!r} both {what} slot {slot!r}, and each would read the other's. Fix: leave one "
        "of them out."
    )
