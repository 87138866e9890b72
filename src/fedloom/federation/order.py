"""Replies in the cohort's order, whatever order they come in, and where those wait that are early."""

import tempfile
from collections.abc import Collection, Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import IO

from fedloom.core.contracts import ClientInfo, Reply

IN_MEMORY = 64 * 2**20
"""Bytes of replies that wait for their turn in memory."""


def in_order(
    replies: Iterator[Reply], cohort: list[ClientInfo], needed: int | None = None, besides: Collection[str] = ()
) -> Iterator[tuple[ClientInfo | None, Reply]]:
    """Replies in the cohort's order, whatever order they come in: sums of floats then have the same bits.

    After ``needed`` good ones (default: all) no more are waited for; those of clients ``besides`` are none of them.
    Those that came before their turn wait on disk once they are many. A second reply of a client, a late one, or one of
    a client that was not asked comes at once, with ``None`` in the client's place.
    """
    waiting: dict[str, Reply] = {}
    awaited = {info.name for info in cohort}
    turn = good = 0
    needed = len(cohort) if needed is None else needed
    with closing(Shelf()) as shelf:
        for reply in replies:
            if reply.late or reply.client not in awaited:
                yield None, reply
                continue
            awaited.remove(reply.client)
            good += not reply.error and reply.client not in besides
            waiting[reply.client] = reply if reply.client == cohort[turn].name else shelf.put(reply)
            del reply
            while turn < len(cohort) and cohort[turn].name in waiting:
                yield cohort[turn], shelf.take(waiting.pop(cohort[turn].name))
                turn += 1
            if good >= needed and awaited:
                break
        del replies  # an engine that waits for the others stops waiting
        nothing = "was not needed any more: enough others had answered" if good >= needed else "did not answer"
        for info in cohort[turn:]:
            missing = Reply(info.name, error=f"client {info.name!r} {nothing}.")
            yield info, shelf.take(waiting.pop(info.name)) if info.name in waiting else missing


@dataclass
class Shelf:
    """Replies that wait for their turn: ``IN_MEMORY`` bytes of them in memory, the others in a temporary file."""

    files: dict[str, IO[bytes]] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)
    held: int = 0

    def put(self, reply: Reply) -> Reply:
        """The reply as it is to be kept: without its parcel where that went to disk."""
        if self.held + len(reply.parcel) <= IN_MEMORY:
            self.held += len(reply.parcel)
            self.sizes[reply.client] = len(reply.parcel)
            return reply
        file = self.files[reply.client] = tempfile.TemporaryFile()  # noqa: SIM115
        file.write(reply.parcel)
        return replace(reply, parcel=b"")

    def take(self, reply: Reply) -> Reply:
        """The whole reply again; it is no longer kept."""
        file = self.files.pop(reply.client, None)
        if file is None:
            self.held -= self.sizes.pop(reply.client, 0)
            return reply
        with file:
            file.seek(0)
            return replace(reply, parcel=file.read())

    def close(self) -> None:
        """Drop what is still there."""
        for file in self.files.values():
            file.close()
