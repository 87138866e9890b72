"""The desk: each letter answered once, from one loaded model, and from what is the site's own."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fedloom import __version__, models
from fedloom.core import config, wire
from fedloom.core.config import Experiment
from fedloom.core.contracts import Data, Job, Reply, Task
from fedloom.federation.client import Trainer
from fedloom.federation.inputs import told_of_data
from fedloom.federation.kept import Kept
from fedloom.federation.messages import Outbox
from fedloom.federation.setup import Setup
from fedloom.site.desk import Desk
from fedloom.site.letter import Letter
from fedloom.site.policy import OWN, Policy
from tests.federation import toy
from tests.tasks.test_contract import nlvr_folder

TOYS = Policy(code=["tests.federation.toy:*"])
Ask = Callable[..., Letter]


@pytest.fixture(autouse=True)
def _toy(monkeypatch: pytest.MonkeyPatch) -> None:
    toy.use(monkeypatch)


def desk(state: Path, site: str = "0", policy: Policy = TOYS, **rest: Any) -> Desk:
    return Desk(state, site, policy, **rest)


def letter(experiment: Experiment, kind: str = "train", client: str = "0", round: int = 1, **changed: Any) -> Letter:
    """What a server asks a client in a round, as if nothing had been learnt so far."""
    setup = Setup(experiment)
    state = setup.method.server.init(setup.initial, setup.scale, 3)
    (job,) = Outbox(setup, round, state, [setup.clients[client]], kind=kind).jobs()  # type: ignore[arg-type]
    made = Letter(kind, "run1", f"{kind}-{round}", client, round, 0, config.dump(experiment), "toy", parcel=job.parcel)  # type: ignore[arg-type]
    return replace(made, **changed)


def hello(experiment: Experiment, run: str = "run1") -> Letter:
    return Letter("hello", run, "h", experiment=config.dump(experiment))


def good(answer: Letter) -> Letter:
    assert answer.error == ""
    return answer


def kept(folder: Path) -> dict[str, bytes]:
    """Everything that is kept below a folder, by its path there."""
    return {str(file.relative_to(folder)): file.read_bytes() for file in sorted(folder.rglob("*.safetensors"))}


def locally(experiment: Experiment, folder: Path, *letters: Letter) -> list[Reply]:
    """The same work by the local engine's trainer."""
    trainer = Trainer(Setup(experiment), Kept(folder))
    return [trainer.run(Job(each.round, each.client, each.parcel, each.kind, each.counted)) for each in letters]  # type: ignore[arg-type]


# --- who is here --------------------------------------------------------------------------------------------------


def test_it_says_who_is_here_and_what_it_holds(tmp_path: Path) -> None:
    experiment = toy.experiment()
    facts = good(desk(tmp_path, "1").answer(hello(experiment))).facts
    setup = Setup(experiment)
    assert facts.pop("peak_memory_bytes")
    assert facts == {
        "site": "1",
        "train": 6,  # 18 and 9 dealt to three
        "test": 3,
        "data": told_of_data(setup),
        "model": "toy",
        "fedloom": __version__,
        "loads": 1,
    }


def test_it_tells_the_parts_of_its_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(toy.Toy, "identity", {"weights": "w", "config.json": "c"}, raising=False)
    facts = good(desk(tmp_path, "1").answer(hello(toy.experiment()))).facts
    told = {name: value for name, value in facts.items() if name.startswith("model")}
    assert told == {"model": "toy", "model: weights": "w", "model: config.json": "c"}


def test_a_site_that_the_experiment_does_not_know_says_so(tmp_path: Path) -> None:
    answer = desk(tmp_path, "mercy").answer(hello(toy.experiment()))
    assert answer.error == "site 'mercy': the experiment has no such client."
    assert answer.facts == {}


