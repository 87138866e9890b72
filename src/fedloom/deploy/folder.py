"""The folder that a consortium starts from: the app, and what the server's people and each site's people install.

FOLDER/README.md  experiment.toml  app/  certificates.sh  server/  sites/<site>/

Its files are the templates in ``templates/``: those of ``top/`` and ``server/`` once, those of ``site/`` for each site.
"""

import importlib.metadata
import inspect
import ipaddress
import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from fedloom import __version__
from fedloom.core import config, resolve
from fedloom.core.config import Experiment
from fedloom.core.errors import FedloomError
from fedloom.core.files import ORDINARY, PROGRAM, name_error, sites_error, write_atomic
from fedloom.deploy import app, quoting
from fedloom.deploy.process import FLOWER
from fedloom.federation.begin import REVEALS
from fedloom.federation.setup import Setup
from fedloom.models import NANO
from fedloom.models.labels import check_plain

TEMPLATES = Path(__file__).parent / "templates"
CONNECTION = "consortium"
"""The SuperLink's name in Flower's configuration at the server."""

BIN, ETC, STATE, SRV = "/opt/fedloom/bin", "/etc/fedloom", "/var/lib/fedloom", "/srv/fedloom"
"""Where program, settings, state, and a site's data and models are, on every machine and in every container."""

TOKENS = f"{ETC}/host/tokens.toml"
"""The file of the sites' tokens at the language model's host."""

DEADLINE = 3600.0
"""Seconds that a site has for a turn, where the experiment does not say."""

HOST_PORT = 8100
"""Where the language model's host listens, of an experiment that splits it off."""

PORT = 443


