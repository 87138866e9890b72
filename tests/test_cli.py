"""The command line: every command, what it prints, and what it says when something is wrong."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer
from PIL import Image

from fedloom import __version__, cli, engines
from fedloom.cli import lists, shell
from fedloom.core import config, lock, resolve
from fedloom.core.errors import FedloomError
from fedloom.federation.round import Stopped
from fedloom.federation.setup import Setup
from fedloom.report.words import MISSING
from tests.federation import toy
from tests.federation.test_record import after, outcome

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory with the toy's experiment in it."""
    toy.use(monkeypatch)
    toy.BEND.clear()
    monkeypatch.chdir(tmp_path)
    (tmp_path / "toy.toml").write_text(toy.toml())
    return tmp_path


@pytest.fixture
def fedloom(place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """``fedloom("run", "toy.toml")``: its exit status, standard output and standard error."""

    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["fedloom", *arguments])
        capsys.readouterr()
        code = 0
        try:
            cli.main()
        except SystemExit as exit:
            code = int(exit.code or 0)
        return code, *capsys.readouterr()

    return call


@pytest.mark.parametrize("name", ["../../../escaped", 'a" worker="/tmp/other', "a\nb", ""])
@pytest.mark.parametrize("command", ["start", "status", "stop"])
def test_a_site_s_name_leads_nowhere_else(fedloom: Command, place: Path, command: str, name: str) -> None:
    code, _, err = fedloom("site", command, "--name", name, "--state", "state")
    assert (code, err[: len("error: --name")]) == (1, "error: --name")
    assert not (place / "state").exists()


def test_what_others_wrote_steers_no_terminal(fedloom: Command, place: Path) -> None:
    (place / "a.toml").write_text(toy.toml() + '\n["\\u001b]0;title\\u0007\\u202e[bold]"]\n')
    code, _, err = fedloom("run", "a.toml")
    assert code == 1
    assert "\\x1b]0;title\\x07\\u202e[bold]" in err
    assert not {"\x1b", "\x07", "\u202e"} & set(err)


def test_run_writes_the_folder_and_says_where_the_page_and_the_adapter_are(fedloom: Command, place: Path) -> None:
    code, out, err = fedloom("run", "toy.toml")
    assert (code, err) == (0, "")
    assert "page     runs/toy/report.html\nadapter  runs/toy/adapter\n" in out
    assert "zero-shot" in out
    assert "federated (fedavg)" in out
    assert (place / "runs/toy/report.html").is_file()
    assert "\x1b" not in out  # no colour, no progress bar
    assert re.findall(r"^\d\d:\d\d:\d\d fedavg: round (\d)/2: 3 of 3 clients, loss \S+, score", out, re.M) == ["1", "2"]


def test_the_run_folders_name_tells_its_overrides(fedloom: Command, place: Path) -> None:
    code, out, _ = fedloom("run", "toy.toml", "--set", "rounds=1", "--set", "adapter.where=[ 'vision' ]")
    assert code == 0
    assert re.search(r"^adapter +runs/toy\+rounds=1\+adapter\.where=-vision~[0-9a-f]{16}/adapter$", out, re.M)
    assert fedloom("run", "toy.toml", "--out", "[bold]/x")[0] == 0
    assert (place / "[bold]/x/result.json").is_file()


def test_paths_are_never_wrapped(fedloom: Command) -> None:
    long = "/".join(["a-rather-long-name"] * 9)
    code, out, _ = fedloom("run", "toy.toml", "--set", "rounds=1", "--out", long)
    assert code == 0
    assert f"page     {long}/report.html\n" in out
    assert long in fedloom("run", "toy.toml", "--out", long)[2]  # refused: another experiment


