"""Small folders in the layouts of FedMLLM's data sets: drawn pictures and invented texts, nothing of the sets
themselves."""

import json
from pathlib import Path
from typing import Any

from PIL import Image

KINDS = {
    "humanitarian": (
        "affected_individuals",
        "infrastructure_and_utility_damage",
        "injured_or_dead_people",
        "missing_or_found_people",
        "rescue_volunteering_or_donation_effort",
        "vehicle_damage",
        "other_relevant_information",
        "not_humanitarian",
    ),
    "informative": ("informative", "not_informative"),
    "damage": ("severe_damage", "mild_damage", "little_or_no_damage"),
}
COLUMNS = ["event_name", "tweet_id", "image_id", "tweet_text", "image"]


def paint(file: Path, shade: int) -> str:
    """A small picture, like no other of another shade; its name."""
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (24, 16), (shade % 256, 120, 30 + shade // 256)).save(file)
    return file.name


def hateful_memes_folder(folder: Path) -> Path:
    """Hateful Memes: 24 memes to train on, 4 in each other file."""
    number = 1230
    for name, size in (("train", 24), ("dev_seen", 4), ("test_seen", 4), ("dev_unseen", 4), ("test_unseen", 4)):
        memes = []
        for _ in range(size):
            number += 7
            image = f"img/{number:05}.png"
            paint(folder / image, number)
            memes.append({"id": number, "img": image, "label": number % 2, "text": f"cat number {number} is this"})
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(meme) + "\n" for meme in memes))
    return folder


def crisismmd_folder(folder: Path) -> Path:
    """CrisisMMD v2.0: three tweets of each class to train on, one in each other split; the picture's label is not the
    text's."""
    number = 900_000
    for kind, names in KINDS.items():
        more = ["label"] if kind == "damage" else ["label", "label_text", "label_image", "label_text_image"]
        for split, times in (("train", 3), ("dev", 1), ("test", 1)):
            lines = ["\t".join(COLUMNS + more)]
            for place, name in enumerate(names * times):
                number += 1
                event = ("hurricane_irma", "srilanka_floods")[number % 2]
                image = f"data_image/{event}/{1 + number % 9}_9_2017/{number}_0.jpg"
                paint(folder / image, 3 * number)
                other = names[(place + 1) % len(names)]
                labels = [name] if kind == "damage" else [other, other, name, "Negative"]
                text = f'RT @cat{number}: "a red dog" https://t.co/x{number} http://t.co/y'
                lines.append("\t".join([event, str(number), f"{number}_0", text, image, *labels]))
            file = folder / "crisismmd_datasplit_all" / f"task_{kind}_text_img_{split}.tsv"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text("\n".join(lines) + "\n")
    return folder


def vqa_rad_folder(folder: Path) -> Path:
    """VQA-RAD: 6 questions to train on, 3 to test on; numbers as answers, and a space after some answer types."""
    phrases = [
        "freeform",
        "para",
        "test_freeform",
        "freeform",
        "para",
        "test_para",
        "freeform",
        "para",
        "test_freeform",
    ]
    questions = []
    for number, phrase in enumerate(phrases, start=1):
        name = paint(folder / "VQA_RAD Image Folder" / f"synpic{40000 + number}.jpg", 11 * number)
        free = number % 3 != 1
        answer: Any = number if number % 4 == 3 else ("Yes" if not free else f"the left cat {number}")
        questions.append(
            {
                "qid": number if number % 2 else str(number),
                "phrase_type": phrase,
                "image_name": name,
                "image_organ": ("HEAD", "CHEST", "ABD")[number % 3],
                "question": f"what is this in picture {number} ?",
                "question_type": ("PRES", "ABN, POS", "COUNT")[number % 3],
                "answer": answer,
                "answer_type": "OPEN" if free else "CLOSED ",
            }
        )
    (folder / "VQA_RAD Dataset Public.json").write_text(json.dumps(questions, indent=1))
    return folder


def slake_folder(folder: Path) -> Path:
    """SLAKE: English and Chinese questions by turns, 6 to train on, 4 to test on."""
    number = 0
    for half, size in (("train", 6), ("test", 4)):
        questions = []
        for _ in range(size):
            number += 1
            english = number % 2 == 1
            image = f"xmlab{number}/source.jpg"
            paint(folder / "imgs" / image, 500 + 13 * number)
            questions.append(
                {
                    "img_id": number,
                    "img_name": image,
                    "question": f"what colour is cat {number} ?" if english else f"\u8fd9\u662f\u4ec0\u4e48 {number}",
                    "answer": ("red" if number % 4 == 1 else "No") if english else "\u80ba",
                    "q_lang": "en" if english else "zh",
                    "location": "Lung",
                    "modality": "CT",
                    "answer_type": "OPEN" if number % 4 < 2 else "CLOSED",
                    "base_type": "vqa",
                    "content_type": ("Organ", "Color", "Plane")[number % 3],
                    "triple": ["vhead", "_", "_"],
                    "qid": 1000 + number,
                }
            )
        (folder / f"{half}.json").write_text(json.dumps(questions, ensure_ascii=False), encoding="utf-8")
    return folder


def flashcards_folder(folder: Path, size: int = 8) -> Path:
    """Medical flashcards."""
    folder.mkdir(parents=True, exist_ok=True)
    cards = [
        {"input": f"what is cat {n} ?", "output": f"cat {n} is a red dog.", "instruction": "Answer this question"}
        for n in range(size)
    ]
    (folder / "medical_meadow_wikidoc_medical_flashcards.json").write_text(json.dumps(cards))
    return folder


def medical_folder(folder: Path) -> Path:
    """All three medical sets."""
    vqa_rad_folder(folder / "vqa-rad")
    flashcards_folder(folder / "medical_meadow_medical_flashcards", 20)
    slake_folder(folder / "Slake1.0")
    return folder
