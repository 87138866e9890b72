"""The services of a consortium's folder: units, containers, nginx and environments, and what they may not do."""

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from fedloom.core import config
from fedloom.deploy.folder import Place, files, of_sites


def rendered(source: str = "quickstart", names: tuple[str, ...] = ("mercy", "charite")) -> dict[str, str]:
    return files(of_sites(source, [*names]), Place("superlink.example.org", 443))


def mounts(service: dict[str, Any]) -> set[str]:
    """Where a container's volumes are in it."""
    return {str(volume).removesuffix(":ro").rpartition(":")[2] for volume in service["volumes"]}


def test_in_containers_the_worker_has_no_network_and_the_node_no_data() -> None:
    services = yaml.safe_load(rendered("nlvr")["sites/mercy/compose.yaml"])["services"]
    assert services["worker"]["network_mode"] == "none"
    assert "/srv/fedloom/data" in mounts(services["worker"]) - mounts(services["node"])
    assert "/etc/fedloom/mercy.key" in mounts(services["node"]) - mounts(services["worker"])
    assert services["node"]["command"][:3] == ["/opt/fedloom/bin/fedloom", "site", "node"]


def test_in_containers_only_nginx_can_be_reached() -> None:
    services = yaml.safe_load(rendered()["server/compose.yaml"])["services"]
    assert services["front"]["ports"] == ["443:8443"]
    assert "ports" not in services["superlink"]
    assert "network_mode" not in services["superlink"]


@pytest.mark.parametrize("source", ["quickstart", "fednano"])
@pytest.mark.parametrize("file", ["server/compose.yaml", "sites/mercy/compose.yaml"])
def test_containers_have_no_rights_and_start_again(file: str, source: str) -> None:
    for service in yaml.safe_load(rendered(source)[file])["services"].values():
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["restart"] == "unless-stopped"
        assert service["user"].startswith("${FEDLOOM_USER")
        assert "mem_limit" in service


def test_a_dot_in_a_name_is_none_in_the_name_of_a_compose_project() -> None:
    assert yaml.safe_load(rendered(names=("St.Mary",))["sites/St.Mary/compose.yaml"])["name"] == "fedloom-st-mary"


@pytest.mark.parametrize("name", ["nginx.conf", "nginx-compose.conf"])
def test_nginx_lets_nothing_through_but_messages_of_a_limited_size(name: str) -> None:
    lines = [line.strip() for line in rendered()[f"server/{name}"].splitlines()]
    assert [line for line in lines if line.startswith("location")] == ["location /v1/fleet/ {", "location / {"]
    assert lines[lines.index("location / {") + 1] == "return 404;"
    assert "client_max_body_size 16m;" in lines
    assert "proxy_set_header X-Forwarded-For $remote_addr;" in lines  # else the SuperLink takes all for local


def test_with_a_language_model_elsewhere_the_worker_reaches_its_host() -> None:
    found = rendered("fednano-7b")
    worker = found["sites/mercy/fedloom-worker.service"].splitlines()
    assert "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6" in worker
    assert not [line for line in worker if line.startswith("PrivateNetwork")]
    services = yaml.safe_load(found["sites/mercy/compose.yaml"])["services"]
    assert "network_mode" not in services["worker"]
    assert "ports" not in services["worker"]
    shown = [volume for volume in services["worker"]["volumes"] if volume.endswith(":ro")]
    assert {"./ca.pem:/etc/fedloom/ca.pem:ro", "./host.token:/etc/fedloom/host.token:ro"} <= set(shown)
    assert "/etc/fedloom/host.token" not in mounts(services["node"])
    assert "/etc/fedloom/mercy.key" not in mounts(services["worker"])


def test_the_language_model_s_host_is_a_service_of_the_server() -> None:
    found = rendered("fednano-7b")
    service = yaml.safe_load(found["server/compose.yaml"])["services"]["host"]
    started = next(line for line in found["server/fedloom-host.service"].splitlines() if line.startswith("ExecStart="))
    assert started.removeprefix("ExecStart=").split() == service["command"]
    command = " ".join(service["command"])
    assert command == (
        "/opt/fedloom/bin/fedloom host --model llava-hf/llava-1.5-7b-hf --dtype bfloat16 --listen 0.0.0.0:8100 "
        "--certificates /etc/fedloom/certificates --tokens /etc/fedloom/host/tokens.toml"
    )
    assert service["ports"] == ["8100:8100"]
    assert service["ulimits"] == {"nofile": 65536}
    assert "LimitNOFILE=65536" in found["server/fedloom-host.service"].splitlines()
    assert {"/etc/fedloom/certificates", "/etc/fedloom/host"} < mounts(service)
    assert "host" not in yaml.safe_load(rendered()["server/compose.yaml"])["services"]


UNITS = ["server/superlink.service", "sites/mercy/fedloom-worker.service", "sites/mercy/fedloom-node.service"]


HOST = "server/fedloom-host.service"


@pytest.mark.parametrize(
    ("unit", "source"), [*((unit, "quickstart") for unit in UNITS), *((unit, "fednano") for unit in (*UNITS, HOST))]
)
def test_units_start_again_for_ever_and_have_no_rights(unit: str, source: str) -> None:
    lines = rendered(source)[unit].splitlines()
    for line in ("Restart=always", "StartLimitIntervalSec=0", "User=fedloom", "NoNewPrivileges=yes", "PrivateTmp=yes"):
        assert line in lines
    assert {"ProtectSystem=strict", "CapabilityBoundingSet=", "PrivateDevices=yes"} <= set(lines)
    assert any(line.startswith("MemoryMax=") for line in lines)


def test_the_worker_s_unit_has_no_network_and_the_node_s_no_data() -> None:
    found = rendered()
    worker, node = (found[f"sites/mercy/fedloom-{part}.service"].splitlines() for part in ("worker", "node"))
    assert {"PrivateNetwork=yes", "RestrictAddressFamilies=AF_UNIX"} <= set(worker)
    assert "InaccessiblePaths=-/srv/fedloom/data" in node


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="needs systemd-analyze")
def test_systemd_understands_the_units(tmp_path: Path) -> None:
    units = [*UNITS, HOST]
    for unit in units:
        text = rendered("fednano")[unit].replace("/opt/fedloom/bin/fedloom", sys.executable)
        (tmp_path / Path(unit).name).write_text(text)
    command = ["systemd-analyze", "verify", *(str(tmp_path / Path(unit).name) for unit in units)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert str(tmp_path) not in done.stderr, done.stderr


@pytest.mark.parametrize("name", ["server/server.env", "sites/mercy/site.env"])
def test_environment_files_are_lines_that_systemd_docker_and_a_shell_read_alike(name: str) -> None:
    lines = [line for line in rendered()[name].splitlines() if line and not line.startswith("#")]
    pairs = dict(line.split("=", 1) for line in lines)
    assert len(pairs) == len(lines)
    assert not any(set(value) & set(" '\"$#\\") for value in pairs.values())
    assert pairs["FLWR_TELEMETRY_ENABLED"] == "0"


def test_flower_finds_the_superlink_by_the_name_that_the_experiment_gives() -> None:
    found = rendered()
    connections = tomllib.loads(found["server/flower.toml"])["superlink"]
    assert (
        connections[config.parse(found["experiment.toml"], "the experiment").engine.superlink]["address"]
        == "127.0.0.1:8000"
    )
    assert connections["default"] == "consortium"