def init(folder: Path, source: str, sites: list[str], host: str) -> list[str]:
    """Write the folder of a consortium and return what to tell: what was written, and what is next.

    ``source``: an experiment file or a preset. ``sites``: names of the sites; none: those of the experiment, or as many
    as it has clients. ``host``: where sites reach the SuperLink, ``HOST`` or ``HOST:PORT`` (else port 443).

    Raises:
        FedloomError: the folder holds something; an experiment that sites cannot run; a bad name or host.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FedloomError(f"{folder} already holds something, which is kept. Fix: name a folder that is new.")
    place = Place.parse(host)
    experiment = of_sites(source, sites)
    for name, text in files(experiment, place).items():
        write_atomic(folder / name, text.encode(), PROGRAM if name.endswith(".sh") else ORDINARY)
    app.write(experiment, Path(STATE) / "runs" / experiment.name, folder / "app")
    return _told(folder, experiment, source, place, bool(sites))


@dataclass(frozen=True)
class Place:
    """Where sites reach the SuperLink."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> "Place":
        """``HOST`` or ``HOST:PORT``, HOST being a domain name or an IPv4 address.

        Raises:
            FedloomError: it is neither.
        """
        host, _, port = text.partition(":")
        labels = host.split(".")
        plain = all(re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?", label) for label in labels)
        number = int(port) if port.isascii() and port.isdigit() else (0 if ":" in text else PORT)
        if not plain or len(host) > 253 or not 0 < number < 65536:
            raise FedloomError(f"--host {text}: expected a domain name or an IPv4 address, and perhaps :PORT.")
        return cls(host, number)

    @property
    def is_address(self) -> bool:
        """Whether the host is an IP address."""
        try:
            return bool(ipaddress.ip_address(self.host))
        except ValueError:
            return False


def of_sites(source: str, sites: list[str]) -> Experiment:
    """The experiment of ``source`` as real sites run it: each on its own data, which stays and is scored there.

    Raises:
        FedloomError: no such experiment, one whose method needs all data in one place, or a bad name of a site, the
            model or a choice.
    """
    given = config.load(source)
    names = sites or _names(given)
    if wrong := sites_error(names):
        raise FedloomError(wrong)
    title = re.sub(r"[^A-Za-z0-9._-]+", "-", given.name or Path(source).stem).strip("-.") or "experiment"
    own = [f"name={json.dumps(title)}", "scenario=sites", f"scenario.names={json.dumps(names)}"]
    own += [f"scenario.clients={len(names)}", "evaluation.where=clients", 'data.path=""']
    if not given.engine.deadline:  # a site that hangs must not hold the others
        own += [f"engine.deadline={DEADLINE}"]
    experiment = config.load(source, [*own, "engine.name=flower", f"engine.superlink={CONNECTION}"])
    setup = Setup(experiment)
    if setup.method.pooled:  # built first: it refuses what clients' ranks and the method cannot do
        raise FedloomError(f"method {experiment.method.name!r} needs all data in one place. Fix: choose another one.")
    _check_names(experiment)
    _ = setup.sampler, setup.up, setup.down, _reads_folder(experiment)
    return experiment


def _check_names(experiment: Experiment) -> None:
    """Refuse what cannot stand in a unit, or be the model's folder at a site.

    Raises:
        FedloomError: naming the key.
    """
    names = {"model.name": experiment.model.name, "task.name": experiment.task.name}
    names |= {"method.name": experiment.method.name, "sampling.name": experiment.sampling.name}
    lists = {"method.with": experiment.method.with_}
    lists |= {"channel.up": experiment.channel.up, "channel.down": experiment.channel.down}
    names |= {key: "".join(texts) for key, texts in lists.items()}
    for key, name in names.items():
        if not name.isprintable():
            raise FedloomError(f"{key} = {name!r}: expected text in one line, without control characters.")
    name = Path(experiment.model.name).name
    if wrong := name_error(name):
        raise FedloomError(f"model.name = {experiment.model.name!r}: sites keep it as {name!r}; expected {wrong}.")


def files(experiment: Experiment, place: Place) -> dict[str, str]:
    """Every file of the folder but the app's, by its name in it."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {each.__name__: each for each in (quoting.toml, quoting.unit, quoting.compose, quoting.code)}
    facts = _facts(experiment, place)
    text = "# The experiment: `fedloom run experiment.toml` at the server runs it; sites have the same file.\n"
    text += config.dump(experiment)
    found = {"experiment.toml": text}
    for name, part in _templates():
        if part != "site":
            content = environment.get_template(f"{part}/{name.removeprefix('server/')}").render(facts)
            if content.strip():  # else it is of no use to this experiment
                found[name] = content
    for site in facts["sites"]:
        own = {**facts, **_site_facts(experiment, place, site)}
        found[f"sites/{site}/experiment.toml"] = text
        for name, part in _templates():
            if part == "site":
                found[f"sites/{site}/{name}"] = environment.get_template(f"site/{name}").render(own)
    return found


def _templates() -> Iterator[tuple[str, str]]:
    """Each template's name in the folder (or in a site's), and the part it belongs to."""
    for part in ("top", "server", "site"):
        for path in sorted((TEMPLATES / part).rglob("*")):
            if path.is_file():
                name = path.relative_to(TEMPLATES / part).as_posix()
                yield (f"server/{name}" if part == "server" else name), part


def _facts(experiment: Experiment, place: Place) -> dict[str, Any]:
    """What all templates are given."""
    superlink = [f"{BIN}/fedloom", "deploy", "superlink", "--certificates", f"{ETC}/certificates"]
    superlink += ["--database", f"{STATE}/superlink.db", "--port", "8000"]
    return {
        "experiment": experiment,
        "sites": experiment.scenario.options["names"],
        "host": place.host,
        "port": place.port,
        "address": place.is_address,
        "connection": CONNECTION,
        "etc": ETC,
        "state": STATE,
        "data": f"{SRV}/data",
        "models": f"{SRV}/models",
        "own_models": _own_models(experiment),
        "split": experiment.split.wire != "none",
        "extras": "flower,split" if experiment.split.wire != "none" else "flower",
        "host_port": HOST_PORT,
        "language_host": _language_host(experiment),
        "tokens": TOKENS,
        "reads_folder": _reads_folder(experiment),
        "code": _code(experiment),
        "local": (local := config.build(experiment, "method").local),
        "reveals": sorted({*local.reveals.values(), *([REVEALS] if experiment.adapter.init == "update" else [])}),
        "superlink": superlink,
        "settings": FLOWER,
        "version": __version__,
        "flower": _flower_version(),
    }


def _site_facts(experiment: Experiment, place: Place, site: str) -> dict[str, Any]:
    """What the templates of one site are given besides."""
    own = ["--name", site, "--state", f"{STATE}/{site}"]
    worker = [f"{BIN}/fedloom", "site", "start", *own, "--rules", f"{ETC}/site.toml", "--for", f"{ETC}/experiment.toml"]
    node = [f"{BIN}/fedloom", "site", "node", *own, "--superlink", f"{place.host}:{place.port}"]
    code = _code(experiment)
    return {
        "site": site,
        "tasks": [experiment.task.name] if ":" not in experiment.task.name else [],
        "methods": [name for name in experiment.method.names if ":" not in name],
        "rank": max(experiment.adapter.ranks or [experiment.adapter.rank]),
        "needed": f"; this experiment needs {quoting.toml(code)}" if code else "",
        "worker": worker + (["--data", f"{SRV}/data"] if _reads_folder(experiment) else []),
        "node": [*node, "--root-certificates", f"{ETC}/ca.pem", "--key", f"{ETC}/{site}.key"],
    }


def _language_host(experiment: Experiment) -> list[str]:
    """The command of the language model's host."""
    model = experiment.model
    revision = ["--revision", model.revision] if model.revision else []
    own = ["--model", model.name, *revision, "--dtype", model.dtype, "--listen", f"0.0.0.0:{HOST_PORT}"]
    return [f"{BIN}/fedloom", "host", *own, "--certificates", f"{ETC}/certificates", "--tokens", TOKENS]


