"""What is refused before anything runs, because only what is chosen knows it to be wrong."""

from pathlib import Path

import pytest

from fedloom.core.config import load, presets
from fedloom.core.errors import FedloomError
from fedloom.federation.check import check_experiment
from tests.core.test_config import SMALL, small

__all__ = ["small"]

TASK = "fake_task:build"


@pytest.fixture
def own(small: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """``small`` with a task of the test's own, so that only what is tested can be wrong."""
    (small.parent / "fake_task.py").write_text("def build(path: str, skills: list[str] = []): ...\n")
    method = "from fedloom.methods.fedprox import fedprox\n\n\ndef build(mu: float = 0.0):\n    return fedprox(mu)\n"
    (small.parent / "fake_method.py").write_text(method + "\n\ndef nothing(): ...\n")
    monkeypatch.syspath_prepend(small.parent)
    small.write_text(SMALL.replace("icons-qa/choose_txt", TASK) + '[method]\nname = "fake_method:build"\n')
    return small


def test_check_passes_what_is_right(own: Path) -> None:
    check_experiment(load(own, ["method.mu=0.1", 'channel.up=["fp16"]']))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("scenario.alpha=0", "'dirichlet': alpha = 0"),
        ("scenario.alpha=much", "alpha: .*got 'much'"),
        ("scenario.clinets=3", r"\[scenario\] 'dirichlet' has no key 'clinets'. Did you mean 'clients'"),
        ("scenario.name=dirichelt", "there is no 'dirichelt'. Did you mean 'dirichlet'"),
        ("task.skill=3", "has no key 'skill'. Did you mean 'skills'"),
        ("method.nu=3", "has no key 'nu'. Known: mu, name"),
        ("method=fake_method:nothing", "'fake_method:nothing' builds a NoneType, expected a .*Method"),
        ('method.with=["fedprx"]', "method.with = 'fedprx': .*no 'fedprx'. Did you mean 'fedprox'"),
        (
            'method.with=["scaffold"]',
            "'scaffold' needs its own server.*can be added: conflict, ditto, feddpa-f, fedprox",
        ),
        ('channel.down=["fp15"]', "Did you mean 'fp16'"),
        ('channel.up=["fp16", "bf16"]', "both set the format"),
    ],
)
def test_check_refuses_before_anything_runs(own: Path, override: str, message: str) -> None:
    with pytest.raises(FedloomError, match=message):
        check_experiment(load(own, [override]))


def test_an_option_that_the_choice_does_not_have_is_refused_and_not_dropped(own: Path) -> None:
    with pytest.raises(FedloomError, match=r"\[scenario\] 'iid' has no key 'alpha'"):
        check_experiment(load(own, ["scenario.alpha=0.1", "scenario=iid"]))


@pytest.mark.parametrize("name", presets())
def test_shipped_presets_pass(name: str, tmp_path: Path) -> None:
    for part in ("train.jsonl", "dev.jsonl", "images"):  # for presets whose task reads a folder
        (tmp_path / part).touch()
    check_experiment(load(name, [f"data.path={tmp_path}"] if name == "nlvr" else []))


def test_the_folder_of_the_data_is_set_in_one_place(small: Path) -> None:
    with pytest.raises(FedloomError, match=r"\[task\] path = 'here': set data\.path instead, in \[data\]"):
        check_experiment(load(small, ["task=nlvr", "task.path=here"]))
