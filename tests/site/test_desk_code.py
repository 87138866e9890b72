"""No function that a server names is imported at a site that has not let it in, whatever field names it."""

import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_origin

import pytest
import tomli_w
from pydantic import BaseModel

from fedloom import models
from fedloom.core import config, resolve
from fedloom.core.config import Experiment
from fedloom.core.errors import FedloomError
from fedloom.core.table import spelled
from fedloom.federation.setup import Setup
from fedloom.site.desk import Desk
from fedloom.site.letter import Letter
from fedloom.site.policy import Policy
from tests.federation import toy

LOAD = models.load
KINDS = ["hello", "train", "evaluate"]
PARTS = ["task=icons-qa/choose_txt", "task.train=20", "task.test=10", "model.name=nano-vlm"]
CODE = [
    *("model.name", "adapter.kind", "task.name", "scenario.name", "sampling.name", "objective.name", "modality.name"),
    *("method.name", "method.with", "channel.up", "channel.down"),
]
"""Every text of an experiment that a site may take for a function's name."""


def texts(table: type[BaseModel] = Experiment, before: str = "") -> Iterator[str]:
    """The keys of every text and every list of texts that an experiment has."""
    for name, field in table.model_fields.items():
        kind: Any = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from texts(kind, f"{before}{name}.")
        elif kind is str or (get_origin(kind) is list and kind.__args__[0] is str):
            yield before + spelled(name)


def naming(key: str, code: str) -> str:
    """The TOML of an experiment of fedloom's own parts in which ``key`` names ``code``."""
    raw = tomllib.loads(config.dump(toy.experiment(*PARTS)))
    table, _, leaf = key.rpartition(".")
    inner = raw[table] if table else raw
    inner[leaf] = [code] if isinstance(inner[leaf], list) else code
    return tomli_w.dumps(raw)


@dataclass
class Planted:
    """A package ``planted`` that shows when any of it is imported, or called."""

    mark: Path

    @property
    def imported(self) -> bool:
        return self.mark.exists() or "planted" in sys.modules