def test_a_finished_run_is_read_again_and_another_experiment_is_refused(fedloom: Command, place: Path) -> None:
    fedloom("run", "toy.toml")
    before = (place / "runs/toy/result.json").stat().st_mtime_ns
    for more in ([], ["--resume"]):
        code, out, _ = fedloom("run", "toy.toml", *more)
        assert (code, out.count("runs/toy: already finished, nothing was run.")) == (0, 1)
        assert "round 1" not in out
    assert (place / "runs/toy/result.json").stat().st_mtime_ns == before
    code, _, err = fedloom("run", "toy.toml", "--set", "rounds=9", "--out", "runs/toy")
    assert (code, err.count("error:")) == (1, 1)
    assert "already holds something" in err
    assert "rounds: 2 in the folder, 9 asked for" in err
    changed = ["--set", "client.lr=0.5", "--set", "method=fedprox", "--out", "runs/toy", "--resume"]
    code, _, err = fedloom("run", "toy.toml", *changed)
    assert code == 1
    assert (
        '(method.name: "fedavg" in the folder, "fedprox" asked for; client.lr: 0.1 in the folder, 0.5 asked for)' in err
    )


def test_more_rounds_extend_a_finished_run(fedloom: Command, place: Path) -> None:
    fedloom("run", "toy.toml", "--name", "longer")
    code, out, err = fedloom("run", "toy.toml", "--name", "longer", "--set", "rounds=4", "--resume")
    assert (code, err) == (0, "")
    assert re.findall(r"round (\d)/4:", out) == ["3", "4"]
    fedloom("run", "toy.toml", "--name", "once", "--set", "rounds=4")
    assert outcome(place / "runs/longer") == outcome(place / "runs/once")


def test_a_name_is_the_folders_and_the_experiments(fedloom: Command, place: Path) -> None:
    assert fedloom("run", "toy.toml", "--name", "short", "--set", "rounds=1")[0] == 0
    assert 'name = "short"' in (place / "runs/short/config.toml").read_text()
    for name in ("../x", "a/b", ".x", "x" * 300, "a\nb", "nul"):
        code, _, err = fedloom("run", "toy.toml", "--name", name)
        assert (code, "expected a file name" in err) == (1, True), name
    (place / "bad.toml").write_text(toy.toml().replace('"toy"', '"../../x"', 1))
    assert "name = '../../x': expected a file name" in fedloom("run", "bad.toml")[2]
    assert sorted(path.name for path in place.iterdir()) == ["bad.toml", "runs", "toy.toml"]


def test_a_long_list_of_overrides_is_shortened_with_a_hash(fedloom: Command, place: Path) -> None:
    values = [f"adapter.names=['{letter * 90}']" for letter in "ab日"]
    for value in values:
        assert fedloom("run", "toy.toml", "--set", value, "--set", f"data.path={'x' * 0}", "--set", "rounds=1")[0] == 0
    names = [path.name for path in (place / "runs").iterdir()]
    assert len(names) == 3
    assert all(len(name.encode()) <= 150 and name.startswith("toy+adapter.names=") for name in names)


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_what_the_output_cannot_show_is_replaced(place: Path, encoding: str) -> None:
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    commands = (["plan", "quickstart"], ["methods"], ["presets"], ["config", "quickstart"], ["run", "日本.toml"])
    for command in commands if encoding == "ascii" else commands[-2:]:
        call = subprocess.run(
            [sys.executable, "-m", "fedloom.cli", *command], capture_output=True, check=False, env=environment
        )
        assert b"Traceback" not in call.stderr, command
        assert call.returncode == (1 if command[0] == "run" else 0)


