"""nlvr: the layout is read as it is, and what is broken is named."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from fedloom.core import resolve
from fedloom.core.contracts import Data, Task
from fedloom.core.errors import FedloomError
from tests.tasks.folders import nlvr_folder

REAL = Path(__file__).parents[3] / "shared" / "data" / "nlvr"


def load(folder: Path | str, on_bad: str = "refuse") -> Data:
    task: Task = resolve.build("tasks", "nlvr", {}, path=str(folder), on_bad=on_bad)
    return task.load()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return nlvr_folder(tmp_path / "nlvr")


def test_reads_the_layout(folder: Path) -> None:
    data = load(folder)
    first = data.train[0]
    assert (len(data.train), len(data.test)) == (6, 4)
    assert (first.id, first.text, first.answer) == ("train-0-0", "There are 0 yellow boxes.", "false")
    assert first.images == (folder / "images" / "train-0-0-4.png",)
    assert first.meta == {"directory": "train/0", "presentation": "0", "label": "false"}
    assert data.test[0].meta["directory"] == "dev/3"


def test_words_a_sentence_about_a_picture(folder: Path) -> None:
    task: Task = resolve.build("tasks", "nlvr", {}, path=str(folder), on_bad="refuse")
    example = task.word(load(folder).train[1])
    assert example.prompt == (
        '<image>\n"There are 1 yellow boxes." Question: Is this sentence true of the picture? '
        "Choices: true, false. Answer:"
    )
    assert example.choices == ("true", "false")


def test_asks_about_what_is_there(folder: Path) -> None:
    task: Task = resolve.build("tasks", "nlvr", {}, path=str(folder), on_bad="refuse")
    sample, end = load(folder).train[1], "Choices: true, false. Answer:"
    wordless, unseen = replace(sample, text=None), replace(sample, images=None)
    assert task.word(wordless).prompt == f"<image>\nQuestion: Is the sentence about this picture true? {end}"
    assert task.word(unseen).prompt == f'"There are 1 yellow boxes." Question: Is this sentence true? {end}'
    assert task.word(replace(wordless, images=None)).prompt == f"Question: Is it true? {end}"


def test_without_a_folder_it_tells_to_pass_one() -> None:
    with pytest.raises(FedloomError, match="--data FOLDER"):
        load("")


def test_a_folder_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FedloomError, match=r"nowhere: there is no such folder\. Expected a folder of train\.jsonl"):
        load(tmp_path / "nowhere")
    (tmp_path / "file").write_text("")
    with pytest.raises(FedloomError, match=r"file: this is a file\. Expected a folder of train\.jsonl"):
        load(tmp_path / "file")


def test_a_folder_that_lacks_a_part_is_refused(folder: Path) -> None:
    (folder / "dev.jsonl").unlink()
    with pytest.raises(FedloomError, match=r"has no dev\.jsonl.*--data FOLDER"):
        load(folder)


def _record(n: int, **changes: str) -> str:
    fields = {"identifier": f"{n}-0", "sentence": "Two boxes.", "label": "true", "directory": "1"}
    return json.dumps(fields | {"image": "train-1-0-4.png"} | changes)


BROKEN = {
    "cut short": (_record(90)[:30], "not valid JSON"),
    "no object": ("[1, 2]", "expected a JSON object"),
    "a field missing": (json.dumps({"identifier": "90-0", "sentence": "Two boxes."}), "field 'label' is None"),
    "a field of the wrong type": (_record(90).replace('"Two boxes."', "7"), "field 'sentence' is 7"),
    "a strange label": (_record(90, label="maybe"), "label 'maybe'; expected 'true' or 'false'"),
    "an identifier twice": (_record(2), "'train-2-0' has stood there before"),
    "a missing image": (_record(90, image="none.png"), "none.png cannot be opened"),
    "an image elsewhere": (_record(90, image="../secret.png"), "expected the name of a file"),
    "a corrupt image": (_record(90, image="corrupt.png"), "corrupt.png cannot be opened"),
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_record_is_named_with_its_file_line_and_mend(what: str, folder: Path) -> None:
    line, problem = BROKEN[what]
    whole = (folder / "images" / "train-1-0-4.png").read_bytes()
    (folder / "images" / "corrupt.png").write_bytes(whole[: len(whole) // 2])
    with (folder / "train.jsonl").open("a") as file:
        file.write(f"\n{line}\n")
    with pytest.raises(FedloomError) as caught:
        load(folder)
    assert f"{folder / 'train.jsonl'}, line 8: " in str(caught.value)
    assert problem in str(caught.value)
    assert "data.on_bad=skip" in str(caught.value)
    with pytest.warns(UserWarning, match=r"1 of 7 records skipped.*line 8"):
        data = load(folder, on_bad="skip")
    assert len(data.train) == 6


def test_a_presentation_on_both_sides_is_refused(folder: Path) -> None:
    with (folder / "dev.jsonl").open("a") as file:
        file.write(_record(0, identifier="0-1") + "\n")
    with pytest.raises(FedloomError, match="stand in both"):
        load(folder)


def test_a_half_without_records_is_refused(folder: Path) -> None:
    (folder / "dev.jsonl").write_text("\n")
    with pytest.raises(FedloomError, match="no usable record"):
        load(folder, on_bad="skip")


def test_text_that_is_not_utf8_is_refused(folder: Path) -> None:
    (folder / "train.jsonl").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(FedloomError, match=r"train\.jsonl: cannot be read as UTF-8"):
        load(folder)


@pytest.mark.skipif(not REAL.exists(), reason="the NLVR folder ../shared/data/nlvr is not here")
def test_the_real_corpus_has_the_published_figures() -> None:
    data = load(REAL)
    train, dev = ([sample.answer for sample in half] for half in (data.train, data.test))
    assert (len(train), train.count("true")) == (1000, 587)
    assert (len(dev), dev.count("true")) == (989, 547)
    assert len({s.meta["directory"] for s in (*data.train, *data.test)}) == 80 + 6
