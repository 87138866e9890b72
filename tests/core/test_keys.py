"""Keys that people type in short, and lists of one value."""

from pathlib import Path

import pytest

from fedloom.core import config
from fedloom.core.errors import FedloomError
from fedloom.core.files import name_error


@pytest.mark.parametrize(
    ("key", "meant"),
    [
        ("lr", "Did you mean 'client.lr'?"),
        ("rank", "Did you mean 'adapter.rank'?"),
        ("mehtod", "Did you mean 'method'?"),
        ("batch", "Did you mean 'client.batch_size' or 'evaluation.batch_size'?"),
        ("alpha", "Did you mean 'adapter.alpha'?"),
        ("clients", "Did you mean 'scenario.clients' or 'client'?"),
        ("client.batch", "Did you mean 'client.batch_size'?"),
        ("evaluation.evry", "Did you mean 'evaluation.every'?"),
    ],
)
def test_a_key_typed_in_short_is_answered_with_its_table(key: str, meant: str) -> None:
    with pytest.raises(FedloomError) as caught:
        config.load("quickstart", [f"{key}=1"])
    assert f"--set {key}=1: unknown key {key!r}. {meant}" in str(caught.value)
    assert str(caught.value).count("Did you mean") == 1


def test_an_option_that_no_kind_of_adapter_has_is_answered_with_its_keys() -> None:
    with pytest.raises(FedloomError, match=r"\[adapter\] 'lora' has no key 'were'. Did you mean 'where'\?"):
        config.build(config.load("quickstart", ["adapter.were=1"]), "adapter")


@pytest.mark.parametrize("override", ["adapter.where=vision", 'adapter.where=["vision"]'])
def test_one_value_makes_a_list_in_an_override(override: str) -> None:
    assert config.load("quickstart", [override]).adapter.where == ["vision"]


def test_one_value_makes_a_list_in_a_file(tmp_path: Path) -> None:
    text = (config.PRESETS / "quickstart.toml").read_text(encoding="utf-8")
    file = tmp_path / "own.toml"
    file.write_text(text + '\n[channel]\nup = "int8"\n', encoding="utf-8")
    assert config.load(file).channel.up == ["int8"]


@pytest.mark.parametrize("override", ["model=nano-clip", "adapter=nano", "engine=flower", "sampling=size"])
def test_a_table_is_set_by_the_name_of_its_choice_alone(override: str) -> None:
    table, name = override.split("=")
    found = getattr(config.load("quickstart", [override]), table)
    assert name in (getattr(found, "name", ""), getattr(found, "kind", ""))


@pytest.mark.parametrize(
    "name",
    ["../../x", "a/b", "a\\b", ".hidden", " a", "a ", "a.", "CON", "nul.txt", "a\nb", "a\tb", "a\u202eb", "x" * 200],
)
def test_a_name_that_is_no_file_name_is_refused(name: str) -> None:
    assert name_error(name).startswith("a file name")
    with pytest.raises(FedloomError, match=r"name = .*: expected a file name"):
        config.load("quickstart", [f"name={name}"])


@pytest.mark.parametrize("name", ["my run", "Versuch 3", "\u5b9f\u9a13", "a+b=c", "v1.2"])
def test_a_name_that_is_one_is_taken(name: str) -> None:
    assert name_error(name) == ""
    assert config.load("quickstart", [f'name="{name}"']).name == name