def test_nobody_is_asked_anything(fedloom: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def ask(*_: Any, **__: Any) -> None:
        raise FedloomError(f"read {sys.stdin.read()!r}")

    monkeypatch.setattr(engines, "run", ask)
    assert fedloom("run", "toy.toml")[2] == "error: read ''\n"


def test_a_device_that_is_not_there_is_refused_at_once(fedloom: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FEDLOOM_DEVICE", raising=False)
    assert "device 'gpu'" in fedloom("run", "toy.toml", "--device", "gpu")[2]
    monkeypatch.setenv("FEDLOOM_DEVICE", "cuda:99")
    assert "FEDLOOM_DEVICE 'cuda:99'" in fedloom("run", "toy.toml")[2]


def test_figures_do_not_depend_on_a_screen(tmp_path: Path) -> None:
    code = "from fedloom.report.svg import canvas; import sys; assert 'matplotlib.pyplot' not in sys.modules"
    for backend in ("TkAgg", "nonsense"):
        environment = {**os.environ, "MPLBACKEND": backend}
        assert subprocess.run([sys.executable, "-c", code], check=False, env=environment).returncode == 0


@pytest.mark.parametrize("axis", lists.LISTS)
def test_show_tells_every_choices_options(fedloom: Command, axis: str) -> None:
    for name in resolve.known(axis):
        text = lists.description(axis, name)
        assert text.startswith(f"{name}\n\n{resolve.summary(axis, name)}")
        assert "options" in text
    if axis == "methods":
        assert "  mu: float = 0.01\n" in fedloom("methods", "show", "fedprox")[1]


def test_presets_have_a_line_each_and_config_shows_every_key(fedloom: Command, place: Path) -> None:
    out = fedloom("presets")[1]
    assert all(re.search(rf"^{name} +\w", out, re.M) for name in config.presets())
    code, out, _ = fedloom("config", "quickstart", "--set", "method=fedprox")
    assert code == 0
    (place / "again.toml").write_text(out)
    assert config.load(place / "again.toml") == config.load("quickstart", ["method=fedprox"])
    assert re.search(r"^# mu = 0.01 +# Option of 'fedprox'\.$", out, re.M)
    assert [line for line in out.splitlines() if " = " in line and not re.search(r"  # \S", line)] == []


def test_help_says_what_each_argument_is(fedloom: Command) -> None:
    for command in ("run", "compare", "plan", "rehearse", "config"):
        assert "preset such as" in " ".join(fedloom(command, "--help")[1].split()), command
    assert fedloom("rum")[2].count("Did you mean") == 1


def test_every_command_has_help(fedloom: Command) -> None:
    def all_of(command: Any, path: list[str]) -> None:
        assert fedloom(*path, "--help")[0] == 0, path
        for name, inner in getattr(command, "commands", {}).items():
            all_of(inner, [*path, name])

    all_of(typer.main.get_command(cli.app), [])


def test_bounds_stand_on_both_sides_of_the_method(fedloom: Command, place: Path) -> None:
    code, out, _ = fedloom("run", "toy.toml", "--bounds")
    assert code == 0
    out = out[out.index("on the test examples") :]
    rows = [row for row in ("zero-shot", "each client alone", "federated (fedavg)", "centralised") if row in out]
    assert [out.index(row) for row in rows] == sorted(out.index(row) for row in rows)
    assert len(rows) == 4
    assert sorted(path.name for path in (place / "runs").iterdir()) == ["toy", "toy-centralised", "toy-local"]
    assert "toy-local" in (place / "runs/toy/report.html").read_text()


def test_the_bounds_do_not_take_the_methods_options(fedloom: Command, place: Path) -> None:
    sets = ["--set", "method.mu=2.0", "--set", "method=fedprox", "--out", "runs/x"]
    assert fedloom("run", "toy.toml", "--bounds", *sets)[0] == 0
    assert "mu = 2.0" in (place / "runs/x/config.toml").read_text()
    assert "\nmu =" not in (place / "runs/x-local/config.toml").read_text()


def test_a_bound_is_not_run_twice(fedloom: Command, place: Path) -> None:
    code, out, _ = fedloom("run", "toy.toml", "--set", "method=local", "--bounds", "--out", "runs/alone")
    assert (code, out.count("each client alone")) == (0, 1)
    assert sorted(path.name for path in (place / "runs").iterdir()) == ["alone", "alone-centralised"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run", "toi.toml"], "toi.toml"),
        (["run", "quickstrat"], "Did you mean 'quickstart'?"),
        (["run", "toy.toml", "--set", "client.lrr=0.1"], "Did you mean 'client.lr'"),
        (["run", "toy.toml", "--set", "client.lr"], "expected key=value"),
        (["run", "toy.toml", "--set", "client.lr=fast"], "client.lr = 'fast'"),
        (["run", "toy.toml", "--set", "method=scafold"], "Did you mean 'scaffold'?"),
        (["run", "toy.toml", "--set", "engine.name=lokal"], "Did you mean 'local'?"),
        (["run", "toy.toml", "--set", "rounds=0"], "rounds = 0"),
        (["run", "toy.toml", "--data", "there"], "reads no folder"),
        (["compare", "toy.toml", "--axis", "method.name"], "expected key=value,value"),
        (["compare", "toy.toml", "--axis", "method.name=fedavg,fedd"], "there is no 'fedd'"),
        (["report", "runs/none"], "no such run folder"),
        (["export", "runs/none", "--out", "x"], "no run"),
        (["run", "toy.toml", "--set", "lr=0.1"], "Did you mean 'client.lr'?"),
        (["run", "toy.toml", "--set", "rank=4"], "Did you mean 'adapter.rank'?"),
        (["run", "toy.toml", "--set", "mehtod=fedavg"], "Did you mean 'method'?"),
        (["export", "runs/none", "--out", "x"], "there is no such folder"),
        (["run", "."], "cannot be read"),
        (["run", "toy.toml", "--out", "toy.toml"], "toy.toml is a file; expected the folder of a run"),
        (["compare", "toy.toml", "--out", "toy.toml"], "toy.toml is a file; expected the folder of a comparison"),
        (["compare", "toy.toml", "--device", "tpu"], "device 'tpu': it is none that fedloom computes on"),
        (["export", "toy.toml", "--out", "x"], "it is a file"),
        (["run", "toy.toml", "--set", "client=3"], "[client] is a table; set one of its keys"),
        (["methods", "show", "fedprx"], "Did you mean 'fedprox'"),
        (["tasks", "show", "icons-memez"], "Did you mean 'icons-memes'?"),
        (["scenarios", "show", "idd"], "Did you mean 'iid'?"),
        (["tasks", "show", "icons-qa/choose_txt", "--count", "1", "--out", "x.xyz"], "end in .png"),
        (["scenarios", "show", "iid", "--for", "toy.toml", "--out", "x.xyz"], "Known endings: .png, .svg"),
        (["run", "toy.toml", "--set", "scenario.options=3"], "scenario.options = 3"),
        (["pretrain", "nano-clop"], "Did you mean 'nano-clip'"),
        (["run", "toy.toml", "--set", "method=flexlora", "--set", "adapter.ranks=[1,2]", "--bounds"], "'local'"),
    ],
)
def test_an_error_is_one_message_and_leaves_nothing(
    fedloom: Command, place: Path, arguments: list[str], words: str
) -> None:
    code, out, err = fedloom(*arguments)
    assert (code, re.sub(r"^\d\d:\d\d:\d\d .*\n", "", out, flags=re.M)) == (1, "")
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert words in err
    assert [path.name for path in place.iterdir()] == ["toy.toml"]


def test_brackets_in_an_error_are_text(fedloom: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise FedloomError("[channel] up = [bold]: /a[/]/b ['x']")

    monkeypatch.setattr(engines, "run", refuse)
    assert fedloom("run", "toy.toml")[2] == "error: [channel] up = [bold]: /a[/]/b ['x']\n"


def test_a_file_that_cannot_be_written_is_one_message_too(fedloom: Command, place: Path) -> None:
    (place / "file").write_text("")
    code, _, err = fedloom("run", "toy.toml", "--out", "file/run")
    assert (code, err.count("\n")) == (1, 1)
    assert "file" in err
    assert "Traceback" not in err


def test_wrong_arguments_are_a_usage_error(fedloom: Command) -> None:
    assert fedloom("run")[0] == 2
    assert fedloom("rum")[0] == 2
    assert fedloom("compare", "toy.toml", "--seeds", "0")[0] == 2


def test_a_command_of_its_own_process_shows_no_traceback() -> None:
    call = subprocess.run(
        [sys.executable, "-m", "fedloom.cli", "run", "nowhere.toml"], capture_output=True, text=True, check=False
    )
    assert call.returncode == 1
    assert call.stderr.startswith("error: nowhere.toml")
    assert "Traceback" not in call.stderr


def in_a_child(work: Callable[[], None]) -> int:
    """Run ``work`` in a fork of this process with its standard error in ``stderr.txt``; its process id."""
    child = os.fork()
    if child == 0:
        os.dup2(os.open("stderr.txt", os.O_CREAT | os.O_WRONLY), 2)
        sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115
        try:
            work()
        except SystemExit as exit:
            sys.stderr.flush()
            os._exit(int(exit.code or 0))
        os._exit(0)
    return child


@pytest.mark.parametrize("blow", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_run_with_130_and_it_can_be_resumed(
    place: Path, monkeypatch: pytest.MonkeyPatch, blow: signal.Signals
) -> None:
    monkeypatch.setattr(sys, "argv", ["fedloom", "run", "toy.toml", "--set", "rounds=100000", "--out", "run"])
    child = in_a_child(cli.main)
    while not any(place.glob("run/checkpoint/round-*")):
        time.sleep(0.01)
    os.kill(child, blow)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 130
    assert (place / "stderr.txt").read_text() == "Stopped. Finished rounds are saved in run; --resume goes on.\n"
    done = len((place / "run/rounds.jsonl").read_text().splitlines()) if (place / "run/rounds.jsonl").exists() else 0
    with pytest.raises(Stopped):
        engines.run(toy.experiment("rounds=100000"), place / "run", resume=True, stop=after(5))
    assert len((place / "run/rounds.jsonl").read_text().splitlines()) == done + 1


def test_a_second_signal_interrupts_at_once() -> None:
    before = signal.getsignal(signal.SIGINT)
    with shell.stopping() as stop:
        assert not stop()
        signal.raise_signal(signal.SIGINT)
        assert stop()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


def test_an_interrupt_anywhere_exits_with_130(fedloom: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(engines, "run", interrupted)
    assert fedloom("run", "toy.toml")[0] == 130


def test_clients_left_out_are_said(fedloom: Command) -> None:
    toy.BEND.append(lambda job, reply: [] if job.client == "1" else [reply])
    code, out, _ = fedloom("run", "toy.toml", "--set", toy.BENT)
    assert code == 0
    assert out.count("left out: client '1' did not answer.\n") == 2


def test_compare_runs_only_what_is_missing(fedloom: Command, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[str] = []
    real = engines.run

    def note(experiment: Any, out: Path, **options: Any) -> Any:
        ran.append(f"{experiment.method.name}-{experiment.seed}")
        return real(experiment, out, **options)

    monkeypatch.setattr(engines, "run", note)
    command = ["compare", "toy.toml", "--axis", "method.name=local,fedavg", "--out", "c"]
    code, out, _ = fedloom(*command, "--seeds", "1")
    assert code == 0
    assert ran == ["local-0", "fedavg-0"]
    assert "2/2 method=fedavg seed=0\n" in out
    assert "page  c/report.html\ntable c/table.md, c/table.csv\n" in out
    assert {path.name for path in (place / "c").iterdir()} == {
        "cells", "compare.json", "report.html", "table.md", "table.csv",
        *(f"{name}.{ending}" for name in ("scores", "bytes", "differences") for ending in ("svg", "png"))
    }  # fmt: skip
    ran.clear()
    (place / "c/cells/method=local/seed-1").mkdir(parents=True)
    with pytest.raises(Stopped):
        real(toy.experiment("seed=1"), place / "c/cells/method=fedavg/seed-1", stop=after(6))
    assert fedloom(*command, "--seeds", "2")[0] == 0
    assert ran == ["local-1", "fedavg-1"]
    rounds = (place / "c/cells/method=fedavg/seed-1/rounds.jsonl").read_text().splitlines()
    assert [json.loads(line)["round"] for line in rounds] == [1, 2]
    ran.clear()
    assert fedloom(*command, "--seeds", "2")[0] == 0
    assert ran == []
    assert [line[0] for line in (place / "c/table.md").read_text().splitlines()[:5] if line] == ["|"] * 4


def test_a_comparison_that_is_at_work_is_let_alone(fedloom: Command, place: Path) -> None:
    with lock.hold(place / "c" / "run.lock", "Wait."):
        code, _, told = fedloom("compare", "toy.toml", "--axis", "method=local,fedavg", "--out", "c")
        assert code == 1
        assert f"c: process {os.getpid()} on " in told
        assert "at work in it. Wait for it, or stop it and give the command again" in told
        assert [file.name for file in (place / "c").iterdir()] == ["run.lock"]


def test_compare_chooses_on_the_validation_part_and_measures_on_the_test_half(fedloom: Command, place: Path) -> None:
    command = ["compare", "toy.toml", "--axis", "method=fedavg,local", "--seeds", "2", "--out", "c"]
    code, out, err = fedloom(*command, "--tune", "client.lr=0.01,0.1,0.2", "--baseline", "method=local")
    assert (code, err) == (0, "")
    assert "6 runs choose client.lr on a validation part" in out
    assert len(list(place.glob("c/tune/*/seed-1000000/result.json"))) == 6
    measured = [json.loads(file.read_text()) for file in place.glob("c/cells/*/*/result.json")]
    assert [result["measured"]["on"] for result in measured] == ["test"] * 4
    lines = (place / "c" / "tune.csv").read_text().splitlines()
    assert [line.split(",")[5] for line in lines].count("yes") == 2
    assert "difference: final score less that of method=local" in out
    again = fedloom(*command, "--tune", "client.lr=0.01,0.1,0.2", "--baseline", "method=local")
    assert again[0] == 0


def test_plan_says_what_a_run_will_send_and_starts_none(fedloom: Command, place: Path) -> None:
    before = set(place.iterdir())
    code, _, error = fedloom("plan", "quickstart", "--set", "method=fedavgg")
    assert code == 1
    assert "fedavg" in error
    code, out, _ = fedloom("plan", "llava-1.5-7b", "--json")
    assert code == 0
    planned = json.loads(out)
    assert planned["parameters"]["trained"] == 2 * 32 * 8 * (4096 + 4096)  # q and v of 32 layers, rank 8
    assert set(place.iterdir()) == before


def test_report_draws_one_page_about_several_runs(fedloom: Command, place: Path) -> None:
    for method in ("fedavg", "scaffold"):
        fedloom("run", "toy.toml", "--set", f"method={method}", "--set", "rounds=1", "--out", method)
    assert fedloom("report", "fedavg", "scaffold", "--out", "pages/both.html")[:2] == (0, "pages/both.html\n")
    text = (place / "pages/both.html").read_text()
    assert "fedavg" in text
    assert "scaffold" in text
    assert fedloom("report", "fedavg")[1] == "fedavg/report.html\n"
    own = (place / "fedavg/report.html").read_bytes()
    assert fedloom("report", "fedavg", "scaffold")[1] == "report-fedavg-vs-scaffold.html\n"
    assert (place / "fedavg/report.html").read_bytes() == own


def test_export_writes_the_adapter(fedloom: Command, place: Path) -> None:
    fedloom("run", "toy.toml", "--out", "run")
    assert fedloom("export", "run", "--out", "adapter") == (0, "adapter\n", "")
    exported, own = place / "adapter/adapter.safetensors", place / "run/adapter/adapter.safetensors"
    assert exported.read_bytes() == own.read_bytes()
    code, _, err = fedloom("export", "run", "--out", "adapter")
    assert (code, "already exists" in err) == (1, True)


@pytest.mark.parametrize(
    ("axis", "names"),
    [
        ("methods", ["fedavg", "scaffold", "stacking", "local", "centralised"]),
        ("scenarios", ["iid", "natural", "dirichlet", "quantity", "shards"]),
        ("tasks", ["icons-qa/choose_txt", "icons-classify", "icons-memes", "nlvr"]),
        ("modalities", ["complete", "missing", "cross", "hybrid", "corrupted", "changing"]),
        ("adapters", ["lora", "lora-sb", "nano"]),
        ("objectives", ["answer"]),
        ("models", ["nano-clip", "nano-vlm"]),
    ],
)
def test_lists_have_one_line_each(fedloom: Command, axis: str, names: list[str]) -> None:
    code, out, _ = fedloom(axis)
    assert code == 0
    for name in names:
        assert re.search(rf"^{name} +\w", out, re.MULTILINE)


def test_tasks_show_draws_examples(fedloom: Command, place: Path) -> None:
    code, out, _ = fedloom("tasks", "show", "icons-qa/choose_txt", "--count", "3", "--out", "new/sheet.png")
    assert (code, out) == (0, "new/sheet.png\n")
    with Image.open(place / "new/sheet.png") as sheet:
        assert sheet.width > 900


def test_scenarios_show_draws_who_holds_what(fedloom: Command, place: Path) -> None:
    command = ["scenarios", "show", "dirichlet", "--for", "toy.toml", "--set", "scenario.alpha=0.3"]
    assert fedloom(*command, "--set", "scenario.by=group", "--out", "new/held.svg")[:2] == (0, "new/held.svg\n")
    text = (place / "new/held.svg").read_text()
    assert all(group in text for group in ("g0", "g1", "g2"))


MEMES = ("--set", "task=tests.federation.test_seen:memes")


def test_scenarios_show_draws_an_experiment_s_labels_and_modalities(
    fedloom: Command, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: Any, **__: Any) -> None:
        raise AssertionError("a model was loaded")

    monkeypatch.setattr("fedloom.models.load", refused)
    command = ["scenarios", "show", "toy.toml", *MEMES, "--set", "modality=cross", "--set", "modality.image=1"]
    code, out, _ = fedloom(*command, "--out", "new/held.svg")
    table, files = out[: out.index("new/")], out[out.index("new/") :]
    assert (code, files) == (0, "new/held.svg\nnew/held-modalities.svg\n")
    lines = [line.split() for line in table.splitlines()]
    header = "client training, image and text, image alone, text alone, neither, no, yes, test"
    assert lines[0] == header.replace(",", "").split()
    assert [line[:7] for line in lines[1:4]] == [
        ["client", "0", "6", MISSING, MISSING, "6", MISSING],
        ["client", "1", "6", MISSING, "6", MISSING, MISSING],
        ["client", "2", "6", MISSING, MISSING, "6", MISSING],
    ]
    assert "groups of training examples: label" in table
    text = (place / "new/held-modalities.svg").read_text()
    assert text.startswith("<?xml")
    assert (place / "new/held.svg").exists()


def test_scenarios_show_of_an_experiment_has_pictures_of_pixels_by_default(fedloom: Command, place: Path) -> None:
    sets = (*MEMES, "--set", "modality=changing", "--set", "rounds=4")
    code, out, _ = fedloom("scenarios", "show", "toy.toml", *sets)
    assert code == 0
    assert out.endswith("modalities: the mean over the rounds\n\nscenario.png\nscenario-modalities.png\n")
    with Image.open(place / "scenario-modalities.png") as drawn:
        assert drawn.width > 800
    assert fedloom("scenarios", "show", "toy.toml")[1].endswith("\nscenario.png\n")  # it has neither pictures nor texts


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["toy.toml", "--set", "modality=cross"], "no training example has image or text"),
        (
            ["toy.toml", *MEMES, "--set", "modality=cross", "--set", "modality.image=4"],
            "modality.image = 4: the experiment has 3",
        ),
        (["toy.toml", *MEMES, "--set", "modality=missing", "--set", "modality.rate=1.5"], "rate: "),
        (["toy.toml", "--out", "x.xyz"], "Known endings: .png, .svg"),
        (
            ["toy.toml", "--set", "scenario=sites", "--set", "scenario.names=['a','b','c']"],
            "each site holds data of its own",
        ),
        (["toi.toml"], "toi.toml: cannot be read"),
        (["quickstat"], "Did you mean 'quickstart'?"),
    ],
)
def test_scenarios_show_refuses_what_cannot_be(fedloom: Command, place: Path, arguments: list[str], words: str) -> None:
    code, _, err = fedloom("scenarios", "show", *arguments)
    assert (code, words in err) == (1, True), err
    assert [path.name for path in place.iterdir()] == ["toy.toml"]


def test_version_and_help(fedloom: Command) -> None:
    assert fedloom("--version")[:2] == (0, f"{__version__}\n")
    assert all(command in fedloom("--help")[1] for command in ("run", "compare", "report", "export", "pretrain"))


def test_a_data_folder_stays_text_whatever_it_is_called() -> None:
    for name in ("2024", "true", 'a "b"', "ünïcode", "[x]"):
        (told,) = shell.overrides_of([], Path(name))
        experiment = toy.experiment("task=nlvr", told)
        assert experiment.data.path == name
        assert Setup(experiment).experiment.data.path == name