# --- a turn -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sets", [["method=fedavg"], ["method=scaffold"], ["method=ditto", 'channel.up=["sign"]']])
def test_a_turn_has_the_bytes_of_the_local_engine(tmp_path: Path, sets: list[str]) -> None:
    experiment = toy.experiment(*sets)
    asked = letter(experiment)
    answer = good(desk(tmp_path / "site").answer(asked))
    (reply,) = locally(experiment, tmp_path / "local", asked)
    assert answer.parcel == reply.parcel
    assert reply.parcel
    assert kept(tmp_path / "site" / "runs" / "run1" / "kept") == kept(tmp_path / "local")
    assert (answer.kind, answer.run, answer.nonce, answer.client, answer.round) == ("train", "run1", "train-1", "0", 1)
    assert 0 < answer.seconds < 60


def test_an_evaluation_has_the_bytes_of_the_local_engine(tmp_path: Path) -> None:
    experiment = toy.experiment("method=ditto", "evaluation.where=clients")
    turn, score = letter(experiment), letter(experiment, "evaluate", counted=1)
    here = desk(tmp_path / "site")
    answers = [good(here.answer(each)).parcel for each in (turn, score)]
    assert answers == [reply.parcel for reply in locally(experiment, tmp_path / "local", turn, score)]
    assert wire.unpack(answers[1], max_bytes=2**20).facts["tested"] == 3


# --- replays ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["scaffold", "ditto"])
def test_the_very_last_letter_may_come_again_and_has_the_same_bytes(tmp_path: Path, method: str) -> None:
    """A worker that was killed before its answer was through is asked again."""
    experiment = toy.experiment(f"method={method}")
    one, two = letter(experiment), letter(experiment, round=2, counted=1)
    here = desk(tmp_path)
    first = good(here.answer(one)).parcel
    assert good(here.answer(one)).parcel == first
    second = good(here.answer(two)).parcel
    after = kept(tmp_path)
    assert good(here.answer(two)).parcel == second != first
    assert good(desk(tmp_path).answer(two)).parcel == second  # a worker that was started again
    assert kept(tmp_path) == after


def test_a_letter_that_was_answered_before_the_last_is_a_replay(tmp_path: Path) -> None:
    experiment = toy.experiment("method=scaffold", "rounds=3")
    letters = [letter(experiment, round=round, counted=round - 1, nonce=f"{round}" * 9) for round in (1, 2, 3)]
    here = desk(tmp_path)
    for each in letters:
        good(here.answer(each))
    before = kept(tmp_path)
    for replayed in (letters[0], letters[1]):
        for place in (here, desk(tmp_path)):
            answer = place.answer(replayed)
            told = f"message {replayed.nonce[:8]} of round {replayed.round} was answered before: a replay"
            assert told in answer.error
            assert answer.parcel == b""
    assert kept(tmp_path) == before
    good(here.answer(letters[2]))


def test_the_same_nonce_in_another_run_is_no_replay(tmp_path: Path) -> None:
    experiment = toy.experiment()
    here = desk(tmp_path)
    for run in ("run1", "run2"):
        for round in (1, 2):
            good(here.answer(letter(experiment, round=round, run=run)))
    assert "a replay" in here.answer(letter(experiment, run="run2")).error


def test_what_was_refused_was_not_answered(tmp_path: Path) -> None:
    experiment = toy.experiment()
    here = desk(tmp_path)
    assert here.answer(letter(experiment, model="other", nonce="n")).error
    good(here.answer(letter(experiment, nonce="m")))
    good(here.answer(letter(experiment, nonce="n", round=2)))


# --- what is kept -------------------------------------------------------------------------------------------------


def test_what_a_site_keeps_lies_under_its_run_and_name(tmp_path: Path) -> None:
    experiment = toy.experiment("method=scaffold")
    good(desk(tmp_path / "one", "0").answer(letter(experiment, run="a1")))
    good(desk(tmp_path / "two", "2").answer(letter(experiment, client="2", run="b2")))
    assert list(kept(tmp_path)) == [
        "one/runs/a1/kept/0/000001.safetensors",
        "two/runs/b2/kept/2/000001.safetensors",
    ]


