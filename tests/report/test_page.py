import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import pytest

from fedloom.core.errors import FedloomError
from fedloom.report.page import _facts, page
from fedloom.report.words import MISSING
from tests.report.made_up import begin, change, run_folder

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


def drawn(folder: Path, *more: Path) -> str:
    """The text of the page about run folders, without line breaks."""
    page([folder, *more], folder / "report.html")
    return re.sub(r"\s+", " ", (folder / "report.html").read_text())


@pytest.mark.parametrize(
    ("final", "told"),
    [
        (0.412, '<p class="gain ">0.0 points of accuracy'),
        (0.4124, '<p class="gain ">0.0 points of accuracy'),
        (0.4116, '<p class="gain ">0.0 points of accuracy'),
        (0.422, '<p class="gain right">+1.0 points of accuracy'),
        (0.402, '<p class="gain wrong">-1.0 points of accuracy'),
    ],
)
def test_what_was_won_is_green_only_where_it_is_something(tmp_path: Path, final: float, told: str) -> None:
    folder = run_folder(tmp_path)
    change(folder, final=final)
    assert told in drawn(folder)


def test_a_gain_that_may_be_noise_is_not_green(tmp_path: Path) -> None:
    folder = run_folder(tmp_path)
    (folder / "before.json").write_text('{"scores": [0, 0, 1, 0]}')
    (folder / "after.json").write_text('{"scores": [1, 1, 1, 0]}')
    change(folder, zero_shot=0.25, final=0.75)
    text = drawn(folder)
    # 0.5 +- 3.18245 * sqrt(1 / 12)
    assert '<p class="gain ">+50.0 points of accuracy' in text
    assert "95% interval -41.9 to +141.9: within the noise" in text


def test_clients_left_out_are_told_before_the_numbers(one: Path) -> None:
    text = one.read_text()
    notice = text.index("1 client was left out")
    assert notice < text.index('class="hero"')
    assert 'href="#run-1-left-out">Why</a>' in text[notice:]
    assert 'id="run-1-left-out"' in text


def test_a_client_that_is_a_number_is_called_one_everywhere(tmp_path: Path) -> None:
    text = drawn(run_folder(tmp_path, clients=["1", "0", "3", "2"]))
    for number in range(4):
        assert f'<th scope="row">client {number}</th>' in text
    assert '<p class="note">client 1</p>' in text


def test_the_best_round_has_its_number(one: Path) -> None:
    lines = [json.loads(line) for line in (one.parent / "made-up" / "rounds.jsonl").read_text().splitlines()]
    best = max((line["score"], line["round"]) for line in lines if line["score"] is not None)[1]
    assert f"<dt>Best: round {best}</dt>" in one.read_text()


def test_clients_have_their_counts_and_interval(tmp_path: Path) -> None:
    folder = run_folder(tmp_path, clients=["lyon"])
    client = {"client": "lyon", "examples": 40, "tested": 10, "zero_shot": 0.4, "final": 0.5}
    change(folder, per_client=[client], final=0.5)
    text = drawn(folder)
    row = "<td>40</td><td>10</td><td>40.0%</td><td>50.0%</td><td>23.7% to 76.3%</td>"  # Wilson of 5 out of 10
    assert row in text
    assert "95% interval of the score: 23.7% to 76.3%, over 10 test examples." in text


def test_a_metric_that_is_no_share_has_no_interval(tmp_path: Path) -> None:
    folder = run_folder(tmp_path, clients=["lyon"])
    change(
        folder, final=3.2, per_client=[{"client": "lyon", "examples": 4, "tested": 9, "zero_shot": 1.5, "final": 3.2}]
    )
    assert "interval of the score" not in drawn(folder)


