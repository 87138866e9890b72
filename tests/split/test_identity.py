"""Tokens and certificates."""

import os
from pathlib import Path

import pytest

from fedloom.core.errors import FedloomError
from fedloom.split.identity import Identity, Stranger, draw, read


def bearer(token: str) -> list[tuple[str, str | bytes]]:
    return [("user-agent", "x"), ("authorization", f"Bearer {token}")]


def test_a_token_is_its_sites_and_only_its_hash_is_kept(tmp_path: Path) -> None:
    file = tmp_path / "tokens.toml"
    tokens = {name: draw(file, name) for name in ("north", "south")}
    assert not any(token in file.read_text() for token in tokens.values())
    known = Identity(file)
    for name, token in tokens.items():
        assert known.site(bearer(token), {}) == name


def test_every_name_that_a_site_may_have_may_have_a_token(tmp_path: Path) -> None:
    file = tmp_path / "tokens.toml"
    tokens = {name: draw(file, name) for name in ("St.Mary", "St.Paul_2", "a-b")}
    assert {name: Identity(file).site(bearer(token), {}) for name, token in tokens.items()} == {n: n for n in tokens}


@pytest.mark.parametrize("metadata", [[], bearer("wrong"), bearer(""), [("authorization", "Basic x")]])
def test_strangers(tmp_path: Path, metadata: list[tuple[str, str | bytes]]) -> None:
    draw(tmp_path / "tokens.toml", "north")
    with pytest.raises(Stranger, match="Fix"):
        Identity(tmp_path / "tokens.toml").site(metadata, {})


def test_a_new_token_replaces_the_old_one_while_the_host_runs(tmp_path: Path) -> None:
    file = tmp_path / "tokens.toml"
    old = draw(file, "north")
    known = Identity(file)
    new = draw(file, "north")
    os.utime(file, ns=(1, 1))
    assert known.site(bearer(new), {}) == "north"
    with pytest.raises(Stranger):
        known.site(bearer(old), {})
    file.write_text("damaged")
    assert known.site(bearer(new), {}) == "north"


def test_a_certificate_names_its_site() -> None:
    assert Identity(None).site([], {"x509_common_name": [b"north"]}) == "north"
    with pytest.raises(Stranger):
        Identity(None).site([], {"x509_common_name": [b"a/b"]})


def test_token_and_certificate_are_of_one_site(tmp_path: Path) -> None:
    token = draw(tmp_path / "tokens.toml", "north")
    known = Identity(tmp_path / "tokens.toml")
    assert known.site(bearer(token), {"x509_common_name": [b"north"]}) == "north"
    with pytest.raises(Stranger, match="the token is that of 'north', the certificate that of 'south'"):
        known.site(bearer(token), {"x509_common_name": [b"south"]})


@pytest.mark.parametrize("text", ["x", "north = 3", 'north = "secret"', '[north]\nx = "y"'])
def test_a_file_of_other_things(tmp_path: Path, text: str) -> None:
    (tmp_path / "tokens.toml").write_text(text)
    with pytest.raises(FedloomError, match="fedloom host token NAME"):
        read(tmp_path / "tokens.toml")


def test_no_file_and_no_name(tmp_path: Path) -> None:
    with pytest.raises(FedloomError, match="there is no such file"):
        Identity(tmp_path / "none")
    with pytest.raises(FedloomError, match="letters, digits"):
        draw(tmp_path / "tokens.toml", "a b")