@pytest.mark.parametrize("method", ["scaffold", "ditto", "local"])
def test_a_worker_that_is_started_again_goes_on_with_what_the_site_kept(tmp_path: Path, method: str) -> None:
    experiment = toy.experiment(f"method={method}", "rounds=3")
    letters = [letter(experiment, round=round, counted=round - 1) for round in (1, 2, 3)]
    whole = desk(tmp_path / "whole")
    through = [good(whole.answer(each)).parcel for each in letters]
    broken = [good(desk(tmp_path / "broken").answer(each)).parcel for each in letters]
    assert broken == through
    assert kept(tmp_path / "broken") == kept(tmp_path / "whole")
    forgetful = [desk(tmp_path / each.nonce).answer(each).error for each in letters]
    assert [bool(error) for error in forgetful] == [False, True, True]


@pytest.mark.parametrize(
    "sets",
    [
        ["method=scaffold"],
        ["method=ditto"],
        ["method=fedsa-lora"],
        ["method=local"],
        ['channel.up=["feedback","int8"]'],
    ],
    ids=lambda sets: sets[0],
)
def test_what_the_site_kept_and_is_gone_ends_its_turn(tmp_path: Path, sets: list[str]) -> None:
    experiment = toy.experiment("rounds=3", *sets)
    heard: list[str] = []
    own = desk(tmp_path, tell=heard.append)
    good(own.answer(letter(experiment)))
    (file,) = tmp_path.rglob("000001.safetensors")
    held = file.read_bytes()
    file.unlink()
    late = letter(experiment, round=2, counted=1)
    assert "round 2: it failed" in own.answer(late).error
    assert "what it kept in round 1, is missing" in heard[-1]
    file.write_bytes(held)
    good(own.answer(letter(experiment, round=2, counted=1, nonce="again")))


def test_a_method_that_keeps_nothing_misses_nothing(tmp_path: Path) -> None:
    experiment, own = toy.experiment("rounds=3"), desk(tmp_path)
    good(own.answer(letter(experiment)))
    good(own.answer(letter(experiment, round=2, counted=1)))


def test_what_was_kept_in_a_turn_that_did_not_count_is_dropped(tmp_path: Path) -> None:
    experiment = toy.experiment("method=scaffold", "rounds=3")
    one, two, three = (letter(experiment, round=round, counted=1 if round > 1 else 0) for round in (1, 2, 3))
    late, absent = desk(tmp_path / "late"), desk(tmp_path / "absent")
    for each in (one, two, three):  # the reply to the second came too late: the third says that the first counted
        good(late.answer(each))
    for each in (one, three):
        good(absent.answer(each))
    assert list(kept(tmp_path / "late")) == [f"runs/run1/kept/0/00000{round}.safetensors" for round in (1, 3)]
    assert kept(tmp_path / "late") == kept(tmp_path / "absent")


def test_a_turn_that_is_done_again_does_not_begin_from_its_first_try(tmp_path: Path) -> None:
    experiment = toy.experiment("method=scaffold")
    first, again = (letter(experiment, round=2, counted=0, nonce=nonce) for nonce in ("a", "b"))
    here = desk(tmp_path)
    assert good(here.answer(first)).parcel == good(here.answer(again)).parcel


def test_an_evaluation_leaves_out_a_turn_that_did_not_count(tmp_path: Path) -> None:
    experiment = toy.experiment("method=local", "evaluation.where=clients", "client.epochs=5")
    asked = letter(experiment, "evaluate", "2", counted=0)
    late = desk(tmp_path / "late", "2")
    good(late.answer(letter(experiment, client="2")))  # its reply came too late
    assert kept(tmp_path / "late")
    found, wanted = (good(each.answer(asked)).parcel for each in (late, desk(tmp_path / "absent", "2")))
    assert wire.unpack(found, max_bytes=2**20).facts == wire.unpack(wanted, max_bytes=2**20).facts


