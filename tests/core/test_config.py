from pathlib import Path

import pytest

from fedloom.core import config, sources
from fedloom.core.config import dump, load
from fedloom.core.errors import FedloomError

SMALL = """
rounds = 3
[model]
name = "nano-vlm"
[task]
name = "icons-qa/choose_txt"
skills = ["count"]
[scenario]
name = "dirichlet"
clients = 4
alpha = 0.3
by = "pack"
"""


@pytest.fixture
def small(tmp_path: Path) -> Path:
    path = tmp_path / "small.toml"
    path.write_text(SMALL)
    return path


def test_tables_defaults_and_free_options(small: Path) -> None:
    experiment = load(small)
    assert experiment.rounds == 3
    assert experiment.scenario.clients == 4
    assert experiment.scenario.options == {"alpha": 0.3, "by": "pack"}
    assert experiment.task.options == {"skills": ["count"]}
    assert experiment.method.name == "fedavg"
    assert experiment.client.optimizer == "adamw"


def test_dump_loads_to_the_same(small: Path, tmp_path: Path) -> None:
    experiment = load(small, ["client.lr=0.5", 'channel.up=["fp16"]', "method.mu=0.1", "adapter.ranks=[2, 4]"])
    again = tmp_path / "again.toml"
    again.write_text(dump(experiment))
    assert load(again) == experiment
    assert "minimum = 2" in again.read_text()


def test_overrides_are_toml_or_else_strings(small: Path) -> None:
    experiment = load(
        small, ["client.lr=1e-4", "method.name=fedyogi", "seed=7", "data.path=../x", "scenario.alpha=9.5"]
    )
    assert experiment.client.lr == 1e-4
    assert experiment.method.name == "fedyogi"
    assert experiment.seed == 7
    assert experiment.data.path == "../x"
    assert experiment.scenario.options["alpha"] == 9.5


def test_an_axis_alone_is_a_fresh_choice(small: Path) -> None:
    experiment = load(small, ["scenario=iid"])
    assert experiment.scenario.name == "iid"
    assert experiment.scenario.clients == 4
    assert experiment.scenario.options == {}


@pytest.mark.parametrize("choice", ["method=fedprox", "method.name=fedprox"])
def test_a_choice_keeps_the_options_that_are_set_before_it(small: Path, choice: str) -> None:
    for overrides in (["method.mu=1.0", choice], [choice, "method.mu=1.0"]):
        experiment = load(small, overrides)
        assert (experiment.method.name, experiment.method.options) == ("fedprox", {"mu": 1.0})


def test_of_two_choices_and_of_two_values_the_later_holds(small: Path) -> None:
    experiment = load(small, ["method.name=fedavgm", "method.mu=1.0", "method.mu=2.0", "method=fedprox"])
    assert (experiment.method.name, experiment.method.options) == ("fedprox", {"mu": 2.0})


