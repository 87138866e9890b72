"""How an exported adapter is opened: a base that can be found, code that runs as it is printed, and what must not be
done with it."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from fedloom.models import NANO, labels
from fedloom.models.checkpoints.checks import CONTRASTIVE


def base_of(name: str) -> str:
    """Where the model called ``name`` can be opened: a folder's whole path, that of a model that ships, or its id."""
    called = labels.called(name)
    folder = NANO.get(called.place, Path(called.place).expanduser())
    return str(replace(called, place=str(folder.absolute()))) if folder.is_dir() else name


def shared(model: Any, layers: Iterable[str], whole: bool) -> list[str]:
    """Which of the adapted ``layers`` have a weight that another layer has too. ``whole``: the language model is in
    ``model``; else its configuration says what is tied."""
    modules = dict(model.named_modules())
    holders: dict[int, list[str]] = {}
    for name, module in modules.items():
        for weight in module.parameters(recurse=False):
            holders.setdefault(id(weight), []).append(name)
    found = []
    for name in layers:
        layer = modules[name]
        weight = getattr(getattr(layer, "base_layer", layer), "weight", None)
        ends = not whole and layer in (model.get_input_embeddings(), model.get_output_embeddings())
        if len(holders.get(id(weight), ())) > 1 or (ends and model.config.get_text_config().tie_word_embeddings):
            found.append(name)
    return found


def told(name: str, model: Any, folder: Path, tied: list[str], between: str = "") -> str:
    """The part of a card that says how to use the adapter in ``folder``; ``tied``: adapted layers whose weight is
    another's too; ``between``: code after the base is opened."""
    auto = "AutoModel" if model.config.model_type in CONTRASTIVE else "AutoModelForImageTextToText"
    ships = name in NANO
    base = f'NANO["{name}"]' if ships else repr(base_of(name))
    needed = "\nfrom fedloom.models import NANO\n" if ships else ""
    loads = "from safetensors.torch import load_file\n" if between else ""
    imports = f"from peft import PeftModel\n{loads}from transformers import {auto}\n{needed}"
    opened = "\n".join(filter(None, (f"base = {auto}.from_pretrained({base})", between)))
    adapter = f"PeftModel.from_pretrained(base, {str(folder.absolute())!r})"
    opening = f"```python\n{imports}\n{opened}\nmodel = {adapter}\n```\n"
    return f"{opening}\n{_warning(tied, imports, opened, adapter)}" if tied else opening


def opened(folder: Path) -> str:
    """The part of a card that says how to use the adapter in ``folder``, of a kind that PEFT does not have."""
    return f"""```python
from fedloom import models

backbone = models.opened({str(folder.absolute())!r})
```

PEFT has no such kind of adapter. `backbone.answer` takes `fedloom.core.contracts.Example`s.
"""


def _warning(tied: list[str], imports: str, opened: str, adapter: str) -> str:
    names = ", ".join(f"`{name}`" for name in tied)
    return f"""## Do not merge it

The weight of {names} is tied: the words that go in and the words that come out share it, and the adapter changes one of
the two. `merge_and_unload()` and `merge_adapter()` would change both, and the model would answer otherwise. Use the
adapter unmerged, as above. To merge it nevertheless, part the two weights before the adapter is put in:

```python
import torch
{imports}
{opened}
head = base.get_output_embeddings()
head.weight = torch.nn.Parameter(head.weight.detach().clone())
base.config.tie_word_embeddings = base.config.get_text_config().tie_word_embeddings = False
model = {adapter}.merge_and_unload()
```
"""
