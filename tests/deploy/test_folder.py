"""The folder that a consortium starts from: what is in it, what it allows, and what is refused."""

import tomllib
from pathlib import Path

import pytest
from flwr.cli.config_utils import load_and_validate

from fedloom.core import config, resolve
from fedloom.core.errors import FedloomError
from fedloom.deploy import folder
from fedloom.deploy.folder import Place, files, init, of_sites
from fedloom.federation.check import check_experiment
from fedloom.site import policy

NAMES = ["mercy", "charite"]
HOST = "superlink.example.org"
PATTERN = 'adapter.names=["q_proj$"]'
CODE = """
rounds = 4
[model]
name = "tests.federation.toy:model"
[task]
name = "tests.federation.toy:task"
[scenario]
name = "iid"
clients = 2
"""
READS = """
name = "Wards, 2026"
rounds = 3
[model]
name = "llava-hf/llava-1.5-7b-hf"
[adapter]
ranks = [4, 16]
[task]
name = "nlvr"
[data]
path = "/home/me/wards"
[scenario]
name = "natural"
by = "directory"
clients = 2
[method]
name = "hetlora"
[client]
max_steps = 50
"""


def written(tmp_path: Path, text: str) -> str:
    """The name of an experiment file with this text."""
    file = tmp_path / "given.toml"
    file.write_text(text)
    return str(file)


def rendered(source: str, names: list[str] = NAMES) -> dict[str, str]:
    return files(of_sites(source, names), Place.parse(HOST))


def test_the_folder_has_what_the_server_and_each_site_need(tmp_path: Path) -> None:
    init(tmp_path / "new", "quickstart", NAMES, HOST)
    found = {path.relative_to(tmp_path / "new").as_posix() for path in (tmp_path / "new").rglob("*") if path.is_file()}
    site = {"README.md", "compose.yaml", "experiment.toml", "fedloom-node.service", "fedloom-worker.service"}
    site |= {"image/Containerfile", "key.sh", "site.env", "site.toml"}
    server = {"compose.yaml", "flower.toml", "image/Containerfile", "nginx.conf", "nginx-compose.conf"}
    server |= {"server.env", "superlink.service"}
    assert found == {
        *("README.md", "app/pyproject.toml", "certificates.sh", "experiment.toml"),
        *(f"server/{name}" for name in server),
        *(f"sites/{name}/{file}" for name in NAMES for file in site),
    }


PRESETS = [(config.PRESETS / f"{name}.toml").read_text() for name in ("quickstart", "fednano", "fednano-7b")]


@pytest.mark.parametrize("text", [CODE, READS, *PRESETS])
def test_every_template_renders_for_every_kind_of_experiment(tmp_path: Path, text: str) -> None:
    for name, content in rendered(written(tmp_path, text)).items():
        assert content.strip(), name
        assert not {"{{", "{%", "None", "Undefined"} & set(content.split()), name
        assert str(tmp_path) not in content, f"{name} tells where it was written"


def test_each_site_trains_and_is_scored_on_its_own_data() -> None:
    experiment = of_sites("quickstart", NAMES)
    assert experiment.scenario.model_dump() == {"name": "sites", "clients": 2, "minimum": 2, "names": NAMES}
    assert (experiment.engine.name, experiment.engine.superlink) == ("flower", "consortium")
    assert experiment.evaluation.where == "clients"
    assert experiment.rounds == config.load("quickstart").rounds == 5


def test_the_written_experiment_is_the_one_of_the_app_and_of_every_site(tmp_path: Path) -> None:
    source = written(tmp_path, READS)
    init(tmp_path / "new", source, NAMES, HOST)
    experiment = of_sites(source, NAMES)
    assert config.load(tmp_path / "new" / "experiment.toml") == experiment
    for name in NAMES:
        assert config.load(tmp_path / "new" / "sites" / name / "experiment.toml") == experiment
    project = tomllib.loads((tmp_path / "new" / "app" / "pyproject.toml").read_text())
    app = project["tool"]["flwr"]["app"]["config"]
    assert config.parse(app["experiment"], "the app") == experiment
    assert app["out"] == "/var/lib/fedloom/runs/Wards-2026"


