"""The Flower ClientApp: hands each message to the site's resident worker and brings back its answer.

It reads two keys of the SuperNode's ``--node-config``: ``worker``, the worker's socket, and ``wait``, for how many
seconds a worker that is gone is waited for. Without a worker it does the work itself, in this process, and says so;
then ``site``, ``rules``, ``state``, ``model`` and ``data`` are what ``fedloom site start`` is told.
"""

import sys
import time
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

from flwr.app import Context, Message
from flwr.clientapp import ClientApp

from fedloom.core.errors import FedloomError
from fedloom.core.home import cache
from fedloom.core.printable import in_line
from fedloom.site import letter, link, records

if TYPE_CHECKING:
    from fedloom.site.desk import Desk

WAIT = 60.0
"""Seconds that a worker which is gone is waited for: a restart loads the model again."""

ENDS = 3
"""So often a worker may end over one message before it is not asked again."""

app = ClientApp()
_one_at_a_time = Lock()
_desks: dict[str, "Desk"] = {}


@app.query("hello")
def hello(message: Message, context: Context) -> Message:
    """Who is here, and what it holds."""
    return _reply(message, context)


@app.train()
def train(message: Message, context: Context) -> Message:
    """A client's turn."""
    return _reply(message, context)


@app.train("update")
def update(message: Message, context: Context) -> Message:
    """What a client's first update to the weights would be."""
    return _reply(message, context)


@app.evaluate()
def evaluate(message: Message, context: Context) -> Message:
    """A client's scores on its own test examples."""
    return _reply(message, context)


def _reply(message: Message, context: Context) -> Message:
    question = records.blob_of(message)
    worker = str(context.node_config.get("worker", ""))
    try:
        if worker:
            answer = ask(Path(worker), question, float(context.node_config.get("wait", WAIT)))
        else:
            answer = _own_answer(question, context)
    except FedloomError as error:  # an answer, too: raised, it would be asked again. The rest is nobody else's
        print(f"fedloom: {in_line(error)}", file=sys.stderr, flush=True)
        site = context.node_config.get("site", "")
        told = f"site {site!r}: the message did not reach a worker; the node's own log says why."
        answer = letter.pack(letter.unpack(question).answer(error=told))
    return Message(records.content(answer), reply_to=message)


def ask(worker: Path, question: bytes, wait: float) -> bytes:
    """The worker's answer. One that is gone, or goes over the question, is asked again once it is back.

    The question's work begins again from where the last round ended, so that its answer is the same.

    Raises:
        FedloomError: it was not back within ``wait`` seconds, or ended ``ENDS`` times over the question.
    """
    for _ in range(ENDS):
        try:
            return link.ask(worker, question)
        except link.Gone as error:
            told = str(error)
            if not _back(worker, wait):
                raise FedloomError(f"no worker for {wait:g} s: {error}. Fix: `fedloom site start` there.") from None
    raise FedloomError(f"the worker ended {ENDS} times over one message (out of memory?): {told}.")


def _back(worker: Path, wait: float) -> bool:
    """Whether the worker answers within ``wait`` seconds."""
    health, until = letter.pack(letter.Letter("health")), time.monotonic() + wait
    while time.monotonic() < until:
        try:
            link.ask(worker, health, timeout=5)
            return True
        except link.Gone:
            time.sleep(0.2)
    return False


def _own_answer(question: bytes, context: Context) -> bytes:
    with _one_at_a_time:
        desk = _own_desk(context)
        return letter.pack(desk.answer(letter.unpack(question, desk.policy.max_bytes)))


def _own_desk(context: Context) -> "Desk":
    """This process's own desk: of a simulated node, or of a site without a worker."""
    from fedloom.site.desk import Desk
    from fedloom.site.policy import OWN, Policy, read

    node, simulated = context.node_config, "partition-id" in context.node_config
    site = "" if simulated else str(node.get("site", ""))
    if not simulated and not site:
        raise FedloomError('the SuperNode names no site. Fix: --node-config \'site="NAME" worker="SOCKET"\'.')
    if site not in _desks:
        print(f"fedloom: no resident worker: {site or 'a simulated client'} works in this process", file=sys.stderr)
        if simulated:  # this machine's own user simulates: whatever code the experiment names is theirs
            _desks[site] = Desk(
                Path(str(context.run_config["state"])), policy=Policy.model_validate(OWN), cache=cache()
            )
        else:
            rules = Path(str(node["rules"])) if "rules" in node else None
            state = Path(str(node.get("state", Path.cwd() / f"site-{site}")))
            model, data = str(node.get("model", "")), str(node.get("data", ""))
            _desks[site] = Desk(state, site, read(rules), model, data, cache())
    return _desks[site]
