from pathlib import Path

import pytest

from fedloom.core import config
from fedloom.core.errors import FedloomError

OLD = """
[model]
name = "nano-clip"
{loss}
[task]
name = "icons-classify"
[scenario]
name = "iid"
clients = 2
{more}
"""


def read(loss: str, more: str = "") -> config.Experiment:
    return config.parse(OLD.format(loss=loss, more=more), "old.toml")


def test_the_loss_of_a_model_is_an_objective_now() -> None:
    assert read('loss = "contrastive"').objective.name == "in-batch"
    assert read('loss = "contrastive"', '[objective]\nname = "in-batch"').objective.name == "in-batch"
    assert read('loss = "classes"') == read("")
    assert read('loss = "classes"', '[objective]\nname = "class-aware"').objective.name == "class-aware"
    written = config.dump(read('loss = "contrastive"'))
    assert "loss" not in written
    assert config.parse(written, "new.toml") == read('loss = "contrastive"')


def test_both_at_once_may_not_contradict() -> None:
    with pytest.raises(FedloomError, match=r"model.loss = 'contrastive' is objective.name = 'in-batch' now"):
        read('loss = "contrastive"', '[objective]\nname = "answer"')
    with pytest.raises(FedloomError, match=r"old.toml: .*model.loss is objective.name now"):
        read('loss = "hinge"')


def test_an_old_command_line_is_read(tmp_path: Path) -> None:
    file = tmp_path / "old.toml"
    file.write_text(OLD.format(loss="", more=""))
    assert config.load(file, ["model.loss=contrastive"]).objective.name == "in-batch"
    assert config.load(file, ["model.loss=classes", "objective=class-aware"]).objective.name == "class-aware"