def test_overrides_without_some_tables() -> None:
    overrides = ["method=fedprox", "method.mu=1", "sampling.fraction=0.5", "rounds=3"]
    assert config.without(overrides, "method") == ["sampling.fraction=0.5", "rounds=3"]
    assert config.without(overrides, "method", "sampling") == ["rounds=3"]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("client.learning=1", "unknown key 'client.learning'.*client"),
        ("rouns=3", "Did you mean 'rounds'"),
        ("client.epoch=1", "Did you mean 'client.epochs'"),
        ("rounds", "expected key=value"),
        ("rounds=0", r"rounds = 0: expected greater than or equal to 1"),
        ("rounds=2.0", r"rounds = 2.0: expected a valid integer"),
        ("client.lr=fast", r"client.lr = 'fast': expected a valid number"),
        ("client.lr=0", r"client.lr = 0.*: expected greater than 0"),
        ("client.lr=nan", r"client.lr = nan: expected a finite number"),
        ("client.optimizer=adam", r"client.optimizer = 'adam': expected 'adamw', 'adamax' or 'sgd'"),
        ("scenario.clients=0", r"scenario.clients = 0"),
        ("sampling.fraction=0", r"sampling.fraction = 0"),
        ("sampling.fraction=1.5", r"sampling.fraction = 1.5: expected less than or equal to 1"),
        ("adapter.rank=0", r"adapter.rank = 0"),
        ("adapter.ranks=[4, 0]", r"adapter.ranks.1 = 0"),
        (
            'adapter.where=["eyes"]',
            r"adapter.where.0 = 'eyes': expected a component \(vision, .*or a glob over component.block.kind",
        ),
        (
            "client=3",
            r"\[client\] is a table; set one of its keys. Keys of \[client\]: .*lr, .*max_steps",
        ),
        ("compare.seeds=3", r"\[compare\] is set by the options of `fedloom compare`, such as --axis"),
    ],
)
def test_bad_overrides(small: Path, override: str, message: str) -> None:
    with pytest.raises(FedloomError, match=message):
        load(small, [override])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rounds = 3\nseed = x\n", r"bad.toml: not valid TOML: .*line 2"),
        (SMALL + "[clients]\nlr = 1.0", "unknown key 'clients'. Did you mean .*'client"),
        (SMALL + "[client]\nlearning_rate = 1.0", "unknown key 'client.learning_rate'"),
        (SMALL.replace("clients = 4", ""), "'scenario.clients' is missing"),
        (SMALL + "[client]\nlr = 0.1\nlr = 0.2", "not valid TOML"),
        (SMALL + "options = 3", r"scenario.options = 3: expected a valid dictionary"),
        (SMALL.replace("rounds = 3", "rounds = 3\nclient = 5"), r"client = 5: expected a table, \[client\]"),
    ],
)
def test_bad_files(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "bad.toml"
    path.write_text(text)
    with pytest.raises(FedloomError, match=message):
        load(path)


def test_unknown_source_names_the_presets(monkeypatch: pytest.MonkeyPatch, small: Path) -> None:
    monkeypatch.setattr(sources, "PRESETS", small.parent)
    assert load("small").rounds == 3
    with pytest.raises(FedloomError, match="Did you mean 'small'"):
        load("smal")
    with pytest.raises(FedloomError, match=r"gone.toml: cannot be read"):
        load("gone.toml")


def test_a_byte_order_mark_before_an_experiment(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_bytes(b"\xef\xbb\xbf" + dump(load("quickstart", ["seed=7"])).encode())
    assert load(file) == load("quickstart", ["seed=7"])


OWN = """
from fedloom.core.contracts import Data, Task
def {name}({signature}):
    return Task("mine", "accuracy", lambda: (path, on_bad), None, None)
"""


@pytest.mark.parametrize(
    ("signature", "sets", "expected"),
    [
        ('path="mine/pictures", on_bad="skip"', [], ("mine/pictures", "skip")),
        ('path="mine/pictures", on_bad="skip"', ["data.path=there"], ("there", "refuse")),
        ('path="mine/pictures", on_bad="refuse"', ["data.on_bad=skip"], ("mine/pictures", "skip")),
        ("path, on_bad", [], ("", "refuse")),
    ],
)
def test_path_and_on_bad_keep_their_defaults_without_a_folder(
    small: Path, monkeypatch: pytest.MonkeyPatch, signature: str, sets: list[str], expected: tuple[str, str]
) -> None:
    name = f"own_{len(signature)}_{len(sets)}"
    (small.parent / f"{name}.py").write_text(OWN.format(name=name, signature=signature))
    monkeypatch.syspath_prepend(str(small.parent))
    experiment = load(small, [f"task={name}:{name}", *sets])
    for same in (experiment, config.parse(dump(experiment), "again")):
        assert config.build(same, "task").load() == expected


def test_more_threads_than_a_process_starts_are_refused() -> None:
    """A hundred thousand end a process with a segmentation fault."""
    assert config.load("quickstart", ["engine.threads=1024"]).engine.threads == 1024
    with pytest.raises(FedloomError, match=r"engine\.threads = 100000: expected less than or equal to 1024"):
        config.load("quickstart", ["engine.threads=100000"])


ENDLESS = ["a = " + "[" * 100_000, "a." * 50_000 + "b = 1", "rounds = " + "9" * 5000, "[client]\nlr = " + "9" * 400]


@pytest.mark.parametrize("text", ENDLESS, ids=lambda text: text[:8])
def test_a_file_without_end_is_refused_with_its_name(tmp_path: Path, text: str) -> None:
    file = tmp_path / "given.toml"
    file.write_text(text)
    for read in (config.load, config.comparison, lambda _: config.parse(text, str(file))):
        with pytest.raises(FedloomError, match=r"given\.toml: not valid TOML: .*(levels deep|64 bits|4300 digits)"):
            read(file)


@pytest.mark.parametrize("value", ["[" * 100_000, "9" * 5000, "[" + "9" * 400 + "]"], ids=lambda text: text[:3])
def test_an_override_without_end_is_refused(value: str) -> None:
    with pytest.raises(FedloomError, match=r"--set .*(levels deep|64 bits|4300 digits)") as refused:
        config.load("quickstart", [f"adapter.ranks={value}"])
    assert len(str(refused.value)) < 300


@pytest.mark.parametrize("value", ["nan", "-inf", "[1.0, inf]"])
def test_an_option_that_is_no_finite_number_is_refused(value: str) -> None:
    with pytest.raises(FedloomError, match=r"expected finite numbers, but (test|bound) is (nan|-inf|inf)"):
        config.load("quickstart", [f"task.test={value}"])


def test_what_is_too_long_for_a_file_s_name_is_no_file() -> None:
    with pytest.raises(FedloomError, match="no such experiment file, and no preset"):
        config.load("x" * 5000)


def test_an_error_tells_of_no_more_than_can_be_read() -> None:
    with pytest.raises(FedloomError, match="and 1995 more") as refused:
        config.parse("\n".join(f"k{number} = '{'x' * 2000}'" for number in range(2000)), "given")
    assert len(str(refused.value)) < 20_000


# --- one file over another --------------------------------------------------------------------------------------------


def test_a_file_lies_over_the_one_that_it_is_like(small: Path, tmp_path: Path) -> None:
    """Keys are replaced one by one; an axis that names another choice takes none of the former one's options."""
    (tmp_path / "over.toml").write_text(
        'like = "small.toml"\n[scenario]\nname = "natural"\nby = "label"\n[client]\nlr = 0.5\n'
    )
    found, below = load(tmp_path / "over.toml"), load(small)
    assert found.scenario.options == {"by": "label"}  # no alpha of dirichlet
    assert (found.scenario.clients, found.rounds, found.client.lr) == (4, 3, 0.5)
    assert found.task == below.task
    assert load(tmp_path / "over.toml", ["scenario.by=pack"]).scenario.options == {"by": "pack"}


def test_a_file_takes_neither_name_nor_comparison_of_what_it_is_like(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text('like = "fedmllm"\nrounds = 2\n')
    assert load(tmp_path / "mine.toml").name == ""
    assert config.comparison(tmp_path / "mine.toml").axes == {}
    (tmp_path / "next.toml").write_text('like = "mine.toml"\n[client]\nlr = 0.25\n')
    found = load(tmp_path / "next.toml")
    assert (found.rounds, found.client.lr, found.model.name) == (2, 0.25, "nano-vlm")


def test_options_of_a_choice_two_files_below_stay_there(tmp_path: Path) -> None:
    (tmp_path / "low.toml").write_text(SMALL.replace('"dirichlet"', '"natural"').replace("alpha = 0.3\n", ""))
    (tmp_path / "middle.toml").write_text('like = "low.toml"\n[scenario]\nname = "dirichlet"\nalpha = 0.5\n')
    (tmp_path / "top.toml").write_text('like = "middle.toml"\n[scenario]\nname = "natural"\n')
    assert load(tmp_path / "low.toml").scenario.options == {"by": "pack"}
    assert load(tmp_path / "middle.toml").scenario.options == {"alpha": 0.5}
    assert load(tmp_path / "top.toml").scenario.options == {}


def test_a_folder_does_not_hide_the_preset_of_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "flora-clip").mkdir()
    monkeypatch.chdir(tmp_path)
    assert load("flora-pets").client.batch_size == load("flora-clip").client.batch_size == 128


def test_files_that_are_like_each_other_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text('like = "b.toml"\n')
    (tmp_path / "b.toml").write_text('like = "a.toml"\n')
    with pytest.raises(FedloomError, match=r"b.toml: like = 'a.toml' comes back to where it began"):
        load(tmp_path / "a.toml")
    (tmp_path / "a.toml").write_text("like = 3\n")
    with pytest.raises(FedloomError, match="like = 3: expected the name of a preset or a file"):
        load(tmp_path / "a.toml")
    (tmp_path / "a.toml").write_text('like = "quickstat"\n')
    with pytest.raises(FedloomError, match="Did you mean 'quickstart'"):
        load(tmp_path / "a.toml")