def test_the_oldest_runs_are_forgotten(tmp_path: Path) -> None:
    experiment = toy.experiment("method=scaffold")
    here = desk(tmp_path, policy=Policy(code=["*"], keep_runs=2))
    for number in range(5):
        good(here.answer(letter(experiment, run=f"run{number}")))
    left = {folder.name for folder in (tmp_path / "runs").iterdir()}
    assert {"run3", "run4"} <= left
    assert len(left) <= 3  # those that are kept, and the one that goes on


def test_simulated_clients_keep_what_they_keep_in_one_folder(tmp_path: Path) -> None:
    experiment = toy.experiment("method=scaffold")
    here = desk(tmp_path, site="")
    asked = [letter(experiment, client=client) for client in "012"]
    for each in asked:
        good(here.answer(each))
    assert list(kept(tmp_path)) == [f"{client}/000001.safetensors" for client in "012"]
    assert {file.name for file in tmp_path.iterdir()} == {"0", "1", "2"}
    again = [good(here.answer(each)).parcel for each in asked]  # any node may have it again
    assert again == [reply.parcel for reply in locally(experiment, tmp_path / "local", *asked)]


# --- what is refused ----------------------------------------------------------------------------------------------


def test_a_letter_for_another_client_is_refused(tmp_path: Path) -> None:
    experiment = toy.experiment("method=scaffold")
    for client in ("1", "mercy", ""):
        answer = desk(tmp_path, "0").answer(replace(letter(experiment), client=client))
        assert answer.error == f"site '0': a message for client {client!r} is not for this site."
    assert kept(tmp_path) == {}
    answer = desk(tmp_path, "").answer(replace(letter(experiment), client="mercy"))
    assert answer.error == "a message for client 'mercy' is not for this site."


@pytest.mark.parametrize("kind", ["train", "evaluate"])
def test_another_models_adapter_is_refused_by_both_fingerprints(tmp_path: Path, kind: str) -> None:
    answer = desk(tmp_path).answer(letter(toy.experiment(), kind, model="0123456789abcdef"))
    assert answer.error == (
        "site '0': its model has the hash toy, the server's has 0123456789ab: other weights, or another configuration "
        "or processor. Give both the same files."
    )
    assert answer.parcel == b""


@pytest.mark.parametrize("kind", ["health", "stop"])
def test_a_server_cannot_ask_what_is_the_sites_own_business(tmp_path: Path, kind: str) -> None:
    answer = desk(tmp_path).answer(Letter(kind, run="run1"))  # type: ignore[arg-type]
    assert answer.error == f"site '0': '{kind}' is nothing that a server asks."


@pytest.mark.parametrize("run", ["", "..", "../../etc", "a/b", "a\0b", "a b", "x" * 9999])
def test_a_run_is_no_path(tmp_path: Path, run: str) -> None:
    answer = desk(tmp_path / "state").answer(letter(toy.experiment("method=scaffold"), run=run))
    assert answer.error.startswith("site '0': ")
    assert answer.parcel == b""
    assert list(kept(tmp_path)) == []


@pytest.mark.parametrize(
    ("text", "words"),
    [("", "model"), ("= [", "not valid TOML"), ("rounds = 'x'", "rounds"), ('[engine]\nnam = "x"', "engine.nam")],
)
def test_an_experiment_that_is_none_is_refused(tmp_path: Path, text: str, words: str) -> None:
    answer = desk(tmp_path).answer(Letter("hello", "run1", experiment=text))
    assert answer.error.startswith("site '0': the server's experiment")
    assert words in answer.error


