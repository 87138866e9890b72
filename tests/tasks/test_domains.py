"""FedMLLM's data sets: what is read of their layouts, how it is worded, and what bad records get."""

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fedloom.core import resolve
from fedloom.core.contracts import Answered, Data, Sample, Task, present
from fedloom.core.errors import FedloomError
from tests.tasks import domains
from tests.tasks.folders import FOLDERS

ALL = ("hateful-memes", "crisismmd", "vqa-rad", "slake", "medical-flashcards", "medical")
RAD, CARDS = "VQA_RAD Dataset Public.json", "medical_meadow_wikidoc_medical_flashcards.json"
TWEETS = "crisismmd_datasplit_all/task_humanitarian_text_img_train.tsv"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("domains")
    for name in ALL:
        FOLDERS[name](place / name)
    return place


@pytest.fixture
def copied(made: Path, tmp_path: Path) -> Callable[[str], Path]:
    """A copy of a task's folder that may be spoilt."""
    return lambda name: shutil.copytree(made / name, tmp_path / name)


def built(name: str, folder: Path, on_bad: str = "refuse", **options: Any) -> Task:
    task: Task = resolve.build("tasks", name, options, path=str(folder), on_bad=on_bad, seed=0)
    return task


def read(name: str, folder: Path, on_bad: str = "refuse", **options: Any) -> Data:
    return built(name, folder, on_bad, **options).load()


def change(file: Path, number: int, **fields: Any) -> None:
    """Set fields of an entry of a JSON list, or of a line of a JSON-lines file; ``None`` takes one out."""
    linewise = file.suffix == ".jsonl"
    text = file.read_text(encoding="utf-8")
    entries = [json.loads(line) for line in text.splitlines()] if linewise else json.loads(text)
    entry = entries[number]
    for field, value in fields.items():
        entry[field] = value
        if value is None:
            del entry[field]
    file.write_text("".join(json.dumps(e) + "\n" for e in entries) if linewise else json.dumps(entries))


def cell(file: Path, line: int, column: str, value: str) -> None:
    rows = [row.split("\t") for row in file.read_text().splitlines()]
    rows[line][rows[0].index(column)] = value
    file.write_text("\n".join("\t".join(row) for row in rows) + "\n")


def test_memes_have_their_label_s_name_text_and_picture(made: Path) -> None:
    data = read("hateful-memes", made / "hateful-memes")
    assert (len(data.train), len(data.test)) == (24, 4)
    one, two = data.train[:2]
    assert (one.id, one.answer, one.text) == ("1237", "(B) hateful", "cat number 1237 is this")
    assert two.answer == two.meta["label"] == "(A) not-hateful"
    assert one.images == (made / "hateful-memes" / "img" / "01237.png",)
    other = read("hateful-memes", made / "hateful-memes", test_split="dev_unseen")
    assert not {s.id for s in other.test} & {s.id for s in data.test}
    assert [s.id for s in other.train] == [s.id for s in data.train]


def test_a_tweet_has_the_label_of_its_picture_and_no_links(made: Path) -> None:
    data = read("crisismmd", made / "crisismmd")
    assert (len(data.train), len(data.test)) == (24, 8)
    assert [s.answer for s in data.test] == [
        f"({letter}) {name}" for letter, name in zip("ABCDEFGH", domains.KINDS["humanitarian"], strict=True)
    ]
    assert data.train[0].text == f'RT @cat{data.train[0].id.removesuffix("_0")}: "a red dog"'
    assert {s.meta["event"] for s in data.train} == {"hurricane_irma", "srilanka_floods"}


@pytest.mark.parametrize(
    ("about", "names"),
    [("informativeness", domains.KINDS["informative"]), ("damage", domains.KINDS["damage"])],
)
def test_the_other_tasks_of_crisismmd(made: Path, about: str, names: tuple[str, ...]) -> None:
    task = built("crisismmd", made / "crisismmd", about=about)
    data = task.load()
    assert [s.answer for s in data.test] == [f"({x}) {name}" for x, name in zip("ABC", names, strict=False)]
    assert task.classes is not None
    assert task.classes() == data.test[0].choices
    assert len(read("crisismmd", made / "crisismmd", about=about, test_split="dev").test) == len(names)