def _names(experiment: Experiment) -> list[str]:
    """The experiment's own names of sites; where it has none, one for each client."""
    if experiment.scenario.name == "sites":
        return [str(name) for name in experiment.scenario.options.get("names", [])]
    return [f"site-{number}" for number in range(1, experiment.scenario.clients + 1)]


def _code(experiment: Experiment) -> list[str]:
    """What the experiment has called at a site that is none of fedloom's own choices."""
    tables, channel = (experiment.task, experiment.sampling, experiment.model), experiment.channel
    stages = [resolve.parted(stage)[0] for stage in (*channel.up, *channel.down)]
    names = [*experiment.method.names, *(table.name for table in tables), *stages]
    return list(dict.fromkeys(name for name in names if ":" in name))


def _own_models(experiment: Experiment) -> dict[str, str]:
    """What the server calls the model, and what it is at a site: itself where it ships with fedloom, else a folder.

    Empty where it is code: a site lets that in by ``code``.
    """
    name = experiment.model.name
    if ":" in name:
        return {}
    check_plain(name)
    called = f"{name}@{experiment.model.revision}" if experiment.model.revision else name
    return {called: name if name in NANO else f"{SRV}/models/{Path(name).name}"}


def _reads_folder(experiment: Experiment) -> bool:
    """Whether the task reads a folder of data. It is not built: there is no such folder here."""
    return "path" in inspect.signature(resolve.builder("tasks", experiment.task.name)).parameters


def _flower_version() -> str:
    """The version of Flower to install everywhere: the one that is here."""
    try:
        return importlib.metadata.version("flwr")
    except importlib.metadata.PackageNotFoundError:
        raise FedloomError("Flower is not installed. Fix: pip install 'fedloom[flower]'.") from None


def _told(folder: Path, experiment: Experiment, source: str, place: Place, named: bool) -> list[str]:
    """What was written, and what is next."""
    names = experiment.scenario.options["names"]
    shown = ", ".join(names) if len(names) < 8 else f"{names[0]} ... {names[-1]}"
    shown += "" if named else " (as the experiment has them; --site NAME, once for each, gives others)"
    lines = [
        f"wrote  {folder}: README.md, experiment.toml, app/, certificates.sh, server/, sites/",
        f"sites  {shown}",
        f"server {place.host}:{place.port}",
    ]
    if experiment.split.wire != "none":
        lines.append(f"host   {place.host}:{HOST_PORT}: the language model; README.md says how sites get their tokens")
    if code := _code(experiment):
        lines.append(f"code   {', '.join(code)}: every site must let it in, by `code` in its site.toml")
    return [
        *lines,
        f"next   rehearse on this machine: fedloom rehearse {shlex.quote(source)} --sites {len(names)}",
        f"       make the certificates:    sh {shlex.quote(str(folder / 'certificates.sh'))}",
        f"       then follow               {folder / 'README.md'}",
    ]