@pytest.mark.parametrize("kind", ["hello", "train", "evaluate"])
@pytest.mark.parametrize(
    ("rules", "words"),
    [
        ({"tasks": ["x"], "code": []}, "code = []"),
        ({"max_rounds": 1}, "max_rounds = 1"),
        ({"max_rank": 1}, "max_rank = 1"),
        ({"min_examples": 7}, "min_examples = 7"),
        ({"max_steps": 2}, "max_steps = 2"),
        ({"other_models": False}, "other_models = false"),
    ],
)
def test_what_the_site_does_not_take_part_in_is_refused_whatever_is_asked(
    tmp_path: Path, kind: str, rules: dict[str, object], words: str
) -> None:
    policy = Policy.model_validate({"code": ["*"], **rules})
    answer = desk(tmp_path, policy=policy).answer(letter(toy.experiment("method=scaffold"), kind))
    assert answer.error.startswith("site '0': the site refuses ")
    assert words in answer.error
    assert kept(tmp_path) == {}


def test_the_steps_of_a_personal_adapter_are_counted_too(tmp_path: Path) -> None:
    rules = Policy(code=["*"], max_steps=3)  # 6 examples, two at a time
    for kind in ("hello", "train"):
        good(desk(tmp_path, policy=rules).answer(letter(toy.experiment("method=fedavg"), kind)))
        answer = desk(tmp_path, policy=rules).answer(letter(toy.experiment("method=ditto"), kind))
        assert answer.error == "site '0': the site refuses 6 steps a round: its site.toml says max_steps = 3."


def test_layers_are_chosen_by_patterns_only_where_the_site_says_so(tmp_path: Path) -> None:
    experiment = toy.experiment('adapter.names=["(a+)+$"]')
    answer = desk(tmp_path).answer(hello(experiment))
    assert answer.error == (
        "site '0': the site refuses adapter.names = ['(a+)+$']: its site.toml says layer_patterns = false."
    )
    good(desk(tmp_path, policy=Policy(code=["*"], layer_patterns=True)).answer(hello(experiment)))


def test_a_site_may_take_part_in_one_experiment_only(tmp_path: Path) -> None:
    agreed, other = toy.experiment(), toy.experiment("client.lr=0.5")
    here = desk(tmp_path, only=config.dump(agreed))
    refused = "site '0': the site takes part in one experiment only, and this is another (--only)."
    for _ in range(2):  # before it has loaded anything, and after
        for kind in ("hello", "train", "evaluate"):
            assert here.answer(letter(other, kind)).error == refused
        good(here.answer(hello(agreed)))
    good(here.answer(letter(agreed)))
    assert here.loads == 1


# --- which figures leave ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("metrics", "facts"),
    [("own", {"examples", "steps", "loss"}), ("sums", {"examples", "steps", "loss", "private"})],
)
def test_a_sites_loss_leaves_as_its_own_or_as_a_part_of_sums(tmp_path: Path, metrics: str, facts: set[str]) -> None:
    policy = Policy.model_validate({"code": ["*"], "metrics": metrics})
    answer = good(desk(tmp_path, policy=policy).answer(letter(toy.experiment())))
    assert wire.unpack(answer.parcel, max_bytes=2**20).facts.keys() == facts


def test_where_no_figure_may_leave_none_does(tmp_path: Path) -> None:
    here = desk(tmp_path, policy=Policy(code=["*"], metrics="none"))
    turn = good(here.answer(letter(toy.experiment())))
    assert wire.unpack(turn.parcel, max_bytes=2**20).facts == {"examples": 6, "steps": 3}
    answer = here.answer(letter(toy.experiment(), "evaluate"))
    assert answer.error == "site '0': the site lets no metric leave: its site.toml says metrics = 'none'."
    assert answer.parcel == b""


