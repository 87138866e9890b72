"""A site's own rules: every key refuses, and says which it was."""

from pathlib import Path

import pytest

from fedloom.core.config import Experiment
from fedloom.core.errors import FedloomError
from fedloom.site.policy import Policy, Refusal, read
from tests.federation import toy

PLAIN = ("task=icons-qa/choose_txt", "model.name=nano-vlm")
"""Overrides that make the toy's experiment one without code of a user's own."""


def asked(*sets: str) -> Experiment:
    return toy.experiment(*PLAIN, *sets)


ID = "openai/clip"

REFUSED: list[tuple[dict[str, object], list[str], str]] = [
    ({"tasks": ["icons-memes/*"]}, [], r"task 'icons-qa/choose_txt'.*tasks = \['icons-memes/\*'\]"),
    ({"tasks": []}, [], r"task 'icons-qa/choose_txt'.*tasks = \[\]"),
    ({"tasks": ["ICONS-QA/*"]}, [], "task 'icons-qa/choose_txt'.*tasks = "),
    ({"methods": ["fed*"]}, ["method=scaffold"], r"method 'scaffold'.*methods = \['fed\*'\]"),
    ({"adapters": ["lora"]}, ["adapter.kind=lora-sb"], r"adapter 'lora-sb'.*adapters = \['lora'\]"),
    ({"adapters": ["lora"]}, ['adapter.fully=["language_model"]'], r"adapter 'full'.*adapters = \['lora'\]"),
    ({"modalities": ["complete"]}, ["modality=missing"], r"modality 'missing'.*modalities = \['complete'\]"),
    ({"modalities": ["c*", "missing"]}, ["modality=hybrid"], r"modality 'hybrid'.*modalities = \['c\*', 'missing'\]"),
    ({"objectives": ["answer"]}, ["objective=classes"], r"objective 'classes'.*objectives = \['answer'\]"),
    (
        {"other_models": False, "models": {"nano-vlm": "nano-vlm"}},
        ["objective=distil", f"objective.teacher={ID}", "objective.revision=v1"],
        rf"objective.teacher '{ID}@v1'.*other_models = false",
    ),
    ({}, ["objective=distil", "objective.teacher=/srv/x"], r"objective.teacher, the folder '/srv/x', which a server"),
    ({}, ["objective=distil", "objective.teacher=3"], r"objective.teacher = 3, which is no model"),
    ({"other_models": False}, [], r"model 'nano-vlm'.*models = \[\] and other_models = false"),
    ({"models": {"clip": "/m"}, "other_models": False}, [], r"model 'nano-vlm'.*models = \['clip'\]"),
    ({"max_rank": 1}, [], "rank 2.*max_rank = 1"),
    ({"max_rank": 2}, ["adapter.ranks=[1,3,2]"], "rank 3.*max_rank = 2"),
    ({"max_rank": 2}, ["adapter.ranks=[1]", "adapter.rank=3", "adapter.rank_from=data"], "rank 3.*max_rank = 2"),
    ({"max_threads": 2}, ["engine.threads=3"], "engine.threads = 3.*max_threads = 2"),
    ({"max_clients": 2}, [], "scenario.clients = 3.*max_clients = 2"),
    ({"max_batch": 8}, ["client.batch_size=9"], "client.batch_size = 9.*max_batch = 8"),
    ({"max_batch": 8}, ["evaluation.batch_size=9"], "evaluation.batch_size = 9.*max_batch = 8"),
    ({"max_new_tokens": 2}, ["model.max_new_tokens=3"], "model.max_new_tokens = 3.*max_new_tokens = 2"),
    ({"max_cache_mb": 2}, ["model.cache_mb=3"], "model.cache_mb = 3.*max_cache_mb = 2"),
    ({"max_cache_mb": 512}, ["model.disk_cache_mb=513"], "model.disk_cache_mb = 513.*max_cache_mb = 512"),
    (
        {"max_seconds": 99},
        ["split.wire=full", "split.patience=100.0", "split.deadline=1.0"],
        "split.patience = 100.0.*max_seconds = 99",
    ),
    ({"max_seconds": 99}, ["split.wire=full", "split.deadline=100.0"], "split.deadline = 100.0.*max_seconds = 99"),
    ({"max_rounds": 1}, [], "rounds 2.*max_rounds = 1"),
    (
        {"other_models": False, "models": {f"{ID}@v1": "/m"}},
        [f"model.name={ID}"],
        f"model '{ID}'.*other_models = false",
    ),
    (
        {"other_models": False, "models": {f"{ID}@v1": "/m"}},
        [f"model.name={ID}", "model.revision=v2"],
        f"model '{ID}@v2'.*other_models = false",
    ),
    ({}, ['adapter.names=["q_proj$"]'], r"adapter\.names = \['q_proj\$'\].*layer_patterns = false"),
    ({}, ["model.name=src/../no-such-folder"], r"the folder 'src/\.\./no-such-folder', which a server names"),
    ({}, ["model.name=./clip"], r"the folder '\./clip', which a server names.*models has no such name"),
    ({}, ["model.name=/srv/clip"], "the folder '/srv/clip'.*models has no such name"),
    ({}, ["model.name=~/clip"], "the folder '~/clip'.*models has no such name"),
    ({"models": {"clip": "/srv/clip"}}, ["model.name=/srv/clip"], "the folder '/srv/clip'.*models has no such name"),
    ({"methods": ["fedavg"]}, ['method.with=["fedprox:0.1"]'], r"method 'fedprox': its site.toml says methods ="),
]