def test_date_command_device_and_versions(tmp_path: Path) -> None:
    folder = run_folder(tmp_path)
    assert "<td>cpu, 2 cores</td>" not in drawn(folder)  # an older folder opens without them
    begin(folder)
    text = drawn(folder)
    for value in ("2026-11-27 00:36 UTC", "cpu, 2 cores", "5.23.0", "0.21.0", "3.11.7"):
        assert f"<td>{value}</td>" in text
    assert ">fedloom run quickstart --set rounds=2</td>" in text
    assert '<li class="set">rounds=2</li>' in text


def test_bounds_are_lines_beside_the_run_that_they_bound(tmp_path: Path) -> None:
    own, local, pooled = (run_folder(tmp_path, name, method=name) for name in ("fedavg", "local", "centralised"))
    change(local, final=0.5)
    change(pooled, final=0.8)
    change(own, chance=0.25, majority={"answer": "yes", "score": 0.4, "of": "test"})
    text = drawn(own, local, pooled)
    assert "<h1>fedavg</h1>" in text
    assert "Between its bounds" in text
    for line in ("each client alone 50.0%", "all data in one place 80.0%", "a choice at random 25.0%"):
        assert line in text
    assert "the most frequent test answer: 40.0%" in text


def test_an_unfinished_run_says_so(tmp_path: Path) -> None:
    folder = run_folder(tmp_path)
    (folder / "result.json").unlink()
    (folder / "rounds.jsonl").write_text("\n".join((folder / "rounds.jsonl").read_text().splitlines()[:3]) + "\n")
    text = drawn(folder)
    assert text.index("<strong>Unfinished.</strong> 3 of 12 rounds are done") < text.index('class="hero"')
    assert "So far, after 3 rounds" in text


