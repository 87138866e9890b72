"""Whatever a model, a task or a site is called, each file of a consortium's folder says what it said, and no more."""

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fedloom.core import config
from fedloom.core.config import Experiment
from fedloom.core.errors import FedloomError
from fedloom.deploy import quoting
from fedloom.deploy.folder import Place, files, init, of_sites

PLACE = Place("superlink.example.org", 443)
UNIT = "server/fedloom-host.service"
COMPOSE = "server/compose.yaml"
RULES = "sites/mercy/site.toml"
GIVEN = of_sites("fednano-7b", ["mercy"])
NAMED = ("README.md", "sites/mercy/README.md", UNIT, COMPOSE, RULES, "experiment.toml", "sites/mercy/experiment.toml")
"""The files in which the model's name stands."""

HOSTILE = [
    "a b --listen 0.0.0.0:1",
    "%n %H %%",
    "$HOME ${HOME} $$",
    '"; ExecStartPost=/bin/sh',
    "' # {a: b} - [",
    "back\\slash\\n\\x41",
    "a`b` ```c",
    "{{ 7 * 7 }}{% raw %}",
    "-h",
    "; rm",
    "\u5317\u4eac caf\u00e9",
]
SIGNS = st.text(st.sampled_from("ab/ %$\\\"'`{}#;:&|<>*!=[](),-~\u00e9\u5317"), min_size=1, max_size=24)


def named(name: str) -> Experiment:
    return GIVEN.model_copy(update={"model": GIVEN.model.model_copy(update={"name": name})})


def words_of(line: str) -> list[str]:
    """What systemd makes of a command line (systemd.syntax(7), "Quoting", and systemd.service(5), "Command lines")."""
    words, word, quoted, index = [], "", False, 0
    while index < len(line):
        sign, pair = line[index], line[index : index + 2]
        if pair in ("\\\\", '\\"'):
            word, index = word + pair[1], index + 1
        elif sign == "\\":
            raise AssertionError(f"an escape that is none: {pair}")
        elif pair in ("%%", "$$"):
            word, index = word + sign, index + 1
        elif sign in "%$":
            raise AssertionError(f"a specifier or a variable: {pair}")
        elif sign == '"':
            quoted = not quoted
        elif not quoted and sign == " ":
            words, word = [*words, word], ""
        else:
            assert quoted or sign not in "';", "systemd would take it for a quote, or for the end of a command"
            word += sign
        index += 1
    assert not quoted
    return [*words, word]


def directives(text: str) -> list[str]:
    """The keys and sections of a unit."""
    return [line.partition("=")[0] for line in text.splitlines() if line and not line.startswith("#")]


def command_of(unit: str) -> str:
    (line,) = [line for line in unit.splitlines() if line.startswith("ExecStart=")]
    return line.removeprefix("ExecStart=")


def without_variables(command: list[str]) -> list[str]:
    """What compose makes of a command: ``$$`` is ``$``, and nothing else may stand for a variable."""
    assert not any("$" in word.replace("$$", "") for word in command)
    return [word.replace("$$", "$") for word in command]


PLAIN = files(GIVEN, PLACE)
COMMAND = words_of(command_of(PLAIN[UNIT]))


@given(SIGNS)
@settings(max_examples=25, deadline=None)
@example("a/b")
def test_a_model_s_name_is_one_word_wherever_it_stands(name: str) -> None:
    check(name)


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_is_one_word_wherever_it_stands(name: str) -> None:
    check(name)


def check(name: str) -> None:
    found = files(named(name), PLACE)
    expected = [name if word == GIVEN.model.name else word for word in COMMAND]
    assert words_of(command_of(found[UNIT])) == expected
    assert directives(found[UNIT]) == directives(PLAIN[UNIT])
    services: Any = yaml.safe_load(found[COMPOSE])["services"]
    assert without_variables(services["host"]["command"]) == expected
    assert services.keys() == yaml.safe_load(PLAIN[COMPOSE])["services"].keys()
    code = ":" in name  # then it is a function's, and no site keeps a folder of it
    here = {} if code else {name: f"/srv/fedloom/models/{Path(name).name}"}
    assert tomllib.loads(found[RULES])["models"] == here
    assert tomllib.loads(found["experiment.toml"])["model"]["name"] == name
    assert {file for file in found if found[file] != PLAIN[file]} <= set(NAMED)
    for file in ("README.md", "sites/mercy/README.md"):
        assert code or found[file].count("\n") == PLAIN[file].count("\n")
        assert quoting.code(name) in found[file]


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="needs systemd-analyze")
def test_systemd_takes_a_hostile_name(tmp_path: Path) -> None:
    text = files(named(" ".join(HOSTILE)), PLACE)[UNIT].replace("/opt/fedloom/bin/fedloom", sys.executable)
    (tmp_path / "fedloom-host.service").write_text(text)
    command = ["systemd-analyze", "verify", str(tmp_path / "fedloom-host.service")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert str(tmp_path) not in done.stderr, done.stderr


@given(SIGNS)
def test_code_in_markdown_ends_where_it_ends(text: str) -> None:
    shown = quoting.code(text)
    ticks = re.match("`+", shown)
    assert ticks
    inner = shown[ticks.end() : -ticks.end()]
    assert ticks[0] not in re.findall("`+", inner)
    assert inner.strip(" ") == text.strip(" ")


@pytest.mark.parametrize("key", ["model.name", "channel.up"])
@pytest.mark.parametrize(
    "name", ["own/model\nExecStartPost=/bin/touch /tmp/owned", "a\x1bb", "a\u2028b", "a\u202eb", "a\x7f"]
)
def test_what_is_no_line_is_refused(tmp_path: Path, key: str, name: str) -> None:
    experiment = config.load("quickstart").model_dump()
    table, _, leaf = key.partition(".")
    experiment[table][leaf] = name if table == "model" else [f"int8:{name}"]
    file = tmp_path / "given.toml"
    file.write_text(config.dump(Experiment.model_validate(experiment)))
    with pytest.raises(FedloomError, match=r"model\.name = .*: expected text in one line|channel"):
        init(tmp_path / "new", str(file), ["mercy"], "a.example")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("name", ["own/..", "..", "/", "own/.hidden", "own/con"])
def test_a_model_s_folder_at_a_site_is_a_folder_of_its_own(tmp_path: Path, name: str) -> None:
    file = tmp_path / "given.toml"
    file.write_text(config.dump(named(name)))
    with pytest.raises(FedloomError, match="sites keep it as"):
        of_sites(str(file), ["mercy"])
