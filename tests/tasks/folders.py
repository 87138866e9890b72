"""Small folders in the layouts that tasks read: drawn pictures and invented texts, nothing of the sets themselves."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from tests.tasks.domains import (
    crisismmd_folder,
    flashcards_folder,
    hateful_memes_folder,
    medical_folder,
    slake_folder,
    vqa_rad_folder,
)

SCIENCE = {
    # id: subject, topic, grade, hint, whether there is a picture, split
    "1": ("natural science", "physics", "grade4", "", True, "train"),
    "2": ("natural science", "biology", "grade8", "Moss is green.\nIt likes shade.", True, "train"),
    "3": ("language science", "verbs", "grade2", "A verb tells what is done.", False, "train"),
    "4": ("social science", "geography", "grade12", "", True, "train"),
    "7": ("natural science", "physics", "grade6", "", True, "train"),
    "10": ("social science", "geography", "grade7", "A map has a scale.", True, "val"),
    "12": ("language science", "verbs", "grade11", "", False, "test"),
    "13": ("natural science", "biology", "grade5", "", True, "test"),
    "20": ("social science", "geography", "grade3", "North is up.", True, "test"),
}
SKILLS = (["counting"], ["geometry", "counting"], ["time"])


def paint(file: Path, shade: int) -> None:
    """A small picture, like no other of another shade."""
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGBA", (40, 10), (shade % 256, 90, shade // 256, 255)).save(file)


def nlvr_folder(folder: Path, train: int = 6, dev: int = 4) -> Path:
    """A small folder in the layout of NLVR."""
    first = 0
    for half, size in (("train", train), ("dev", dev)):
        records = []
        for n in range(first, first + size):
            name = f"{half}-{n}-0-4.png"
            paint(folder / "images" / name, 20 * n)
            label = "true" if n % 2 else "false"
            sentence = f"There are {n} yellow boxes."
            records.append(
                {"identifier": f"{n}-0", "sentence": sentence, "label": label, "directory": str(n // 2), "image": name}
            )
        (folder / f"{half}.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
        first += size
    return folder


def image_folder(folder: Path, *sites: str, halves: Sequence[str] = (), each: int = 5) -> Path:
    """A folder a class, of three classes, perhaps in halves and for several sites."""
    shade = 0
    for place in [folder / site / half for site in sites or ("",) for half in halves or ("",)]:
        for label in ("red_fox", "hare", "mole-rat"):
            for number in range(each):
                paint(place / label / f"{number}.png", shade := shade + 1)
    return folder


def image_dataset(folder: Path, each: int = 5, splits: Sequence[str] = ("train", "test")) -> Path:
    """What ``datasets`` saves of pictures of three classes."""
    from datasets import ClassLabel, Dataset, DatasetDict, Features
    from datasets import Image as Pictures

    names, shade, made = ["red_fox", "hare", "mole-rat"], 0, {}
    for split in splits:
        rows: dict[str, list[Any]] = {"image": [], "label": []}
        for number in range(each * len(names)):
            rows["image"].append(Image.new("RGB", (40, 10), (shade := shade + 1, 90, 30)))
            rows["label"].append(number % len(names))
        made[split] = Dataset.from_dict(rows, Features({"image": Pictures(), "label": ClassLabel(names=names)}))
    DatasetDict(made).save_to_disk(str(folder))
    return folder


def icon645_folder(folder: Path) -> Path:
    """A small folder in the layout of Icon645."""
    image_folder(folder / "colored_icons_final")
    (folder / "metadata.json").write_text("{}")
    return folder


def scienceqa_folder(folder: Path) -> Path:
    """A small folder in the layout of ScienceQA: questions with and without a picture and a hint."""
    problems: dict[str, Any] = {}
    splits: dict[str, list[str]] = {name: [] for name in ("train", "val", "test")}
    for id, (subject, topic, grade, hint, has_image, split) in SCIENCE.items():
        options = [f"It weighs {n} stones." for n in range(2, 2 + 2 + int(id) % 4)]
        problems[id] = {
            "question": f"How much does bag {id} weigh?",
            "choices": options,
            "answer": int(id) % len(options),
            "hint": hint,
            "image": "image.png" if has_image else None,
            "task": "closed choice",
            "grade": grade,
            "subject": subject,
            "topic": topic,
            "category": topic.title(),
            "skill": f"Weigh a bag: {topic}",
            "lecture": "",
            "solution": "",
            "split": split,
        }
        splits[split].append(id)
        if has_image:
            paint(folder / "images" / split / id / "image.png", int(id) + 1)
    (folder / "images").mkdir(parents=True, exist_ok=True)
    (folder / "problems.json").write_text(json.dumps(problems, indent=4))
    (folder / "pid_splits.json").write_text(json.dumps(splits | {"minitrain": ["2", "4"], "minitest": ["20"]}))
    return folder


def iconqa_folder(folder: Path) -> Path:
    """A small folder in the layout of IconQA: all three kinds, each with two or more questions in every split."""
    skills, problems, number = {}, dict[str, Any](), 8
    splits: dict[str, list[str]] = {}
    for kind in ("choose_txt", "choose_img", "fill_in_blank"):
        for split, size in (("train", 5), ("val", 2), ("test", 3)):
            for _ in range(size):
                number += 1
                place = folder / "iconqa" / split / kind / str(number)
                paint(place / "image.png", 7 * number)
                (place / "data.json").write_text(json.dumps(_icon_question(kind, number, place), indent=2))
                skills[str(number)] = SKILLS[number % len(SKILLS)]
                problems[str(number)] = json.loads((place / "data.json").read_text()) | {"split": split}
                splits.setdefault(f"{kind}_{split}", []).append(str(number))
        splits |= {f"{kind}_mini{split}": splits[f"{kind}_{split}"][:2] for split in ("train", "test")}
        splits[f"{kind}_trainval"] = splits[f"{kind}_train"] + splits[f"{kind}_val"]
    (folder / "problems.json").write_text(json.dumps(problems))
    (folder / "pid_splits.json").write_text(json.dumps(splits))
    (folder / "pid2skills.json").write_text(json.dumps(skills))
    (folder / "iconqa" / "train" / ".DS_Store").touch()
    (folder / "iconqa" / "train" / "choose_txt" / ".DS_Store").touch()
    return folder


def _icon_question(kind: str, number: int, place: Path) -> dict[str, Any]:
    about = {"ques_type": kind, "grade": f"grade{number % 3 + 1}", "label": f"K{number % 4}"}
    among = 2 + number % 4
    if kind == "choose_txt":
        texts = [f"{thing}s" for thing in ("kite", "drum", "pear", "boat", "leaf")[:among]]
        return {"question": f"Row {number} goes on. What follows?", "choices": texts, "answer": number % among} | about
    if kind == "fill_in_blank":
        return {"question": f"How many dots has card {number}?", "answer": str(number)} | about
    names = [f"choice_{n}.png" for n in range(among)]
    for n, name in enumerate(names):
        paint(place / name, 7 * number + n + 1)
    return {"question": f"Which is like shape {number}?", "choices": names, "answer": number % among} | about


FOLDERS: dict[str, Callable[[Path], Path]] = {
    "nlvr": nlvr_folder,
    "image-folder": image_folder,
    "image-dataset": image_dataset,
    "icon645": icon645_folder,
    "scienceqa": scienceqa_folder,
    "iconqa/choose_txt": iconqa_folder,
    "iconqa/choose_img": iconqa_folder,
    "iconqa/fill_in_blank": iconqa_folder,
    "hateful-memes": hateful_memes_folder,
    "crisismmd": crisismmd_folder,
    "vqa-rad": vqa_rad_folder,
    "slake": slake_folder,
    "medical-flashcards": flashcards_folder,
    "medical": medical_folder,
}
"""What makes a small folder for each task that reads one."""
