"""From a name to its builder, and what a wrong name or option gets."""

from pathlib import Path
from typing import Any

import pytest

from fedloom.core import resolve
from fedloom.core.errors import FedloomError


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A user's own module with a builder in it."""
    head, doc = 'def mine(count: int = 1, folder: str = "none") -> tuple:', '"""Mine.\n\n    More."""'
    (tmp_path / "a_users_own.py").write_text(f"{head}\n    {doc}\n    return count, folder\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    return "a_users_own:mine"


def test_known_finds_files_and_skips_helpers() -> None:
    known = resolve.known("methods")
    assert known["fedavg"] == "fedloom.methods.fedavg"
    assert not any("common" in name for name in known)


def test_known_writes_folders_with_slashes_and_dashes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "some_axis"
    (package / "icons_qa").mkdir(parents=True)
    (package / "_helpers").mkdir()
    for file in (
        "icons_qa/__init__.py",
        "icons_qa/choose_txt.py",
        "two_words.py",
        "_helpers/__init__.py",
        "_helpers/x.py",
    ):
        (package / file).write_text("")
    import fedloom

    monkeypatch.setattr(fedloom, "__path__", [*fedloom.__path__, str(tmp_path)])
    assert resolve.known("some_axis") == {
        "icons-qa/choose_txt": "fedloom.some_axis.icons_qa.choose_txt",
        "two-words": "fedloom.some_axis.two_words",
    }


def test_an_unknown_name_gets_the_nearest() -> None:
    with pytest.raises(FedloomError, match=r"methods: there is no 'fedprx'\. Did you mean 'fedprox'"):
        resolve.build("methods", "fedprx", {})


def test_an_unknown_option_gets_the_nearest() -> None:
    with pytest.raises(
        FedloomError, match=r"methods: 'fedavgm' has no option 'beta'\. Did you mean 'beta1' or 'eta'\?"
    ):
        resolve.build("methods", "fedavgm", {"beta": 0.9})


@pytest.mark.parametrize("options", [{"mu": "much"}, {"mu": [1]}])
def test_an_option_of_the_wrong_type_is_named(options: dict[str, Any]) -> None:
    with pytest.raises(FedloomError, match=r"methods: 'fedprox': mu: .*number"):
        resolve.build("methods", "fedprox", options)


def test_a_users_own_builder(own: str) -> None:
    assert resolve.build("methods", own, {"count": "3"}) == (3, "none")
    assert resolve.summary("methods", own) == "Mine."


def test_what_is_given_reaches_whoever_asks_and_cannot_be_an_option(own: str) -> None:
    assert resolve.build("methods", own, {}, folder="here", seed=3) == (1, "here")
    with pytest.raises(FedloomError, match="no option 'folder'"):
        resolve.build("methods", own, {"folder": "there"}, folder="here")


@pytest.mark.parametrize("name", ["no_such_module:f", "fedloom.core.errors:no_such_function"])
def test_what_cannot_be_imported_is_named(name: str) -> None:
    with pytest.raises(FedloomError, match=f"'{name}' cannot be imported: .*package.module:function"):
        resolve.builder("methods", name)


@pytest.mark.parametrize("name", ["os:system", "os:sep", "pathlib:Path"])
def test_what_is_no_function_of_pythons_is_named(name: str) -> None:
    with pytest.raises(FedloomError, match=f"methods: '{name}' is "):
        resolve.build("methods", name, {})


@pytest.mark.parametrize("name", sorted(resolve.known("methods")))
def test_every_method_has_a_summary_for_the_lists(name: str) -> None:
    summary = resolve.summary("methods", name)
    assert summary.endswith(".")
    assert len(summary) <= 110


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("def mine():\n    raise KeyError('label')", r"'{}:mine' failed: KeyError: 'label'"),
        ("def mine(:", r"'{}:mine' cannot be imported: SyntaxError"),
        ("1 / 0", r"'{}:mine' cannot be imported: ZeroDivisionError: division by zero"),
    ],
)
def test_what_a_users_own_module_raises_is_told_with_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, told: str
) -> None:
    name = f"raises_{len(text)}"
    (tmp_path / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(FedloomError, match="tasks: " + told.format(name)):
        resolve.build("tasks", f"{name}:mine", {})


def test_a_missing_option_is_said_to_be_missing() -> None:
    with pytest.raises(FedloomError, match=r"'distil': teacher: it must be given\."):
        resolve.build("objectives", "distil", {})
