"""What decides a checkpoint's outputs, part by part: its weights, configuration, processor, tokenizer and templates.

    fingerprint = SHA-256 of, for each part in the order of their names: name | hash

A part is ``"weights"`` or a file. JSON is hashed for what it says: not for the order of its keys, nor for what is only
told about the file (by which release it was written, from where, in which precision it was saved).
"""

import hashlib
import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from fedloom.core.errors import FedloomError

WEIGHTS = "weights"
"""The part that is no file: the hash of the tensors."""

_FILES = (
    "config.json",
    "preprocessor_config.json",
    "processor_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "*.model",
    "chat_template.json",
    "chat_template.jinja",
    "additional_chat_templates/*.jinja",
    "qformer_tokenizer/*",
)
"""What Transformers reads of a checkpoint besides its weights, to make a model and what stands before it."""

_TOLD = {
    "_name_or_path",
    "name_or_path",
    "transformers_version",
    "dtype",
    "torch_dtype",
    "_commit_hash",
    "architectures",
}
_TOLD |= {"processor_class", "auto_map", "tokenizer_file", "special_tokens_map_file", "is_local", "local_files_only"}


def fingerprint(parts: Mapping[str, str]) -> str:
    """One hash of all ``parts``."""
    total = hashlib.sha256()
    for name in sorted(parts):
        total.update(f"{name}|{parts[name]}\n".encode())
    return total.hexdigest()


def files(folder: Path) -> dict[str, str]:
    """The hash of each file of ``folder`` that decides an output, by its name.

    Raises:
        FedloomError: one cannot be read.
    """
    found = {path for pattern in _FILES for path in folder.glob(pattern) if path.is_file()}
    return {path.relative_to(folder).as_posix(): _hashed(path) for path in sorted(found)}


def _hashed(path: Path) -> str:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise FedloomError(f"model: {str(path)!r} cannot be read: {error.strerror}.") from None
    if path.suffix == ".json" and path.name != "tokenizer.json":  # that one is large, and nobody writes into it
        with suppress(ValueError, RecursionError):  # whoever reads it will say so
            content = json.dumps(_said(json.loads(content)), sort_keys=True).encode()
    return hashlib.sha256(content).hexdigest()


def _said(value: Any) -> Any:
    """JSON without what is only told about it."""
    if isinstance(value, dict):
        return {name: _said(inner) for name, inner in value.items() if name not in _TOLD}
    return [_said(inner) for inner in value] if isinstance(value, list) else value
