"""Commands of a language model's host: serve one, and draw the tokens of the sites that may ask it."""

import signal
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fedloom.cli.help import App
from fedloom.cli.shell import Device, app, say
from fedloom.core.errors import FedloomError

if TYPE_CHECKING:
    from fedloom.split.host import Host

host_app = App(invoke_without_command=True, help="Serve a language model to clients that hold the rest.")
app.add_typer(host_app, name="host")

Certificates = Annotated[
    Path | None, typer.Option(help="The folder with server.pem and server.key.", exists=True, file_okay=False)
]
ClientCA = Annotated[
    Path | None,
    typer.Option(help="Who signed the sites' certificates; each must show one.", exists=True, dir_okay=False),
]
Places = Annotated[
    int, typer.Option(min=1, help="Requests share a pass as long as it stays below so many padded places.")
]
Queue = Annotated[
    int, typer.Option(min=1, help="Requests that may wait; a site has half of the places at most, and one at least.")
]
Sending = Annotated[
    float,
    typer.Option(
        min=1,
        help="Seconds that a request may take to come, besides one for each megabyte that came; an answer as well.",
    ),
]


@host_app.callback()
def host(
    context: typer.Context,
    model: Annotated[str, typer.Option(help="The model: a name, a folder or an id.")] = "",
    revision: Annotated[str, typer.Option(help="Of an id: the commit, tag or branch that is meant.")] = "",
    listen: Annotated[str, typer.Option(help="HOST:PORT where clients reach it.")] = "127.0.0.1:8100",
    certificates: Certificates = None,
    tokens: Annotated[Path | None, typer.Option(help="The file of the sites' tokens.")] = None,
    client_ca: ClientCA = None,
    together: Annotated[int, typer.Option(min=1, help="Requests that may share a pass of the model.")] = 8,
    places: Places = 4096,
    memory_mb: Annotated[int, typer.Option(min=1, help="Megabytes of rows that are held between requests.")] = 4096,
    queue: Queue = 64,
    sending: Sending = 30.0,
    metrics: Annotated[str, typer.Option(help="HOST:PORT of Prometheus' metrics; PORT alone: on loopback.")] = "",
    dtype: Annotated[str, typer.Option(help="float32 or bfloat16: what is computed in.")] = "float32",
    device: Device = "",
    threads: Annotated[int, typer.Option(min=0, max=1024, help="Torch's threads; 0: its own choice.")] = 0,
    insecure: Annotated[bool, typer.Option("--insecure", help="Without TLS; on this machine alone.")] = False,
) -> None:
    """Serve the language model of MODEL until Ctrl-C; what it works at then is answered first."""
    if context.invoked_subcommand:
        return
    if not model:
        raise FedloomError("host: which model is to be served? Fix: --model NAME.")
    if dtype not in ("float32", "bfloat16"):
        raise FedloomError(f"--dtype {dtype}: expected float32 or bfloat16.")
    from fedloom.core import device as devices
    from fedloom.deploy import host as deploy
    from fedloom.split.address import parted
    from fedloom.split.host import Host
    from fedloom.split.serve import Limits

    door, identity = deploy.door(listen, certificates, client_ca, insecure), deploy.identity(tokens, client_ca)
    at = parted(metrics, "--metrics") if metrics else None
    devices.use_device(device)
    half = dtype == "bfloat16"
    desk = deploy.desk(model, "bfloat16" if half else "float32", memory_mb, together, places, threads, revision)
    limits = Limits(queue, flight_bytes=2 * desk.max_bytes, sending=sending)
    _serve(Host(desk, identity, door, limits, tell=say), model, at)


def _serve(serving: "Host", model: str, metrics: tuple[str, int] | None) -> None:
    """Serve until a signal comes; ``metrics``: where Prometheus finds them.

    Raises:
        FedloomError: it stopped by itself.
    """
    from fedloom.core import device as devices

    done = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: done.set())
    end = serving.metrics.serve(*metrics) if metrics else None
    with serving:
        say(f"host: serving {model} at {serving.address} on {devices.device()}; Ctrl-C ends it")
        while serving.alive and not done.wait(1.0):
            pass
        say("host: stopping; what the model works at is answered first")
    if end:
        end()
    if not done.is_set():
        raise FedloomError("host: it stopped by itself, as is told above. Fix: start it again.")


@host_app.command()
def token(
    name: Annotated[str, typer.Argument(help="The site's name.")],
    tokens: Annotated[Path, typer.Option(help="The host's file of tokens, which keeps its hash.")],
) -> None:
    """Draw a site's token and print it, this once; an older one of the site is no longer taken."""
    from fedloom.split.identity import draw

    say(draw(tokens, name))
