"""What a host is started with."""

from collections.abc import Callable
from pathlib import Path

import pytest

from fedloom.core.errors import FedloomError
from fedloom.deploy import host
from tests.split.hosts import client_authority


def test_a_desk_serves_a_frozen_language_model_and_says_which(tiny: Callable[[str], Path]) -> None:
    desk = host.desk(str(tiny("llava")), "float32", memory_mb=3, together=2, places=99)
    assert (desk.memory_bytes, desk.together, desk.places) == (3 << 20, 2, 99)
    assert desk.language.learning() == []
    assert {len(value) for value in desk.about.values()} == {64}
    assert desk.about.keys() == {"fingerprint", "embeddings", "weights"}
    with pytest.raises(FedloomError, match="no language model to serve"):
        host.desk(str(tiny("clip")), "float32", memory_mb=3, together=2)


def test_a_door_shows_its_certificate_and_may_ask_for_theirs(tmp_path: Path) -> None:
    for name in ("server.pem", "server.key"):
        (tmp_path / name).write_text(name)
    ca, *_ = client_authority(tmp_path / "sites", "north")
    door = host.door("0.0.0.0:1", tmp_path, ca, insecure=False)
    assert (door.certificate, door.key, door.client_ca) == (b"server.pem", b"server.key", ca.read_bytes())
    assert host.door("127.0.0.1:1", None, None, insecure=True).certificate == b""


def test_a_door_without_its_files(tmp_path: Path) -> None:
    with pytest.raises(FedloomError, match=r"--certificates: .*server\.pem cannot be read \(No such file"):
        host.door("127.0.0.1:1", tmp_path, None, insecure=False)
    with pytest.raises(FedloomError, match=r"--client-ca: .*none cannot be read"):
        host.door("127.0.0.1:1", tmp_path, tmp_path / "none", insecure=False)


@pytest.mark.parametrize(("certificates", "insecure"), [(None, False), (Path(), True)])
def test_either_certificates_or_none(certificates: Path | None, insecure: bool) -> None:
    with pytest.raises(FedloomError, match="either --certificates DIR"):
        host.door("127.0.0.1:1", certificates, None, insecure)
