"""A task of one's own: pictures in folders, a folder a class, become a federated experiment.

    python examples/own_task.py [FOLDER]      FOLDER/<class>/*.png; without one, a few are drawn

Each client holds mostly pictures of a class of its own (`scenario.by = "label"`). The function `folders` is the task:
its parameter `path` is `data.path`. Pictures stay on disk; one that cannot be opened ends the run before it begins, or
is left out with `data.on_bad=skip`.
"""

import sys
import tempfile
from pathlib import Path

from PIL import Image, ImageDraw

from fedloom.core import config
from fedloom.core.contracts import IMAGE, Data, Example, Sample, Task
from fedloom.engines import run

SETS = ["rounds=2", "scenario=dirichlet", "scenario.clients=2", "scenario.by=label", "scenario.alpha=0.5"]
SETS += ["adapter.where=['text']", "engine.workers=1"]


def folders(path: str = "", test_every: int = 4) -> Task:
    """Name the folder that a picture lies in; every ``test_every``-th picture of a class is for testing."""

    def load() -> Data:
        classes = tuple(sorted(entry.name for entry in Path(path).iterdir() if entry.is_dir()))
        train: list[Sample] = []
        test: list[Sample] = []
        for label in classes:
            for number, file in enumerate(sorted((Path(path) / label).glob("*.png"))):
                half = test if number % test_every == 0 else train
                id = f"{label}/{file.name}"
                half.append(Sample(id, (file,), None, "What is it?", classes, label, meta={"label": label}))
        return Data(tuple(train), tuple(test))

    return Task("folders", "accuracy", load, word, lambda sample, answer: float(answer == sample.answer))


def word(sample: Sample) -> Example:
    """The prompt that a LLaVA reads, and the caption that a CLIP compares with each choice."""
    pictures = sample.images or ()
    prompt = f"{IMAGE}\n" * len(pictures) + f"Question: {sample.question} Answer:"
    return Example(sample.id, pictures, prompt, sample.choices, sample.answer, caption="a drawing of a {}")


def draw(folder: Path) -> None:
    """Two classes of twelve pictures."""
    for label in ("circle", "square"):
        (folder / label).mkdir(parents=True)
        for number in range(12):
            picture = Image.new("RGB", (64, 64), "white")
            shape = ImageDraw.Draw(picture).ellipse if label == "circle" else ImageDraw.Draw(picture).rectangle
            shape((8 + number, 8, 40 + number, 40), fill="black")
            picture.save(folder / label / f"{number:02}.png")


def main() -> None:
    """Run it with the small CLIP that ships."""
    with tempfile.TemporaryDirectory() as place:
        data = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(place) / "data"
        if not data.exists():
            draw(data)
        sets = [*SETS, "task=own_task:folders", f"data.path={data}"]
        result = run(config.load("icons-classify", sets), Path(place) / "run")
        for client in result["per_client"]:
            print(f"client {client['client']}: {client['examples']} pictures")
        print(f"accuracy {result['zero_shot']:.3f} before, {result['final']:.3f} after")


if __name__ == "__main__":
    main()