def test_a_tweet_of_nothing_but_a_link_has_no_text(copied: Callable[[str], Path]) -> None:
    folder = copied("crisismmd")
    cell(folder / TWEETS, 1, "tweet_text", "https://t.co/alone")
    assert read("crisismmd", folder).train[0].text is None
    assert present(read("crisismmd", folder).train[0]) == "image"


def test_halves_of_vqa_rad_and_answers_that_are_numbers(made: Path) -> None:
    data = read("vqa-rad", made / "vqa-rad")
    assert [s.id for s in data.test] == ["vqa-rad-3", "vqa-rad-6", "vqa-rad-9"]
    assert len(data.train) == 6
    assert data.test[0].answer == "3"  # a number in the file
    assert {s.meta["answer_type"] for s in (*data.train, *data.test)} == {"OPEN", "CLOSED"}  # "CLOSED " there
    assert {s.meta["question_type"] for s in data.train} <= {"PRES", "ABN, POS", "COUNT"}
    task = built("vqa-rad", made / "vqa-rad")
    assert task.score(data.test[0], "three.") == 1.0
    assert task.score(data.test[0], "four") == 0.0


def test_pictures_of_vqa_rad_may_lie_in_images(copied: Callable[[str], Path]) -> None:
    folder = copied("vqa-rad")
    (folder / "VQA_RAD Image Folder").rename(folder / "images")
    assert len(read("vqa-rad", folder).train) == 6
    (folder / "images").rename(folder / "pictures")
    with pytest.raises(FedloomError, match=r"has no VQA_RAD Image Folder and no images\. Expected one .*osf\.io/89kps"):
        read("vqa-rad", folder)


@pytest.mark.parametrize(("language", "sizes"), [("en", (3, 2)), ("zh", (3, 2)), ("all", (6, 4))])
def test_questions_of_slake_by_language(made: Path, language: str, sizes: tuple[int, int]) -> None:
    data = read("slake", made / "slake", language=language)
    assert (len(data.train), len(data.test)) == sizes
    assert language != "zh" or all(s.answer == "\u80ba" for s in data.train)
    assert language != "en" or all(s.answer.isascii() for s in data.train)
    assert [s.id for s in read("slake", made / "slake").test] == [s.id for s in read("slake", made / "slake").test]


def test_slake_is_english_unless_told_otherwise(made: Path) -> None:
    assert all(s.answer.isascii() for s in read("slake", made / "slake").test)


def test_a_language_that_there_is_not_is_no_language_to_pass_over(copied: Callable[[str], Path]) -> None:
    folder = copied("slake")
    change(folder / "train.json", 0, q_lang="fr")
    with pytest.raises(FedloomError, match=r"train\.json, entry 1: q_lang 'fr'; expected en or zh"):
        read("slake", folder)
    change(folder / "train.json", 0, q_lang=None)
    with pytest.warns(UserWarning, match=r"1 of 3 records skipped; the first: .*entry 1: q_lang None"):
        assert len(read("slake", folder, "skip").train) == 2


def test_cards_are_texts_and_a_share_of_them_is_tested_on(made: Path, tmp_path: Path) -> None:
    data = read("medical-flashcards", made / "medical-flashcards")
    assert (len(data.train), len(data.test)) == (7, 1)
    assert {present(s) for s in data.train} == {"text"}
    folder = domains.flashcards_folder(tmp_path / "more", 40)
    more = read("medical-flashcards", folder, test_share=0.25)
    assert (len(more.train), len(more.test)) == (30, 10)
    drawn = [14, 17, 18, 19, 21, 22, 31, 35, 39, 40]
    assert [s.id for s in more.test] == [f"medical-flashcards-{number}" for number in drawn]
    with pytest.raises(FedloomError, match="has one question"):
        read("medical-flashcards", domains.flashcards_folder(tmp_path / "one", 1))


