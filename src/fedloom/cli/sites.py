"""Commands of a federation across machines: a site's worker, a rehearsal on one machine, a consortium's folder."""

import signal
from pathlib import Path
from typing import Annotated

import typer

from fedloom.cli.help import App
from fedloom.cli.runs import name_of, run_and_show
from fedloom.cli.shell import DataPath, Device, RunName, Sets, Source, app, overrides_of, say, say_json
from fedloom.core.errors import FedloomError
from fedloom.core.files import name_error
from fedloom.core.printable import in_line

site_app = App(no_args_is_help=True, help="A site's own side: the worker that holds its model and data.")
deploy_app = App(no_args_is_help=True, help="What a consortium starts from.")
app.add_typer(site_app, name="site")
app.add_typer(deploy_app, name="deploy")


def _named(name: str) -> str:
    """A site's name, which is one of files and a word of Flower's settings.

    Raises:
        FedloomError: it cannot be.
    """
    if wrong := name_error(name) or ('a name without "' if '"' in name else ""):
        raise FedloomError(f"--name {name}: expected {wrong}.")
    return name


Name = Annotated[
    str,
    typer.Option("--name", help="The site's name, as the experiment and the SuperLink know it.", callback=_named),
]
State = Annotated[
    Path | None, typer.Option("--state", help="The folder of what the site keeps; by default in ~/.local/share.")
]


@app.command()
def rehearse(
    source: Source,
    sites: Annotated[int, typer.Option(min=1, help="Sites, each with a worker and a SuperNode of its own.")] = 3,
    kill: Annotated[
        list[str],
        typer.Option(metavar="PART@ROUND", help="A fault: worker:1@2, supernode:0@1, superlink@2, server@1 or host@2."),
    ] = [],  # noqa: B006
    sets: Sets = [],  # noqa: B006
    data: DataPath = None,
    out: Annotated[Path | None, typer.Option(help="The run folder; by default runs/ and the rehearsal's name.")] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the rehearsal that the folder holds, or add rounds to it.")
    ] = False,
    name: RunName = "",
    device: Device = "",
) -> None:
    """Run an experiment as real sites would, on this machine: SuperLink, SuperNodes, workers, keys and certificates."""
    from fedloom.core import config
    from fedloom.core import device as devices
    from fedloom.deploy.loopback import Kill

    faults = [Kill.parse(text, sites) for text in kill]
    overrides = overrides_of(sets, data, name)
    given = config.load(source, overrides)
    own = ["engine.name=flower", "engine.workers=1"]
    own += [] if given.scenario.name == "sites" else [f"scenario.clients={sites}"]
    experiment = config.load(source, [*overrides, *own])
    if experiment.scenario.clients != sites:
        raise FedloomError(f"--sites {sites}: the experiment names {experiment.scenario.clients} sites.")
    if experiment.split.wire == "none" and any(fault.part == "host" for fault in faults):
        raise FedloomError("--kill host: nothing is split off, so there is no host. Use --set split.wire=full.")
    devices.use_device(device)
    folder = out or Path("runs") / (name or name_of(f"rehearse-{given.name or Path(source).stem}", sets, ""))
    run_and_show(experiment, folder, resume, faults)


@site_app.command()
def start(
    name: Name,
    model: Annotated[
        str, typer.Option(help="Where the model is here: a folder or an id; else as the server says.")
    ] = "",
    data: Annotated[str, typer.Option(help="The folder of the site's own data.")] = "",
    rules: Annotated[Path | None, typer.Option(help="The site's own rules, a site.toml.")] = None,
    experiment: Annotated[
        str,
        typer.Option(
            "--for", help="An experiment file: its model and data are loaded at once, as the server will ask."
        ),
    ] = "",
    only: Annotated[bool, typer.Option("--only", help="Take part in the experiment of --for and in no other.")] = False,
    device: Device = "",
    state: State = None,
) -> None:
    """Start the site's resident worker: it holds model and data, and answers until it is stopped."""
    from fedloom.core import config
    from fedloom.core import device as devices
    from fedloom.site.desk import Desk
    from fedloom.site.policy import read
    from fedloom.site.worker import Worker, state_of

    if data and not Path(data).is_dir():
        raise FedloomError(f"--data {data}: there is no such folder.")
    devices.use_device(device)
    folder = state_of(name, state)
    desk = Desk(folder, name, read(rules), model, data, cache=folder / "cache")
    at_once = config.dump(config.load(experiment)) if experiment else ""
    if only and not at_once:
        raise FedloomError("--only: say which experiment with --for.")
    desk.only = at_once if only else ""
    worker = Worker(desk, tell=lambda text: say(f"site {name}: {in_line(text)}"))
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: worker.stop())
    say(f"site {name}: waiting at {worker.path} on {devices.device()}; Ctrl-C or `fedloom site stop` ends it")
    worker.serve(at_once)
    say(f"site {name}: stopped")


