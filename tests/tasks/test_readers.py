"""Folders that are damaged in any way: every task that reads one ends in a FedloomError that names what is wrong."""

import contextlib
import json
import shutil
import warnings
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fedloom.core import resolve
from fedloom.core.contracts import Data
from fedloom.core.errors import FedloomError
from fedloom.core.samples import guarded
from tests.tasks.folders import FOLDERS

FILES = {
    "nlvr": ["train.jsonl", "dev.jsonl"],
    "scienceqa": ["problems.json", "pid_splits.json"],
    "iconqa/choose_txt": ["iconqa/train/choose_txt/9/data.json", "pid2skills.json"],
    "iconqa/choose_img": ["iconqa/train/choose_img/20/data.json"],
    "iconqa/fill_in_blank": ["iconqa/train/fill_in_blank/30/data.json"],
    "hateful-memes": ["train.jsonl", "test_seen.jsonl"],
    "crisismmd": ["crisismmd_datasplit_all/task_humanitarian_text_img_train.tsv"],
    "vqa-rad": ["VQA_RAD Dataset Public.json"],
    "slake": ["train.json", "test.json"],
    "medical-flashcards": ["medical_meadow_wikidoc_medical_flashcards.json"],
    "medical": ["vqa-rad/VQA_RAD Dataset Public.json"],
    "image-folder": [],
    "icon645": [],
    "image-dataset": [],
}
"""The files of text that each task reads itself, in the small folders."""
EVERY = [(name, file) for name, files in FILES.items() for file in files]

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["\ud83d", "<image>"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)


def read(name: str, folder: Path, on_bad: Any = "refuse") -> Data:
    return guarded(resolve.build("tasks", name, {}, path=str(folder), on_bad=on_bad), on_bad).load()


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    place = tmp_path_factory.mktemp("folders")
    return {name: make(place / name.replace("/", "-")) for name, make in FOLDERS.items()}


@pytest.mark.parametrize(("name", "file"), EVERY)
def test_a_byte_order_mark_changes_nothing(name: str, file: str, folders: dict[str, Path], tmp_path: Path) -> None:
    folder = shutil.copytree(folders[name], tmp_path / "copy")
    marked = folder / file
    marked.write_bytes(b"\xef\xbb\xbf" + marked.read_bytes())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ids = [[sample.id for sample in half] for half in _halves(read(name, folder))]
    assert ids == [[sample.id for sample in half] for half in _halves(read(name, folders[name]))]


def _halves(data: Data) -> tuple[Any, Any]:
    return data.train, data.test


@pytest.mark.parametrize(
    "content", [b"\xff\xfe{\x00}\x00", b"[" * 100_000, b"[1, 2]", b'{"a": NaN}', b"\x00", b'{"a": "']
)
@pytest.mark.parametrize(("name", "file"), EVERY)
def test_a_file_that_is_none_of_its_kind_is_named(
    name: str, file: str, content: bytes, folders: dict[str, Path], tmp_path: Path
) -> None:
    folder = shutil.copytree(folders[name], tmp_path / "copy")
    (folder / file).write_bytes(content)
    with pytest.raises(FedloomError) as caught:
        read(name, folder)
    assert Path(file).name in str(caught.value)


HALF = {
    "nlvr": ("train.jsonl", "sentence", r"train\.jsonl, line 2: field 'sentence' holds"),
    "scienceqa": ("problems.json", "question", r"problems\.json, question 1: field 'question' holds"),
    "iconqa/choose_txt": ("iconqa/train/choose_txt/9/data.json", "label", r"9/data\.json: field 'label' holds"),
    "hateful-memes": ("train.jsonl", "text", r"train\.jsonl, line 2: field 'text' holds"),
    "vqa-rad": ("VQA_RAD Dataset Public.json", "answer", r"Public\.json, entry 1: field 'answer' holds"),
    "slake": ("test.json", "content_type", r"test\.json, entry 1: field 'content_type' holds"),
}


def fields_of(name: str, found: Any) -> dict[str, Any]:
    """The fields of the first record."""
    return found["1"] if name == "scienceqa" else found[0] if isinstance(found, list) else found


@pytest.mark.parametrize("name", HALF)
def test_half_a_character_is_told_with_its_file_line_and_field(
    name: str, folders: dict[str, Path], tmp_path: Path
) -> None:
    file, field, told = HALF[name]
    folder = shutil.copytree(folders[name], tmp_path / "copy")
    linewise = file.endswith(".jsonl")
    lines = (folder / file).read_text().split("\n") if linewise else [(folder / file).read_text()]
    number = 1 if linewise else 0
    record = json.loads(lines[number])
    fields_of(name, record)[field] = "half \ud83d"
    lines[number] = json.dumps(record)  # which escapes it
    (folder / file).write_text("\n".join(lines))
    with pytest.raises(FedloomError, match=told + r" '\\ud83d', half a character"):
        read(name, folder)
    with pytest.warns(UserWarning, match=r"1 of \d+ records skipped"):
        read(name, folder, "skip")


@pytest.mark.parametrize("name", [name for name in FOLDERS if "".join(FILES[name][:1]).endswith(("json", "jsonl"))])
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_value_in_any_field_is_read_or_refused(name: str, folders: dict[str, Path], data: st.DataObject) -> None:
    """Whatever stands in a field, no other error than fedloom's comes out, and what is read can be written down."""
    file = folders[name] / FILES[name][0]
    before = file.read_text()
    lines = before.splitlines() if file.suffix == ".jsonl" else [before]
    record = json.loads(lines[0])
    fields = fields_of(name, record)
    fields[data.draw(st.sampled_from(sorted(fields)))] = data.draw(VALUES)
    file.write_text("\n".join([json.dumps(record), *lines[1:]]))
    try:
        for on_bad in ("refuse", "skip"):
            with warnings.catch_warnings(), contextlib.suppress(FedloomError):
                warnings.simplefilter("ignore")
                for sample in read(name, folders[name], on_bad).train:
                    assert "".join([sample.id, sample.question or "", sample.text or "", sample.answer]).encode()
                    assert "".join([*sample.choices, *sample.meta.values()]).encode()
    finally:
        file.write_text(before)