@pytest.mark.parametrize(("rules", "sets", "words"), REFUSED, ids=[f"{rules} {sets}" for rules, sets, _ in REFUSED])
def test_every_key_refuses_and_the_message_names_it(rules: dict[str, object], sets: list[str], words: str) -> None:
    with pytest.raises(FedloomError, match=f"^the site refuses {words}"):
        Policy.model_validate(rules).check(asked(*sets))


ALLOWED: list[tuple[dict[str, object], list[str]]] = [
    ({}, []),
    ({"tasks": ["icons-memes/*", "icons-qa/*"]}, []),
    ({"tasks": ["icons-qa/choose_txt"]}, []),
    ({"methods": ["fed*"]}, ["method=fedprox"]),
    ({"methods": ["fed*"]}, ['method.with=["fedprox:0.1"]']),
    ({"methods": ["fed*"], "code": ["mine.*"]}, ['method.with=["mine.methods:own:0.1"]']),
    ({"models": {"nano-vlm": "/models/vlm"}, "other_models": False}, []),
    ({"max_rank": 2, "max_rounds": 2}, []),
    ({"max_rank": 3}, ["adapter.ranks=[1,3,2]", "adapter.rank=8"]),
    ({"max_rank": 0, "max_rounds": 0}, ["adapter.rank=999", "rounds=9999"]),
    ({"max_threads": 0, "max_clients": 0}, ["engine.threads=1024", "scenario.clients=1000000"]),
    ({"max_batch": 0, "max_new_tokens": 0}, ["client.batch_size=9999", "model.max_new_tokens=9999"]),
    ({"max_cache_mb": 0, "max_seconds": 0}, ["model.cache_mb=99999", "split.patience=999999.0"]),
    ({"max_cache_mb": 512, "max_batch": 32, "max_new_tokens": 16, "max_seconds": 9, "max_clients": 3}, []),
    ({"max_seconds": 120}, ["split.wire=full"]),
    ({"code": ["mine:*"]}, ["task=mine:task", "method=mine:ffa", "model.name=mine:model"]),
    ({"tasks": ["icons-qa/*"], "code": ["mine:task"]}, ["task=mine:task"]),
    ({"models": {"mine:model": "/models/vlm"}}, ["model.name=mine:model"]),
    ({"layer_patterns": True}, ['adapter.names=["q_proj$"]']),
    ({"models": {"/their/clip": "/srv/clip"}, "other_models": False}, ["model.name=/their/clip"]),
    ({}, ["model.name=openai/clip-vit-base-patch32"]),
    ({"other_models": False, "models": {f"{ID}@v1": "/m"}}, [f"model.name={ID}", "model.revision=v1"]),
    ({"other_models": False, "models": {ID: "/m"}}, [f"model.name={ID}", "model.revision=v1"]),
]