@site_app.command()
def node(
    name: Name,
    superlink: Annotated[str, typer.Option(help="The SuperLink, HOST:PORT.")],
    certificates: Annotated[
        Path, typer.Option("--root-certificates", help="The consortium's ca.pem.", exists=True, dir_okay=False)
    ],
    key: Annotated[Path, typer.Option(help="The site's private key.", exists=True, dir_okay=False)],
    port: Annotated[int, typer.Option(help="A local port that is free: the SuperNode's own.")] = 9094,
    wait: Annotated[float, typer.Option(help="Seconds that a worker which is gone is waited for.")] = 60.0,
    state: State = None,
) -> None:
    """Start the site's SuperNode: it carries messages to the worker, and runs no code that a server sends."""
    from fedloom.site.node import run_node
    from fedloom.site.worker import SOCKET, state_of

    folder = state_of(name, state)
    given: list[tuple[str, object]] = [
        ("--superlink", superlink),
        ("--root-certificates", certificates),
        ("--port", port),
    ]
    given += [("--auth-supernode-private-key", key)]
    given += [("--node-config", f'site="{name}" worker="{folder / SOCKET}" wait={wait:g}')]
    run_node([str(part) for pair in given for part in pair], folder)


@site_app.command()
def status(name: Name, state: State = None) -> None:
    """Show how a site's worker is: what it does, models loaded, memory."""
    from fedloom.site.letter import Letter

    say_json(_asked(Letter("health"), name, state))


@site_app.command()
def stop(name: Name, state: State = None) -> None:
    """Stop a site's worker; what it is doing is finished first."""
    from fedloom.site.letter import Letter

    _asked(Letter("stop"), name, state)
    say(f"site {name}: stopping")


def _asked(question: "object", name: str, state: Path | None) -> dict[str, object]:
    from fedloom.site import letter, link
    from fedloom.site.worker import SOCKET, state_of

    assert isinstance(question, letter.Letter)
    path = state_of(name, state) / SOCKET
    try:
        return dict(letter.unpack(link.ask(path, letter.pack(question), timeout=10)).facts)
    except link.Gone as error:
        raise FedloomError(
            f"site {name!r}: no worker answers ({error}). Fix: `fedloom site start --name {name}`."
        ) from None


@deploy_app.command()
def init(
    folder: Annotated[Path, typer.Argument(help="The folder to write.")],
    source: Annotated[str, typer.Option("--for", help="The experiment: a TOML file or a preset.")] = "quickstart",
    sites: Annotated[list[str], typer.Option("--site", help="A site's name; once for each.")] = [],  # noqa: B006
    host: Annotated[
        str, typer.Option(help="The name under which sites reach the SuperLink.")
    ] = "superlink.example.org",
) -> None:
    """Write what a consortium starts from: the app, settings, certificates script, compose file and systemd units."""
    from fedloom.deploy.folder import init as write

    for line in write(folder, source, sites, host):
        say(line)


@deploy_app.command("app")
def flower_app(
    source: Source,
    folder: Annotated[Path, typer.Argument(help="The app's folder.")],
    out: Annotated[Path, typer.Option(help="The run folder on the machine of the SuperLink.")],
    sets: Sets = [],  # noqa: B006
    data: DataPath = None,
) -> None:
    """Write an experiment as a Flower app, for `flwr run FOLDER`."""
    from fedloom.core import config
    from fedloom.deploy.app import write

    experiment = config.load(source, overrides_of(sets, data))
    if not experiment.engine.name.startswith("flower"):
        raise FedloomError("Fix: --set engine.name=flower, or flower-simulation: which of them `flwr run` is to start.")
    write(experiment, out, folder)
    say(f"{folder}: flwr run {folder} CONNECTION; the run folder is {out.absolute()}")


@deploy_app.command()
def superlink(
    certificates: Annotated[
        Path, typer.Option(help="The folder with ca.pem, server.pem and server.key.", exists=True, file_okay=False)
    ],
    database: Annotated[Path, typer.Option(help="The file in which it remembers nodes and runs.")],
    host: Annotated[str, typer.Option(help="The address that it listens on; 0.0.0.0: all.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Its port.")] = 8000,
) -> None:
    """Start a SuperLink: other machines reach only what SuperNodes need, with TLS, and only with a registered key."""
    from fedloom.deploy.gate import run_superlink

    names = {"--ssl-certfile": "server.pem", "--ssl-keyfile": "server.key", "--ssl-ca-certfile": "ca.pem"}
    given = [part for flag, name in names.items() for part in (flag, str(certificates / name))]
    given += ["--host", host, "--port", str(port), "--database", str(database), "--enable-supernode-auth"]
    run_superlink([*given, "--disable-runtime-dependency-installation"])