def test_flower_takes_the_app(tmp_path: Path) -> None:
    init(tmp_path / "new", "quickstart", NAMES, HOST)
    loaded, warnings = load_and_validate(tmp_path / "new" / "app" / "pyproject.toml", check_module=True)
    assert warnings == []
    assert loaded["tool"]["flwr"]["app"]["components"]["clientapp"] == "fedloom.site.app:app"


def test_nothing_of_this_machine_s_data_is_told(tmp_path: Path) -> None:
    """The server has no data, and sites know where theirs is."""
    assert "/home/me" not in "".join(rendered(written(tmp_path, READS)).values())


def test_a_site_s_rules_have_every_key_in_one_line_with_its_meaning(tmp_path: Path) -> None:
    text = rendered("quickstart")["sites/mercy/site.toml"]
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    assert [line.partition(" = ")[0] for line in lines] == list(policy.Policy.model_fields)
    assert all(line.partition("  # ")[2] for line in lines)


def test_a_site_s_rules_allow_this_experiment_and_nothing_else(tmp_path: Path) -> None:
    experiment = of_sites(source := written(tmp_path, READS), NAMES)
    file = tmp_path / "site.toml"
    file.write_text(rendered(source)["sites/mercy/site.toml"])
    rules = policy.read(file)
    rules.check(experiment)
    rules.check_work(experiment, examples=8 * 50)  # 50 steps of 8
    assert rules.models == {"llava-hf/llava-1.5-7b-hf": "/srv/fedloom/models/llava-1.5-7b-hf"}
    for override in (
        "method=fedavg",
        "rounds=4",
        "adapter.ranks=[17]",
        "model.name=nano-vlm",
        "task=icons-memes",
        PATTERN,
    ):
        with pytest.raises(FedloomError, match="the site refuses"):
            rules.check(config.load(source, [override]))
    with pytest.raises(FedloomError, match="51 steps a round"):
        rules.check_work(config.load(source, ["client.max_steps=51"]), examples=8 * 51)


def test_a_site_s_rules_name_the_methods_that_are_added(tmp_path: Path) -> None:
    added = READS.replace('name = "hetlora"', 'name = "hetlora"\nwith = ["fedprox:0.1", "mine.methods:own:2"]')
    source = written(tmp_path, added)
    experiment, file = config.load(source), tmp_path / "site.toml"
    assert experiment.method.names == ["hetlora", "fedprox", "mine.methods:own"]
    assert "mine.methods:own" in folder._code(experiment)
    source = written(tmp_path, added.replace(', "mine.methods:own:2"', ""))
    file.write_text(rendered(source)["sites/mercy/site.toml"])
    rules = policy.read(file)
    assert rules.methods == ["hetlora", "fedprox"]
    rules.check(of_sites(source, NAMES))
    with pytest.raises(FedloomError, match="the site refuses method 'ditto'"):
        rules.check(config.load(source, ['method.with=["ditto"]']))


def test_a_site_s_rules_let_the_method_tell_what_it_tells_and_nothing_else(tmp_path: Path) -> None:
    pinned = READS.replace('b-hf"\n', 'b-hf"\nrevision = "v1"\n', 1)
    for method, word in (("hetlora", "rank"), ("scaffold", "gradients"), ("ditto", "")):
        source = written(tmp_path, pinned.replace("hetlora", method).replace("[4, 16]", "[4]"))
        experiment, file = of_sites(source, NAMES), tmp_path / "site.toml"
        file.write_text(rendered(source)["sites/mercy/site.toml"])
        rules = policy.read(file)
        assert rules.reveals == [word] * bool(word)
        rules.check(experiment)
        rules.check_local(method, config.build(experiment, "method").local)
        rules.check_work(experiment, 8 * 50, passes=2 if method == "ditto" else 1)
        with pytest.raises(FedloomError, match="which reveals 'squared-gradients'"):
            rules.check_local("fednano", resolve.build("methods", "fednano", {}).local)
        with pytest.raises(FedloomError, match=r"the site refuses model 'llava-hf/.*@v2'"):
            rules.check(config.load(source, ["model.revision=v2"]))