def test_cards_with_one_question_are_in_one_half(tmp_path: Path) -> None:
    file = domains.flashcards_folder(tmp_path, 20) / CARDS
    file.write_text(
        json.dumps([dict(card, input=f"What is {n % 4}?") for n, card in enumerate(json.loads(file.read_text()))])
    )
    data = read("medical-flashcards", tmp_path, test_share=0.5)
    halves = [{sample.text for sample in half} for half in (data.train, data.test)]
    assert [len(texts) for texts in halves] == [2, 2]
    assert not halves[0] & halves[1]
    assert (len(data.train), len(data.test)) == (10, 10)


def test_cards_that_lack_a_side_are_passed_over_and_counted(copied: Callable[[str], Path]) -> None:
    folder = copied("medical-flashcards")
    change(folder / CARDS, 2, input="")
    change(folder / CARDS, 4, output=None)
    with pytest.warns(UserWarning, match=r"2 of 8 cards lack a question or an answer .*; the first: entry 3"):
        data = read("medical-flashcards", folder)
    assert len(data.train) + len(data.test) == 6
    change(folder / CARDS, 0, output=["a list"])
    with pytest.raises(FedloomError, match=r"entry 1: field 'output' is \['a list'\]; expected text"):
        read("medical-flashcards", folder)


def test_the_medical_mixture(made: Path) -> None:
    folder = made / "medical"
    data = read("medical", folder)
    assert {s.meta["source"] for s in data.train} == {"vqa-rad", "medical-flashcards"}
    assert len(data.train) == 6 + 20
    assert [s.id for s in data.test] == ["vqa-rad-3", "vqa-rad-6", "vqa-rad-9"]
    assert len(read("medical", folder, test="slake").test) == 2
    other = read("medical", folder, test="slake", language="all")
    assert len(other.test) == 4
    assert [s.id for s in other.train] == [s.id for s in data.train]
    assert {(s.meta["source"], present(s)) for s in data.train} == {
        ("vqa-rad", "image"),
        ("medical-flashcards", "text"),
    }


def test_slake_may_be_absent_where_it_is_not_tested_on(copied: Callable[[str], Path]) -> None:
    folder = copied("medical")
    shutil.rmtree(folder / "Slake1.0")
    assert read("medical", folder).test
    with pytest.raises(FedloomError, match=r"has no Slake1\.0\. .*huggingface\.co/datasets/BoKelvin/SLAKE"):
        read("medical", folder, test="slake")


SITES = {
    "hateful-memes": "hatefulmemeschallenge.com",
    "crisismmd": "crisisnlp.qcri.org/crisismmd",
    "vqa-rad": "osf.io/89kps",
    "slake": "huggingface.co/datasets/BoKelvin/SLAKE",
    "medical-flashcards": "huggingface.co/datasets/medalpaca/medical_meadow_medical_flashcards",
    "medical": "osf.io/89kps",
}
ANNOTATIONS = {
    "hateful-memes": "test_seen.jsonl",
    "crisismmd": TWEETS,
    "vqa-rad": RAD,
    "slake": "test.json",
    "medical-flashcards": CARDS,
    "medical": f"vqa-rad/{RAD}",
}


@pytest.mark.parametrize("name", ALL)
def test_a_missing_file_and_a_missing_folder_say_where_the_data_are(name: str, copied: Callable[[str], Path]) -> None:
    folder = copied(name)
    (folder / ANNOTATIONS[name]).unlink()
    with pytest.raises(FedloomError) as caught:
        read(name, folder)
    assert Path(ANNOTATIONS[name]).name in str(caught.value)
    assert SITES[name] in str(caught.value)
    with pytest.raises(FedloomError, match=f"pass --data FOLDER.*{SITES[name]}"):
        read(name, Path())