# --- what is loaded -----------------------------------------------------------------------------------------------


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the models that are loaded, one after the other."""
    names: list[str] = []

    def load(name: str, **rest: Any) -> toy.Toy:
        names.append(name)
        return toy.load(name, **rest)

    monkeypatch.setattr(models, "load", load)
    return names


def test_the_model_is_loaded_once_for_all_letters_and_runs_that_differ_only_in_how_they_learn(
    tmp_path: Path, loads: list[str]
) -> None:
    runs = [[], ["method=scaffold"], ["method=ditto", "rounds=9"], ["client.lr=0.5"], ['channel.up=["int8"]']]
    asked = [letter(toy.experiment(*sets), run=f"r{number}") for number, sets in enumerate(runs)]
    loads.clear()
    here = desk(tmp_path)
    for number, sets in enumerate(runs):
        good(here.answer(hello(toy.experiment(*sets), f"r{number}")))
        good(here.answer(asked[number]))
    assert here.loads == 1
    assert loads == ["toy"]
    fresh = [good(desk(tmp_path / "fresh").answer(each)).parcel for each in asked]
    mixed = [good(desk(tmp_path / "mixed").answer(each)).parcel for each in asked]
    assert mixed == fresh


def test_a_shared_model_gives_the_bytes_of_a_fresh_one(tmp_path: Path) -> None:
    runs = [["method=scaffold"], ["method=ditto"], ["method=stacking"], ["method=ffa-lora"], ["method=fedavg"]]
    asked = [letter(toy.experiment(*sets), run=f"r{number}") for number, sets in enumerate(runs)]
    one = desk(tmp_path / "one")
    shared = [good(one.answer(each)).parcel for each in (*asked, *asked)]
    fresh = [good(desk(tmp_path / f"{each.run}").answer(each)).parcel for each in asked]
    assert shared == [*fresh, *fresh]
    assert one.loads == 1


@pytest.mark.parametrize(
    "sets",
    [
        "seed=1",
        "adapter.rank=1",
        "scenario=quantity",
        "evaluation.limit=4",
        "model.dtype=bfloat16",
        "client.augment=crop",
    ],
)
def test_another_model_adapter_seed_or_data_is_loaded_anew(tmp_path: Path, loads: list[str], sets: str) -> None:
    here = desk(tmp_path)
    for experiment in (toy.experiment(), toy.experiment(sets), toy.experiment(sets)):
        good(here.answer(hello(experiment)))
    assert here.loads == len(loads) == 2


def test_a_model_that_was_loaded_before_the_first_letter_is_the_one(tmp_path: Path, loads: list[str]) -> None:
    here = desk(tmp_path)
    here.prepare(config.dump(toy.experiment()))
    assert good(here.answer(hello(toy.experiment()))).facts["loads"] == 1
    assert len(loads) == 1


def test_an_experiment_that_is_refused_does_not_cost_the_model(tmp_path: Path, loads: list[str]) -> None:
    here = desk(tmp_path)
    good(here.answer(hello(toy.experiment())))
    assert here.answer(hello(toy.experiment("method=os:system"))).error
    assert good(here.answer(hello(toy.experiment()))).facts["loads"] == 1
    assert len(loads) == 1


@pytest.mark.parametrize(
    ("own", "rules", "loaded"),
    [
        ("", {}, "toy"),
        ("/models/here", {}, "/models/here"),
        ("", {"models": {"toy": "/models/toy", "clip": "/x"}}, "/models/toy"),
        ("/models/here", {"models": {"toy": "/models/toy"}}, "/models/here"),
        ("", {"models": {"toy": "/models/toy"}, "other_models": False}, "/models/toy"),
    ],
)
def test_the_model_is_what_the_site_says_it_is(
    tmp_path: Path, loads: list[str], own: str, rules: dict[str, object], loaded: str
) -> None:
    policy = Policy.model_validate({"code": ["*"], **rules})
    good(desk(tmp_path, policy=policy, model=own).answer(hello(toy.experiment())))
    assert loads == [loaded]


@pytest.mark.parametrize(
    ("own", "rules", "wanted"),
    [
        ("", {}, ("openai/clip", "v1")),
        ("/models/here", {}, ("/models/here", "")),
        ("our/clip@abc", {}, ("our/clip", "abc")),
        ("", {"models": {"openai/clip@v1": "/models/clip"}, "other_models": False}, ("/models/clip", "")),
        ("", {"models": {"openai/clip@v1": "openai/clip@abc"}}, ("openai/clip", "abc")),
    ],
)
def test_a_revision_is_the_servers_or_what_the_site_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own: str, rules: dict[str, object], wanted: tuple[str, str]
) -> None:
    found: list[tuple[str, str]] = []

    def load(name: str, revision: str, **rest: Any) -> toy.Toy:
        found.append((name, revision))
        return toy.load(name, **rest)

    monkeypatch.setattr(models, "load", load)
    policy = Policy.model_validate({"code": ["*"], **rules})
    asked = toy.experiment("model.name=openai/clip", "model.revision=v1")
    good(desk(tmp_path, policy=policy, model=own).answer(hello(asked)))
    assert found == [wanted]


@pytest.mark.parametrize("form", ["absolute", "relative"])
def test_a_folder_of_the_sites_that_a_server_names_is_no_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, loads: list[str], form: str
) -> None:
    (tmp_path / "private").mkdir()
    monkeypatch.chdir(tmp_path)
    name = str(tmp_path / "private") if form == "absolute" else "private"
    experiment = toy.experiment(f"model.name={name}")
    answer = desk(tmp_path / "state").answer(hello(experiment))
    assert answer.error == (
        f"site '0': the site refuses the folder {name!r}, which a server names: "
        "its site.toml says models has no such name."
    )
    assert loads == []
    good(desk(tmp_path, policy=Policy(code=["*"], models={name: "/models/toy"})).answer(hello(experiment)))
    assert loads == ["/models/toy"]


# --- the site's own data ------------------------------------------------------------------------------------------


@pytest.fixture
def paths(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The folders that a task ``reads`` was loaded from, one after the other."""
    read: list[str] = []

    def reads(path: str = "") -> Task:
        def load() -> Data:
            read.append(path)
            return toy.task().load()

        return replace(toy.task(), load=load)

    monkeypatch.setattr(toy, "reads", reads, raising=False)
    return read