def test_code_is_let_in_by_the_site_alone(tmp_path: Path) -> None:
    experiment = of_sites(source := written(tmp_path, CODE), NAMES)
    text, file = rendered(source)["sites/mercy/site.toml"], tmp_path / "site.toml"
    file.write_text(text)
    rules, needed = policy.read(file), '["tests.federation.toy:task", "tests.federation.toy:model"]'
    rules.check(experiment)
    with (
        pytest.raises(
            FedloomError, match=r"refuses code 'tests\.federation\.toy:task': its site\.toml says code = \[\]"
        ),
        resolve.guarded(rules.guard),
    ):
        check_experiment(experiment)
    assert f"this experiment needs {needed}" in text
    file.write_text(text.replace("code = []", f"code = {needed}"))
    with resolve.guarded(policy.read(file).guard):
        check_experiment(experiment)
    assert "code   tests.federation.toy:task" in "\n".join(init(tmp_path / "new", source, NAMES, HOST))


def test_code_in_the_channel_is_code_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "stages.py").write_text("from fedloom.channel.int8 import int8 as mine, int8 as other\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    channel = '[channel]\nup = ["own.stages:mine:64"]\ndown = ["own.stages:other"]\n'
    source = written(tmp_path, (config.PRESETS / "quickstart.toml").read_text() + channel)
    needed = '["own.stages:mine", "own.stages:other"]'
    assert f"this experiment needs {needed}" in rendered(source)["sites/mercy/site.toml"]
    with resolve.guarded(policy.Policy(code=["own.stages:mine", "own.stages:other"]).guard):
        check_experiment(of_sites(source, NAMES))


def test_layers_by_patterns_are_let_in_where_the_experiment_has_them(tmp_path: Path) -> None:
    source, file = written(tmp_path, READS), tmp_path / "site.toml"
    assert "layer_patterns = false  #" in rendered(source)["sites/mercy/site.toml"]
    named = written(tmp_path, READS.replace("[adapter]\n", '[adapter]\nnames = ["q_proj$"]\n'))
    file.write_text(rendered(named)["sites/mercy/site.toml"])
    assert policy.read(file).layer_patterns is True
    policy.read(file).check(of_sites(named, NAMES))


def test_what_is_next_is_told(tmp_path: Path) -> None:
    told = "\n".join(init(tmp_path / "new", "quickstart", NAMES, "10.0.0.7:9443"))
    assert "sites  mercy, charite\n" in told
    assert "server 10.0.0.7:9443\n" in told
    assert "fedloom rehearse quickstart --sites 2\n" in told
    assert f"sh {tmp_path}/new/certificates.sh" in told


def test_a_language_model_elsewhere_is_told_with_its_tokens(tmp_path: Path) -> None:
    told = "\n".join(init(tmp_path / "new", "fednano", NAMES, "10.0.0.7:9443"))
    assert "host   10.0.0.7:8100: the language model; README.md says how sites get their tokens\n" in told
    assert "host   " not in "\n".join(init(tmp_path / "other", "quickstart", NAMES, HOST))
    found = rendered("fednano")
    for name in NAMES:
        assert f"fedloom host token {name} --tokens /etc/fedloom/host/tokens.toml\n" in found["README.md"]
        assert f"ca.pem host.token {name}.key" in found[f"sites/{name}/README.md"]
    steps = [int(line[2]) for line in found["README.md"].splitlines() if line[:2] == "**" and line[2].isdigit()]
    assert steps == list(range(1, 10))
    for name in ("README.md", "sites/mercy/README.md", "server/image/Containerfile", "sites/mercy/image/Containerfile"):
        assert "[flower,split]" in found[name]  # gRPC's health and Prometheus
    whole = rendered("quickstart")
    assert set(found) - set(whole) == {"server/fedloom-host.service"}
    assert not [
        name for name, text in whole.items() if "8100" in text or "host.token" in text or "flower,split" in text
    ]


def test_the_host_of_a_site_s_rules_is_the_one_that_listens(tmp_path: Path) -> None:
    found, file = rendered("fednano"), tmp_path / "site.toml"
    file.write_text(found["sites/mercy/site.toml"])
    address = tomllib.loads(file.read_text())["host"]["address"]
    assert policy.read(file).host.model_dump(exclude_unset=True) == {
        "address": "superlink.example.org:8100",
        "root_certificates": "/etc/fedloom/ca.pem",
        "token_file": "/etc/fedloom/host.token",
    }
    assert f"--listen 0.0.0.0:{address.rpartition(':')[2]} " in found["server/fedloom-host.service"]


def test_without_names_there_are_as_many_sites_as_clients(tmp_path: Path) -> None:
    told = "\n".join(init(tmp_path / "new", "quickstart", [], HOST))
    assert "site-1 ... site-10 (as the experiment has them" in told
    assert sorted(path.name for path in (tmp_path / "new" / "sites").iterdir())[:2] == ["site-1", "site-10"]


def test_an_experiment_s_own_names_are_taken_unless_others_are_given(tmp_path: Path) -> None:
    source = tmp_path / "sites.toml"
    source.write_text(config.dump(of_sites("quickstart", ["a", "b", "c"])))
    assert of_sites(str(source), []).scenario.options["names"] == ["a", "b", "c"]
    assert of_sites(str(source), NAMES).scenario.options["names"] == NAMES


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "-x", "charité", "a b", 'a"b', "a\n", "x" * 65])
def test_a_name_that_is_no_file_name_is_refused(name: str) -> None:
    with pytest.raises(FedloomError, match="the name is also one of files"):
        of_sites("quickstart", ["mercy", name])