BAD: list[tuple[str, Callable[[Path], None], str]] = [
    ("hateful-memes", lambda f: change(f / "train.jsonl", 1, img=None), r"line 2: field 'img' is None"),
    ("hateful-memes", lambda f: change(f / "train.jsonl", 1, img="img/none.png"), r"line 2: image .*none\.png cannot"),
    ("hateful-memes", lambda f: change(f / "train.jsonl", 1, img="../x.png"), r"line 2: image .*expected the name"),
    ("hateful-memes", lambda f: change(f / "train.jsonl", 1, label=2), r"line 2: label 2; expected 0 "),
    ("hateful-memes", lambda f: change(f / "train.jsonl", 1, label="1"), r"line 2: label '1'; expected 0 "),
    ("hateful-memes", lambda f: change(f / "train.jsonl", 1, label=None), r"line 2: it has no label"),
    ("hateful-memes", lambda f: change(f / "train.jsonl", 1, id=1237), r"line 2: '1237' has stood there before"),
    ("crisismmd", lambda f: cell(f / TWEETS, 2, "label_image", "flood"), r"line 3: label_image 'flood'; expected one"),
    ("crisismmd", lambda f: cell(f / TWEETS, 2, "label_image", ""), r"line 3: label_image ''; expected one of"),
    ("crisismmd", lambda f: cell(f / TWEETS, 2, "image", ""), r"line 3: field 'image' is ''"),
    ("crisismmd", lambda f: cell(f / TWEETS, 2, "image", "data_image/x.jpg"), r"line 3: image .*x\.jpg cannot be"),
    ("crisismmd", lambda f: cell(f / TWEETS, 2, "tweet_text", "a\tb"), r"line 3: it has 10 cells; expected 9"),
    ("vqa-rad", lambda f: change(f / RAD, 1, image_name=None), r"entry 2: field 'image_name' is None"),
    ("vqa-rad", lambda f: change(f / RAD, 1, phrase_type="else"), r"entry 2: phrase_type 'else'; expected one of"),
    ("vqa-rad", lambda f: change(f / RAD, 1, answer=True), r"entry 2: field 'answer' is True; expected text"),
    ("vqa-rad", lambda f: change(f / RAD, 1, answer=""), r"entry 2: field 'answer' is ''; expected text"),
    ("vqa-rad", lambda f: change(f / RAD, 1, answer_type="MAYBE"), r"entry 2: field 'answer_type' is 'MAYBE'"),
    ("slake", lambda f: change(f / "train.json", 2, img_name="xmlab99/source.jpg"), r"entry 3: image .*cannot be"),
    (
        "slake",
        lambda f: (f / "imgs/xmlab3/source.jpg").write_bytes(b"no picture"),
        r"entry 3: image .*cannot be opened",
    ),
]


@pytest.mark.parametrize(("name", "spoil", "told"), BAD, ids=lambda value: value if isinstance(value, str) else "")
def test_a_bad_record_is_named_and_refused_or_counted(
    name: str, spoil: Callable[[Path], None], told: str, copied: Callable[[str], Path]
) -> None:
    folder = copied(name)
    whole = len(read(name, folder).train)
    spoil(folder)
    with pytest.raises(FedloomError, match=told + r".*data\.on_bad=skip"):
        read(name, folder)
    with pytest.warns(UserWarning, match=rf"1 of {whole} records skipped; the first: .*{told}"):
        assert len(read(name, folder, "skip").train) == whole - 1


def test_a_test_file_without_labels_says_what_to_test_on(copied: Callable[[str], Path]) -> None:
    folder = copied("hateful-memes")
    for number in range(4):
        change(folder / "test_seen.jsonl", number, label=None)
    with pytest.raises(FedloomError, match=r"test_seen\.jsonl, line 1: it has no label\..*task\.test_split=dev_seen"):
        read("hateful-memes", folder)
    with pytest.raises(FedloomError, match=r"test_seen\.jsonl: holds no usable record"):
        read("hateful-memes", folder, "skip")
    assert len(read("hateful-memes", folder, test_split="dev_seen").test) == 4


