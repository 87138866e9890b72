from pathlib import Path

import pytest

from fedloom.core.home import cache, home


def test_the_cache_lies_in_the_users_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert home() == tmp_path
    assert cache() == tmp_path / ".cache" / "fedloom"


def test_a_user_without_a_home_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HOME")
    monkeypatch.setattr("os.getuid", lambda: 12345)
    assert home() is None
    assert cache() is None