@pytest.mark.parametrize("own", ["", "/data/of/mercy"])
def test_data_is_read_from_the_sites_own_folder_whatever_the_server_says(
    tmp_path: Path, paths: list[str], own: str
) -> None:
    experiment = toy.experiment("task=tests.federation.toy:reads", "data.path=/the/servers/own")
    good(desk(tmp_path, data=own).answer(hello(experiment)))
    assert paths == [own]


def test_simulated_clients_read_the_servers_folder(tmp_path: Path, paths: list[str]) -> None:
    experiment = toy.experiment("task=tests.federation.toy:reads", "data.path=/the/servers/own")
    paths.clear()
    desk(tmp_path, site="").prepare(config.dump(experiment))
    assert paths == ["/the/servers/own"]


def test_simulated_clients_have_the_model_of_a_folder_and_as_many_threads_as_is_asked(
    tmp_path: Path, loads: list[str]
) -> None:
    here = desk(tmp_path, site="", policy=Policy.model_validate(OWN))
    here.prepare(config.dump(toy.experiment(f"model.name={tmp_path}", "engine.threads=1024", "rounds=9999")))
    assert loads == [str(tmp_path)]


def test_a_folder_that_only_the_server_has_is_not_looked_for_at_a_site(tmp_path: Path) -> None:
    folder = nlvr_folder(tmp_path / "own")
    experiment = toy.experiment("task=nlvr", f"data.path={tmp_path}/the/servers", "scenario.clients=2")
    answer = desk(tmp_path / "state", data=str(folder)).answer(hello(experiment))
    assert f"{tmp_path}/the/servers" not in answer.error
    assert good(answer).facts["site"] == "0"


def test_two_experiments_of_different_data_are_kept_apart(tmp_path: Path) -> None:
    one, two = toy.experiment(), toy.experiment("seed=1")
    here = desk(tmp_path)
    prints = [good(here.answer(hello(each))).facts["data"] for each in (one, two, one)]
    assert prints[0] == prints[2] != prints[1]
    parcels = [good(here.answer(letter(each, run=f"r{number}"))).parcel for number, each in enumerate((one, two, one))]
    assert parcels[0] == parcels[2] != parcels[1]