def test_a_table_without_the_column_of_the_label(copied: Callable[[str], Path]) -> None:
    folder = copied("crisismmd")
    text = (folder / TWEETS).read_text()
    (folder / TWEETS).write_text(text.replace("label_image\t", "label_picture\t"))
    with pytest.raises(FedloomError, match=r"_train\.tsv: its first line names no column 'label_image', but: event_na"):
        read("crisismmd", folder, "skip")
    (folder / TWEETS).write_text("")
    with pytest.raises(FedloomError, match="names no column 'image_id'"):
        read("crisismmd", folder)


@pytest.mark.parametrize(("name", "file"), [("hateful-memes", "test_seen.jsonl"), ("slake", "test.json")])
def test_a_record_in_both_halves(name: str, file: str, copied: Callable[[str], Path]) -> None:
    folder = copied(name)
    change(folder / file, 0, **({"id": 1237} if name == "hateful-memes" else {"qid": 1001}))
    with pytest.raises(FedloomError, match=r"1 records stand in both halves"):
        read(name, folder)


@pytest.mark.parametrize("name", ALL)
def test_the_order_of_folders_and_files_does_not_matter(
    name: str, made: Path, copied: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """FedMLLM's code draws in the order in which a folder lists its files, which differs between machines."""
    before = [[(s.id, s.answer) for s in half] for half in (lambda d: (d.train, d.test))(read(name, made / name))]
    folder = copied(name)
    for file in sorted((path for path in folder.rglob("*") if path.is_file()), reverse=True):
        content = file.read_bytes()
        file.unlink()
        file.write_bytes(content)  # made anew, in the opposite order
    plain = os.listdir
    monkeypatch.setattr(os, "listdir", lambda *given: list(reversed(plain(*given))))
    data = read(name, folder)
    assert [[(s.id, s.answer) for s in half] for half in (data.train, data.test)] == before


def parts_of(sample: Sample) -> dict[str, Sample]:
    return {
        "both": sample,
        "image": replace(sample, text=None),
        "text": replace(sample, images=None),
        "neither": replace(sample, images=None, text=None),
    }


def test_a_prompt_names_no_modality_that_is_not_there(made: Path) -> None:
    task = built("hateful-memes", made / "hateful-memes", wording="named")
    one = task.load().train[0]
    asks = "Question: Is this meme hateful? Choices: (A) not-hateful, (B) hateful. Answer:"
    quoted = '"cat number 1237 is this"'
    assert {kind: task.word(part).prompt for kind, part in parts_of(one).items()} == {
        "both": f"<image>\nJudge by the image and the text. {quoted} {asks}",
        "image": f"<image>\nJudge by the image. {asks}",
        "text": f"Judge by the text. {quoted} {asks}",
        "neither": asks,
    }
    agnostic = built("hateful-memes", made / "hateful-memes", wording="agnostic")
    assert {kind: agnostic.word(part).prompt for kind, part in parts_of(one).items()} == {
        "both": f"<image>\nJudge without regard to modality. {quoted} {asks}",
        "image": f"<image>\nJudge without regard to modality. {asks}",
        "text": f"Judge without regard to modality. {quoted} {asks}",
        "neither": f"Judge without regard to modality. {asks}",
    }
    plain = built("hateful-memes", made / "hateful-memes", wording="plain")
    assert plain.word(one).prompt == f"<image>\n{quoted} {asks}"


def test_medical_prompts_are_the_bare_question_unless_asked_for(made: Path) -> None:
    data = read("medical", made / "medical")
    shown, card = data.train[0], data.train[-1]
    plain, named, agnostic = (
        built("medical", made / "medical", wording=wording) for wording in ("plain", "named", "agnostic")
    )
    assert plain.word(shown).prompt == "<image>\nQuestion: what is this in picture 1 ? Answer:"
    assert plain.word(card).prompt == "what is cat 19 ? Answer:"
    assert named.word(shown).prompt == "<image>\nJudge by the image. Question: what is this in picture 1 ? Answer:"
    assert named.word(card).prompt == "Judge by the text. what is cat 19 ? Answer:"
    assert agnostic.word(card).prompt == "Judge without regard to modality. what is cat 19 ? Answer:"
    assert plain.word(card).choices == ()


def test_a_contrastive_model_reads_the_names_without_their_letters(made: Path) -> None:
    memes, tweets = (built(name, made / name) for name in ("hateful-memes", "crisismmd"))
    one, tweet = memes.load().train[0], tweets.load().train[0]
    assert memes.word(one).captions[1] == "a hateful meme: cat number 1237 is this"
    assert tweets.word(replace(tweet, text=None)).captions[5] == "a tweet of vehicle damage"


@pytest.mark.parametrize("name", ["hateful-memes", "crisismmd"])
def test_an_answer_that_the_model_writes_is_read(name: str, made: Path) -> None:
    task = built(name, made / name, answer="generate")
    sample = task.load().train[0]
    example = task.word(sample)
    assert (example.choices, example.captions, example.answer) == ((), (), sample.answer)
    assert "Give the letter and the name of one choice. Answer:" in example.prompt
    assert task.read is not None
    letter = sample.answer[1]
    for said in (sample.answer, letter, f"Answer: {letter}.", f"the answer is {sample.answer}"):
        assert task.read(sample, said) == sample.answer
        assert task.score(sample, said) == 1.0
    for said in ("", "Based on the text and image", "(Z)", f"{letter} or C"):
        assert task.read(sample, said) is None
        assert task.score(sample, said) == 0.0
    assert built(name, made / name).read is None  # a choice is what it says


def answered(task: Task, samples: tuple[Sample, ...], answers: list[str]) -> list[Answered]:
    assert task.read is not None
    return [
        Answered(answer, task.read(sample, answer), task.score(sample, answer))
        for sample, answer in zip(samples, answers, strict=True)
    ]


def test_the_figures_of_memes_count_an_unread_answer_as_wrong(made: Path) -> None:
    task = built("hateful-memes", made / "hateful-memes", answer="generate")
    samples = task.load().test
    assert [sample.answer[1] for sample in samples] == ["B", "A", "B", "A"]
    found = answered(task, samples, ["B", "(A)", "Based on what it says", "B"])
    assert [each.read and each.read[1] for each in found] == ["B", "A", None, "B"]
    assert task.metrics["AUC"](samples, found) == 0.5  # recalls 1/2 and 1/2
    assert task.metrics["accuracy"](samples, found) == 0.5
    assert task.metrics["soft AUC"](samples, found) is None


def test_the_figures_of_tweets(made: Path) -> None:
    task = built("crisismmd", made / "crisismmd", answer="generate", about="damage")
    samples = task.load().test
    found = answered(task, samples, ["A", "severe_damage", "Cannot tell"])
    # severe: 1 hit, 1 false: 2/3; mild: missed; little or none: unread, missed
    assert task.metrics["macro-F1"](samples, found) == pytest.approx(2 / 9)
    assert task.metrics["accuracy"](samples, found) == pytest.approx(1 / 3)


def test_the_figures_of_questions_by_type_of_answer(made: Path) -> None:
    task = built("vqa-rad", made / "vqa-rad")
    samples = task.load().train
    found = [Answered("", None, float(sample.meta["answer_type"] == "OPEN")) for sample in samples]
    assert task.metric == "exact match"
    assert task.metrics["exact match, open"](samples, found) == 1.0
    assert task.metrics["exact match, closed"](samples, found) == 0.0