def test_a_run_that_only_began_has_a_page(tmp_path: Path) -> None:
    folder = run_folder(tmp_path)
    for name in ("result.json", "rounds.jsonl", "clients.jsonl", "partition.json", "examples.json"):
        (folder / name).unlink()
    assert "<strong>Unfinished.</strong> No round is done yet." in drawn(folder)


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="needs headless Chromium")
def test_long_names_fit_a_phone(tmp_path: Path) -> None:
    assert CHROMIUM is not None
    names = ["hospital-of-the-far-north+method=fedavg", "b" * 70, "\u65e5" * 40]
    folders = [run_folder(tmp_path, name, clients=["ward-of-the-far-north-one", "x" * 40]) for name in names]
    page(folders, tmp_path / "report.html")
    (tmp_path / "frame.html").write_text(
        '<iframe width="320" height="600" src="report.html"></iframe><script>onload = () => document.body.append('
        "'wide: ' + document.querySelector('iframe').contentDocument.documentElement.scrollWidth)</script>"
    )
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--allow-file-access-from-files"]
    command += [f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", (tmp_path / "frame.html").as_uri()]
    opened = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    found = re.search(r"wide: (\d+)", opened)
    assert found is not None
    assert int(found[1]) <= 320


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


def test_what_examples_lack_is_a_table_and_the_modality_a_chip(tmp_path: Path) -> None:
    folder = run_folder(tmp_path)
    page([folder], tmp_path / "plain.html")
    assert "What examples lack" not in (tmp_path / "plain.html").read_text()
    (folder / "config.toml").write_text((folder / "config.toml").read_text() + '[modality]\nname = "missing"\n')
    held = json.loads((folder / "partition.json").read_text())
    held["clients"][0]["lost"] = {"train": {"image": 7, "both": 2}, "test": {"text": 3}}
    held["clients"][1]["lost"] = {"train": {"image": 11}, "test": {}}
    (folder / "partition.json").write_text(json.dumps(held))
    page([folder], tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text()
    assert "<li>modality missing</li>" in text
    heads = ["Client", "Training, no image", "Training, neither image nor text", "Test, no text"]
    assert "".join(f'<th scope="col">{head}</th>' for head in heads) in text
    first, second = (one["name"] for one in held["clients"][:2])
    assert f'<tr><th scope="row">{first}</th><td>7</td><td>2</td><td>3</td></tr>' in text
    assert f'<tr><th scope="row">{second}</th><td>11</td><td>{MISSING}</td><td>{MISSING}</td></tr>' in text


def test_who_holds_which_modality_is_a_picture(tmp_path: Path) -> None:
    folder = run_folder(tmp_path)
    page([folder], tmp_path / "plain.html")
    assert "Who holds which modality" not in (tmp_path / "plain.html").read_text()
    held = json.loads((folder / "partition.json").read_text())
    for number, client in enumerate(held["clients"]):
        client["present"] = [{"image": 3, "text": number}]
    (folder / "partition.json").write_text(json.dumps(held))
    page([folder], tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text()
    assert "Who holds which modality" in text
    count = len(held["clients"])
    told = f"image alone {3 * count}, text alone {sum(range(count))}"
    assert f'aria-label="training examples of each client by what they have: {told}"' in text


def test_the_facts_tell_what_stands_for_what_is_missing() -> None:
    result = SimpleNamespace(rounds=3, clients=2, seed=0, measured=SimpleNamespace(on="test"))
    for fill, words in (("retrieved", "missing parts retrieved"), ("drop", "incomplete examples left out")):
        settings = {"modality": {"name": "missing", "fill": fill}}
        told = _facts(SimpleNamespace(settings=settings, result=result))  # type: ignore[arg-type]
        assert told[:2] == ["modality missing", words]


def test_the_facts_name_what_is_not_usual_of_a_turn() -> None:
    named = {"method": {"name": "fedavg", "with": ["fedprox:0.01"]}, "adapter": {"kind": "head"}}
    settings = named | {"objective": {"name": "distil"}, "modality": {"name": "complete"}}
    result = SimpleNamespace(rounds=3, clients=2, seed=0, measured=SimpleNamespace(on="test"))
    told = _facts(SimpleNamespace(settings=settings, result=result))  # type: ignore[arg-type]
    assert told == [
        "fedavg",
        "with fedprox:0.01",
        "adapter head",
        "objective distil",
        "2 clients",
        "3 rounds",
        "seed 0",
    ]


def test_runs_side_by_side_have_a_column_of_unparsed_answers_where_there_are_any(tmp_path: Path) -> None:
    folders = [run_folder(tmp_path, name) for name in ("one", "two")]
    for folder in folders:
        change(folder, unparsed={"before": 0.5, "after": 0.0})
    page(folders, tmp_path / "none.html")
    text = (tmp_path / "none.html").read_text()
    assert "Every answer was parsed." in text
    assert "Unparsed answers" not in text
    assert text.count("answers that could not be parsed</th><td>50.0%</td><td>0.0%</td>") == 2
    change(folders[1], unparsed={"before": 0.5, "after": 0.25}, metrics={"<b>F1</b>": {"before": 0.1, "after": None}})
    page(folders, tmp_path / "some.html")
    text = (tmp_path / "some.html").read_text()
    assert '<th scope="col">Unparsed answers</th>' in text
    assert "Every answer was parsed." not in text
    assert "&lt;b&gt;F1&lt;/b&gt;</th><td>10.0%</td><td>\u2013</td>" in text


def test_classes_are_listed_the_worst_first(tmp_path: Path, one: Path) -> None:
    told = {
        "red <fox>": {"before": 0.25, "after": 0.75, "tested": 4},
        "hare": {"before": None, "after": 0.5, "tested": 2},
    }
    page([run_folder(tmp_path, classes=told)], tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text()
    rows = re.findall(r'<tr><th scope="row">([^<]*)</th><td>(\d+)</td><td>([^<]*)</td><td>([^<]*)</td></tr>', text)
    assert ("hare", "2", MISSING, "50.0%") in rows
    assert ("red &lt;fox&gt;", "4", "25.0%", "75.0%") in rows
    assert text.index("hare</th>") < text.index("red &lt;fox&gt;</th>")
    assert "Before and after, class by class" in text
    assert "class by class" not in one.read_text()
