import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest

from fedloom.core.errors import FedloomError
from fedloom.report.page import page
from fedloom.report.words import MISSING
from tests.report.made_up import run_folder

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


class Tags(HTMLParser):
    """Every tag with its attributes, and every id."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)
        self.ids = [attributes["id"] for _, attributes in self.found if "id" in attributes]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("one")
    page([run_folder(folder)], folder / "report.html")
    return folder / "report.html"


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("many")
    runs = [run_folder(folder), run_folder(folder, "a $b$ <i>c", clients=[str(i) for i in range(70)])]
    page(runs, folder / "report.html")
    return folder / "report.html"


def test_headline_numbers(one: Path) -> None:
    text = re.sub(r"\s+", " ", one.read_text())
    assert '<span class="big muted">41.2%</span>' in text
    assert "points of accuracy" in text
    for label, value in [("Sent up", "11.4 MB"), ("Sent down", "22.8 MB"), ("Time", "2 min 23 s")]:
        assert f"<dt>{label}</dt><dd>{value}</dd>" in text


def test_other_peoples_words_are_escaped(one: Path) -> None:
    text = one.read_text()
    assert "How many &lt;b&gt;stars&lt;/b&gt; are there?&lt;script&gt;alert(1)&lt;/script&gt;" in text
    assert "&lt;loss&gt; is not a number" in text
    assert "<script" not in text


def test_a_runs_name_is_text_everywhere(many: Path) -> None:
    text = many.read_text()
    assert "<i>" not in text
    assert "a $b$ &lt;i&gt;c" in text


@pytest.mark.parametrize("which", ["one", "many"])
def test_one_file_that_asks_nobody(which: str, request: pytest.FixtureRequest) -> None:
    tags = Tags(request.getfixturevalue(which).read_text())
    for tag, attributes in tags.found:
        assert tag not in {"script", "link", "iframe", "object"}
        for name in ("src", "href", "xlink:href", "srcset", "data"):
            value = attributes.get(name)
            assert value is None or value.startswith(("#", "data:image/")), (tag, value)
    assert "url(http" not in request.getfixturevalue(which).read_text()


@pytest.mark.parametrize("which", ["one", "many"])
def test_ids_are_unique_and_every_reference_has_its_aim(which: str, request: pytest.FixtureRequest) -> None:
    text = request.getfixturevalue(which).read_text()
    ids = Tags(text).ids
    assert len(ids) == len(set(ids))
    aims = re.findall(r'href="#([^"]+)"', text) + re.findall(r"url\(#([^)]+)\)", text)
    assert set(aims) <= set(ids)


def test_readers_without_eyes_are_told(one: Path) -> None:
    tags = Tags(one.read_text())
    assert all(attributes.get("alt") for tag, attributes in tags.found if tag == "img")
    pictures = [attributes for tag, attributes in tags.found if tag == "svg"]
    assert len(pictures) >= 6
    assert all(attributes.get("aria-label") or attributes.get("aria-hidden") for attributes in pictures)
    count = [tag for tag, _ in tags.found]
    assert count.count("table") == count.count("caption")


def test_the_theme_is_the_readers(one: Path) -> None:
    text = one.read_text()
    assert "prefers-color-scheme: dark" in text
    assert "currentColor" in text
    assert "var(--series-0, #0072b2)" in text
    assert "#010203" not in text


def test_where_the_bytes_go(one: Path) -> None:
    text = one.read_text()
    for part, up, down in [
        ("adapter weights", "3.6 MB", "7.2 MB"),
        ("places of the entries kept", "450.0 kB", MISSING),
    ]:
        assert f'<th scope="row">{part}</th><td>{up}</td><td>{down}</td>' in text
    assert f'<th scope="row">&lt;control&gt;</th><td>{MISSING}</td><td>18.0 kB</td>' in text


def test_a_folder_without_parts_has_a_page_without_them(tmp_path: Path) -> None:
    folder = run_folder(tmp_path)
    lines = (folder / "clients.jsonl").read_text().splitlines()
    turns = [{**json.loads(line), "parts_up": {}, "parts_down": {}} for line in lines]
    (folder / "clients.jsonl").write_text("".join(json.dumps(turn) + "\n" for turn in turns))
    page([folder], tmp_path / "report.html")
    assert "Where the bytes go" not in (tmp_path / "report.html").read_text()


def test_nothing_is_written_for_a_broken_run(tmp_path: Path) -> None:
    folder = run_folder(tmp_path)
    (folder / "result.json").write_text("{}")
    with pytest.raises(FedloomError, match=r"result\.json"):
        page([folder], tmp_path / "report.html")
    assert not (tmp_path / "report.html").exists()


def test_no_runs(tmp_path: Path) -> None:
    with pytest.raises(FedloomError, match="no run folder given"):
        page([], tmp_path / "report.html")


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="needs headless Chromium")
def test_opens_in_a_browser_without_a_complaint(one: Path, tmp_path: Path) -> None:
    assert CHROMIUM is not None
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync"]
    command += ["--disable-background-networking", "--disable-component-update", "--enable-logging=stderr"]
    command += [f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", one.as_uri()]
    opened = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert "CONSOLE" not in opened.stderr
    assert "After 12 rounds" in opened.stdout
    assert opened.stdout.count("<svg") == one.read_text().count("<svg")