@pytest.fixture
def planted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Planted]:
    """Real models, and a package that a server would like to have imported."""
    toy.use(monkeypatch)
    monkeypatch.setattr(models, "load", LOAD)
    monkeypatch.chdir(tmp_path)
    mark, package = tmp_path / "mark", tmp_path / "path" / "planted"
    package.mkdir(parents=True)
    text = f"open({str(mark)!r}, 'w').close()\ndef run(*arguments, **options): raise ValueError('called')\n"
    for name in ("__init__", "stage"):
        (package / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(str(package.parent))
    yield Planted(mark)
    for name in ("planted", "planted.stage"):
        sys.modules.pop(name, None)


def asked(state: Path, toml: str, kind: str = "hello", policy: Policy | None = None) -> tuple[str, list[str]]:
    """What a real site's desk answers a server, and what its own log says."""
    told: list[str] = []
    desk = Desk(state, "0", policy or Policy(), tell=told.append)
    return desk.answer(Letter(kind, "run1", "n", "0", 1, experiment=toml)).error, told  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("key", CODE)
def test_code_is_refused_by_its_name_before_anything_is_imported(
    tmp_path: Path, planted: Planted, key: str, kind: str
) -> None:
    for rules in (Policy(), Policy(code=["other:*", "planted.stage:runs"])):
        error, told = asked(tmp_path / "state", naming(key, "planted.stage:run"), kind, rules)
        assert error == f"site '0': the site refuses code 'planted.stage:run': its site.toml says code = {rules.code}."
        assert told == []
        assert not planted.imported


@pytest.mark.parametrize("key", CODE)
def test_code_that_the_site_lets_in_is_imported(tmp_path: Path, planted: Planted, key: str) -> None:
    """Else the test above would show nothing."""
    asked(tmp_path / "state", naming(key, "planted.stage:run"), policy=Policy(code=["planted.stage:run"]))
    assert planted.mark.exists()


@pytest.mark.parametrize("key", list(texts()))
def test_no_other_text_names_code(tmp_path: Path, planted: Planted, key: str) -> None:
    for code in ("planted.stage:run:x", "planted:run", "planted"):
        asked(tmp_path / "state", naming(key, code))
        assert not planted.imported, code
    asked(tmp_path / "all", naming(key, "planted.stage:run"), policy=Policy(code=["*"], layer_patterns=True))
    assert planted.imported == (key in CODE)


@pytest.mark.parametrize("key", ["channel.up", "channel.down"])
@pytest.mark.parametrize(
    ("stage", "name"),
    [
        ("planted.stage:run:x,y", "planted.stage:run"),
        ("planted.stage", "planted.stage:"),
        (".planted:run:x", ".planted:run"),
        ("os.path:exists:/etc/passwd", "os.path:exists"),
    ],
)
def test_a_stage_with_arguments_is_refused_by_its_function(
    tmp_path: Path, planted: Planted, key: str, stage: str, name: str
) -> None:
    error, _ = asked(tmp_path / "state", naming(key, stage))
    assert error == f"site '0': the site refuses code {name!r}: its site.toml says code = []."
    assert not planted.imported


@pytest.mark.parametrize("key", ["channel.up", "channel.down"])
@pytest.mark.parametrize("stage", ["os:system:true", "planted:run:x", "planted:run"])
def test_a_stage_without_a_dot_is_no_function(
    tmp_path: Path, planted: Planted, monkeypatch: pytest.MonkeyPatch, key: str, stage: str
) -> None:
    called: list[str] = []
    monkeypatch.setattr("os.system", called.append)
    for rules in (Policy(), Policy(code=["*"])):
        error, told = asked(tmp_path / "state", naming(key, stage), policy=rules)
        assert error == "site '0': hello, round 1: it failed (FedloomError); its own log says why."
        assert told[0].startswith(f"channel: there is no '{stage.split(':')[0]}'.")
        assert called == []
        assert not planted.imported


@pytest.mark.parametrize("key", CODE)
def test_what_was_taken_before_lets_nothing_through(tmp_path: Path, planted: Planted, key: str) -> None:
    desk = Desk(tmp_path / "state", "0")
    good = naming("name", "good")
    for toml, refused in ((good, False), (naming(key, "planted.stage:run"), True), (good, False)):
        answer = desk.answer(Letter("hello", "run1", "n", experiment=toml))
        assert ("refuses code" in answer.error, answer.facts == {}) == (refused, refused)
    assert not planted.imported


def test_every_stage_is_asked_about(tmp_path: Path, planted: Planted) -> None:
    raw = tomllib.loads(naming("channel.up", "planted.stage:run"))
    raw["channel"]["up"] = ["topk:0.1", "planted.stage:run", "int8"]
    assert "the site refuses code 'planted.stage:run'" in asked(tmp_path / "state", tomli_w.dumps(raw))[0]
    assert not planted.imported


def test_os_system_is_never_called(tmp_path: Path, planted: Planted, monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[str] = []
    monkeypatch.setattr("os.system", called.append)
    raw = tomllib.loads(naming("task.name", "os:system"))
    raw["task"]["command"] = "true"
    error, _ = asked(tmp_path / "state", tomli_w.dumps(raw))
    assert "the site refuses code 'os:system'" in error
    assert called == []


def test_the_sites_rules_hold_for_its_answers_and_for_nothing_else(tmp_path: Path, planted: Planted) -> None:
    toml = naming("method.name", "planted:run")
    assert "refuses code" in asked(tmp_path / "state", toml)[0]
    assert callable(resolve.builder("methods", "planted:run"))
    with pytest.raises(FedloomError, match="refuses code"), resolve.guarded(Policy().guard):
        _ = Setup(config.parse(toml, "the experiment")).method