@pytest.mark.parametrize(("rules", "sets"), ALLOWED, ids=[f"{rules} {sets}" for rules, sets in ALLOWED])
def test_what_a_rule_names_is_allowed(rules: dict[str, object], sets: list[str]) -> None:
    Policy.model_validate(rules).check(asked(*sets))


def test_a_folder_that_is_here_is_refused_whatever_it_looks_like(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    owner = asked("model.name=owner/clip")
    Policy().check(owner)
    (tmp_path / "owner" / "clip").mkdir(parents=True)
    with pytest.raises(FedloomError, match="the site refuses the folder 'owner/clip', which a server names"):
        Policy().check(owner)
    Policy(models={"owner/clip": "owner/clip"}).check(owner)


@pytest.mark.parametrize("ending", ["", "@1", "/choose_txt", "/choose_img@7"])
def test_what_a_drawn_models_name_ends_in_leads_to_no_other_folder(
    ending: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``FOLDER/FORM@SEED`` is the folder of a Patch-TRM: a site's own is refused under every such name."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "private").mkdir()
    (tmp_path / "private" / "config.json").write_text('{"model_type": "patch-trm"}')
    with pytest.raises(FedloomError, match="which a server names"):
        Policy().check(asked(f"model.name=private{ending}"))
    Policy().check(asked(f"model.name=patch-trm{ending}"))  # which ships


@pytest.mark.parametrize(
    ("models", "revision", "here"),
    [
        ({}, "v1", None),
        ({f"{ID}@v1": "/srv/clip"}, "v1", ("/srv/clip", "")),
        ({f"{ID}@v1": "/srv/clip"}, "v2", None),
        ({f"{ID}@v1": "/srv/one", ID: "/srv/any"}, "v1", ("/srv/one", "")),
        ({f"{ID}@v1": "/srv/one", ID: "/srv/any"}, "v2", ("/srv/any", "")),
        ({ID: "/srv/at@home"}, "", ("/srv/at@home", "")),
        ({ID: f"{ID}@abc"}, "v1", (ID, "abc")),  # the site's own word counts
        ({ID: ID}, "v1", (ID, "v1")),
        ({ID: "our/clip"}, "v1", ("our/clip", "")),
        ({ID: "our/clip@abc"}, "", ("our/clip", "abc")),
    ],
)
def test_a_rule_may_name_a_revision(models: dict[str, str], revision: str, here: tuple[str, str] | None) -> None:
    model = asked(f"model.name={ID}", f"model.revision={revision}").model
    assert Policy(models=models).place(model) == here


@pytest.mark.parametrize(
    ("code", "name"),
    [
        ([], "os:system"),
        (["mine"], "mine:task"),
        (["mine:task"], "mine:tasks"),
        (["mine:task"], "not.mine:task"),
        (["mine:*"], "Mine:task"),
    ],
)
def test_a_function_that_no_pattern_names_is_refused_by_its_name_and_the_key(code: list[str], name: str) -> None:
    with pytest.raises(Refusal) as refused:
        Policy(code=code).guard(name)
    assert str(refused.value) == f"the site refuses code {name!r}: its site.toml says code = {code}."


@pytest.mark.parametrize("pattern", ["mine:task", "mine:*", "m*", "*"])
def test_a_function_that_a_pattern_names_may_be_called(pattern: str) -> None:
    Policy(code=["other:task", pattern]).guard("mine:task")


def test_what_a_rule_refuses_may_be_told_to_a_server() -> None:
    refusing: list[dict[str, object]] = [{"tasks": []}, {"max_rank": 1}, {"other_models": False}]
    for rules in refusing:
        with pytest.raises(Refusal):
            Policy.model_validate(rules).check(asked())


# 20 examples in batches of 8 are 3 steps an epoch.
@pytest.mark.parametrize(
    ("rules", "sets", "words"),
    [
        ({"min_examples": 21}, [], "training on 20 examples.*min_examples = 21"),
        ({"min_examples": 9}, ["client.max_steps=1"], "training on 8 examples.*min_examples = 9"),
        ({"max_steps": 2}, [], "3 steps a round.*max_steps = 2"),
        ({"max_steps": 5}, ["client.epochs=2"], "6 steps a round.*max_steps = 5"),
        ({"max_steps": 3}, ["client.epochs=2", "client.max_steps=4"], "4 steps a round.*max_steps = 3"),
    ],
)
def test_too_much_work_or_too_few_examples_are_refused(rules: dict[str, object], sets: list[str], words: str) -> None:
    with pytest.raises(FedloomError, match=f"^the site refuses {words}"):
        Policy.model_validate(rules).check_work(asked("client.batch_size=8", *sets), 20)


@pytest.mark.parametrize(
    ("rules", "sets"),
    [
        ({"min_examples": 20}, []),
        ({"min_examples": 16}, ["client.max_steps=2"]),
        ({"max_steps": 3}, []),
        ({"max_steps": 4}, ["client.epochs=9", "client.max_steps=4"]),
        ({"max_steps": 0}, ["client.epochs=9999"]),
        ({}, ["client.epochs=3333"]),
    ],
)
def test_as_much_work_as_a_rule_says_is_done(rules: dict[str, object], sets: list[str]) -> None:
    Policy.model_validate(rules).check_work(asked("client.batch_size=8", *sets), 20)


def test_a_first_update_is_one_of_fifty_examples_at_most() -> None:
    experiment = asked("client.batch_size=8", "adapter.init=update")
    Policy(min_examples=50).check_work(experiment, 99)
    with pytest.raises(Refusal, match=r"a first update of 50 examples: .*min_examples = 51"):
        Policy(min_examples=51).check_work(experiment, 99)


@pytest.mark.parametrize(("sets", "steps"), [([], 6), (["client.epochs=9", "client.max_steps=4"], 8)])
def test_the_steps_of_every_adapter_that_is_trained_are_counted(sets: list[str], steps: int) -> None:
    asks = asked("client.batch_size=8", *sets)
    Policy(max_steps=steps).check_work(asks, 20, passes=2)
    with pytest.raises(FedloomError, match=f"{steps} steps a round.*max_steps = {steps - 1}"):
        Policy(max_steps=steps - 1).check_work(asks, 20, passes=2)


def test_a_file_is_read_and_no_file_is_the_defaults(tmp_path: Path) -> None:
    file = tmp_path / "site.toml"
    file.write_text(
        'tasks = ["icons-qa/*"]\nmax_rounds = 9\nmax_message_mb = 2\nmetrics = "sums"\n[models]\nclip = "/m/clip"\n'
    )
    found = read(file)
    assert (found.tasks, found.max_rounds, found.metrics) == (["icons-qa/*"], 9, "sums")
    assert found.models == {"clip": "/m/clip"}
    assert found.max_bytes == 2 * 1024 * 1024
    assert read(None) == Policy()


def test_the_defaults_allow_no_code_and_have_limits() -> None:
    rules = Policy()
    assert (rules.code, rules.layer_patterns, rules.metrics, rules.max_bytes) == ([], False, "own", 2 * 2**30)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("max_rouns = 3", r"max_rouns: .*Known keys: tasks, .*max_rounds"),
        ("max_rounds = -1", "max_rounds"),
        ("max_rounds = 1.5", "max_rounds"),
        ("layer_patterns = 1", "layer_patterns"),
        ('max_steps = "3"', "max_steps"),
        ("max_message_mb = 0", "max_message_mb"),
        ("keep_runs = 0", "keep_runs"),
        ('metrics = "all"', "metrics"),
        ("tasks = 3", "tasks"),
        ("models = ['a']", "models"),
        ("tasks = [", "cannot be read as a site's rules"),
        ("\xff", "cannot be read as a site's rules"),
    ],
)
def test_a_file_that_is_wrong_is_refused_by_its_name_and_key(tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "site.toml"
    file.write_bytes(text.encode("latin-1"))
    with pytest.raises(FedloomError, match=f"(?s)^{file}: .*{words}"):
        read(file)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FedloomError, match=r"nowhere\.toml: cannot be read"):
        read(tmp_path / "nowhere.toml")


def test_a_byte_order_mark_before_the_rules_changes_nothing(tmp_path: Path) -> None:
    file = tmp_path / "site.toml"
    file.write_bytes(b"\xef\xbb\xbfmax_steps = 7\n")
    assert read(file).max_steps == 7
