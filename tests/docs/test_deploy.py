"""What docs/deploy.md and the files of a consortium's folder show is true: their commands exist, with those options."""

import importlib
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import typer
import yaml
from flwr.cli.app import app as flwr_app

from fedloom.cli import app
from fedloom.core import config
from fedloom.deploy.folder import BIN, PORT, Place, files, of_sites
from fedloom.deploy.loopback import Kill
from fedloom.site.policy import Policy

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "deploy.md").read_text(encoding="utf-8")
FOLDER = files(of_sites("nlvr", ["mercy", "charite"]), Place("superlink.example.org", PORT))
SPLIT = files(of_sites("fednano", ["mercy"]), Place("superlink.example.org", PORT))
READMES = {
    f"{kind}/{name}": text
    for kind, folder in (("whole", FOLDER), ("split", SPLIT))
    for name, text in folder.items()
    if name.endswith("README.md")
}
PREFIX = re.compile(
    r"^(sudo (-u \w+ )?|docker compose (exec|run --rm --no-deps) \w+ )*(/opt/fedloom/bin/)?(?=(fedloom|flwr) )"
)
PROGRAMS = {"fedloom": typer.main.get_command(app), "flwr": typer.main.get_command(flwr_app)}


def of_programs(lines: list[str]) -> Iterator[list[str]]:
    """Lines that call one of the programs, as words."""
    for line in lines:
        if PREFIX.match(line):
            yield shlex.split(PREFIX.sub("", line), comments=True)


def blocks(page: str) -> list[list[str]]:
    """The commands in a page's blocks of code: whole ones."""
    inside = re.findall(r"^```\n(.*?)^```", page, flags=re.S | re.M)
    return list(of_programs("".join(inside).replace("\\\n", " ").splitlines()))


def spans(page: str) -> list[list[str]]:
    """The commands in a page's running text, perhaps only their beginnings."""
    return list(of_programs(re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", page, flags=re.S | re.M))))


def services() -> list[list[str]]:
    """What systemd and containers start."""
    written = [*FOLDER.items(), *SPLIT.items()]
    found = [
        line.partition("=")[2].split() for _, text in written for line in text.splitlines() if "ExecStart=" in line
    ]
    for name, text in written:
        if name.endswith("compose.yaml"):
            found += [part["command"] for part in yaml.safe_load(text)["services"].values() if "command" in part]
    return [[words[0].removeprefix(f"{BIN}/"), *words[1:]] for words in found]


def missing(words: list[str]) -> list[str]:
    """What a command lacks; an unknown command or option is an error of its own."""
    command, context, rest = PROGRAMS[words[0]], click.Context(PROGRAMS[words[0]]), words[1:]
    while isinstance(command, click.Group) and rest and not rest[0].startswith("-"):
        found = command.get_command(context, rest[0])
        assert found is not None, f"{' '.join(words)}: there is no {rest[0]!r}"
        command, context, rest = found, click.Context(found, parent=context), rest[1:]
    values, left, _ = command.make_parser(context).parse_args(rest)
    assert left == [], f"{' '.join(words)}: {left} is too much"
    given = {name for name, value in values.items() if isinstance(value, str | bool | list | tuple)}
    return [str(each.name) for each in command.params if each.required and each.name not in given]


def test_the_check_itself_finds_what_is_wrong() -> None:
    assert missing(["fedloom", "site", "status"]) == ["name"]
    assert missing(["fedloom", "run"]) == ["source"]
    with pytest.raises(AssertionError, match="no 'begin'"):
        missing(["fedloom", "site", "begin"])
    with pytest.raises(click.NoSuchOption, match="--nome"):
        missing(["fedloom", "site", "status", "--nome", "mercy"])


def test_there_are_commands() -> None:
    begun = {" ".join(words[:3]) for words in blocks(PAGE)}
    assert begun >= {"fedloom deploy init", "fedloom site start", "fedloom site node", "flwr supernode register"}
    whole = 1 + 1 + 2 * (2 + 2)  # SuperLink, and worker and node of two sites, in both ways
    assert len(services()) == whole + 2 + 2 + (2 + 2)  # SuperLink, host, and one site
    assert ["fedloom", "host", "token"] in [words[:3] for words in blocks(READMES["split/README.md"])]


@pytest.mark.parametrize(
    "words", [*blocks(PAGE), *[each for page in READMES.values() for each in blocks(page)]], ids=" ".join
)
def test_commands_are_whole(words: list[str]) -> None:
    assert missing(words) == []


@pytest.mark.parametrize(
    "words", [*spans(PAGE), *[each for page in READMES.values() for each in spans(page)]], ids=" ".join
)
def test_commands_in_the_text_exist(words: list[str]) -> None:
    missing(words)


@pytest.mark.parametrize("words", services(), ids=" ".join)
def test_what_systemd_and_containers_start_exists(words: list[str]) -> None:
    assert words[0] == "fedloom"
    assert missing(words) == []


def test_rehearsals_load_and_their_faults_are_understood() -> None:
    shown = [words for words in blocks(PAGE) if words[1] == "rehearse"]
    kills = [words[words.index("--kill") + 1] for words in shown if "--kill" in words]
    assert [Kill.parse(text, sites=3).part for text in kills] == ["worker", "supernode", "superlink", "server"]
    assert {config.load(words[2]).rounds >= 2 for words in shown} == {True}


def test_every_rule_of_a_site_is_explained() -> None:
    table = PAGE[PAGE.index("| key | what it says |") :].split("\n\n")[0]
    named = {name for row in table.splitlines()[2:] for name in re.findall(r"`(\w+)`", row.split("|")[1])}
    assert named == set(Policy.model_fields)


def test_files_that_are_named_are_in_the_folder() -> None:
    table = PAGE[PAGE.index("| in the folder | for |") :].split("\n\n")[0]
    named = set(re.findall(r"`([\w./-]+\.\w+)`", table))
    ends = {name.rpartition("/")[2] for name in (*FOLDER, *SPLIT)}
    assert named >= {"README.md", "superlink.service", "nginx.conf", "key.sh", "site.toml", "certificates.sh"}
    assert named <= ends


def test_seconds_that_are_told_are_those_of_the_programs() -> None:
    polled = importlib.import_module("fedloom.site.node").POLL
    waited = next(each for each in options("site", "node") if each.name == "wait").default
    patience = config.load("quickstart").engine.patience
    assert f"asks for work every {polled:g} s" in PAGE
    assert f"its node waits {waited:g} s (`--wait`)" in PAGE
    assert f"(`engine.patience`, {patience:g} s)" in PAGE
    assert f"at port {PORT} unless" in PAGE


def options(*path: str) -> list[click.Parameter]:
    command = PROGRAMS["fedloom"]
    for name in path:
        assert isinstance(command, click.Group)
        command = command.commands[name]
    return command.params


def test_every_link_leads_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", PAGE):
        assert target.startswith("https://") or (ROOT / "docs" / target).exists(), target
