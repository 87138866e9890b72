"""icon645: name the icon. Reads the folder of Icon645 (Lu et al., NeurIPS 2021 datasets track, arXiv 2110.13214).

icon645/colored_icons_final/<class>/<name>.png     645,687 coloured icons of 377 classes

The data are CC BY-NC-SA; fedloom has none of them. ``icons-classify`` asks the same of icons that it draws.
"""

from dataclasses import replace
from pathlib import Path

from fedloom.core.contracts import Data, Task
from fedloom.tasks._classes import Share
from fedloom.tasks._folder import OnBad, opened
from fedloom.tasks.image_folder import image_folder

NAME, INNER = "icon645", "colored_icons_final"


def icon645(
    path: str | Path = "", on_bad: OnBad = "refuse", test_share: Share = 0.1, prompts: str = "icons", seed: int = 0
) -> Task:
    """Name the icon among the classes of a folder of Icon645: what IconQA's authors train a residual network on.

    ``test_share``: the share of each class that is the test half, drawn by ``seed``; ``prompts`` and ``on_bad`` are
    those of ``image-folder``. Fields to partition by: ``label``.
    """

    def inner() -> Task:
        root = opened(NAME, path, (INNER,))
        return image_folder(root / INNER, on_bad, test_share=test_share, prompts=prompts, seed=seed)

    def classes() -> tuple[str, ...]:
        named = inner().classes
        assert named is not None
        return named()

    def load() -> Data:
        return inner().load()

    return replace(image_folder(prompts=prompts), name=NAME, load=load, classes=classes)