def test_names_that_a_file_system_may_take_for_one_are_refused() -> None:
    with pytest.raises(FedloomError, match="expected names that differ"):
        of_sites("quickstart", ["Mercy", "mercy"])


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [("a.example", "a.example", 443), ("a.example:8443", "a.example", 8443), ("10.0.0.7", "10.0.0.7", 443)],
)
def test_a_host_may_have_a_port(text: str, host: str, port: int) -> None:
    assert Place.parse(text) == Place(host, port)
    assert Place.parse(text).is_address == (host == "10.0.0.7")


@pytest.mark.parametrize(
    "host", ["", "a b", "https://a.example", "a.example:", "a.example:0", "a.example:65536", "::1"]
)
def test_what_is_no_host_is_refused(host: str) -> None:
    with pytest.raises(FedloomError, match="expected a domain name"):
        Place.parse(host)


def test_a_folder_that_holds_something_is_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(FedloomError, match="already holds something"):
        init(tmp_path, "quickstart", NAMES, HOST)
    with pytest.raises(FedloomError, match="already holds something"):
        init(tmp_path / "mine.txt", "quickstart", NAMES, HOST)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_an_empty_folder_is_taken(tmp_path: Path) -> None:
    init(tmp_path, "quickstart", NAMES, HOST)
    assert (tmp_path / "README.md").exists()


@pytest.mark.parametrize(
    ("choice", "told"),
    [("method=centralised", "all data in one place"), ("adapter.rank_from=data", "no server sees")],
)
def test_what_sites_cannot_run_is_refused_before_anything_is_written(tmp_path: Path, choice: str, told: str) -> None:
    source = written(tmp_path, config.dump(config.load("quickstart", [choice])))
    with pytest.raises(FedloomError, match=told):
        init(tmp_path / "new", source, NAMES, HOST)
    assert not (tmp_path / "new").exists()


def test_without_flower_the_mend_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str) -> str:
        raise folder.importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(folder.importlib.metadata, "version", version)
    with pytest.raises(FedloomError, match=r"pip install 'fedloom\[flower\]'"):
        init(tmp_path / "new", "quickstart", NAMES, HOST)
    assert not (tmp_path / "new").exists()
