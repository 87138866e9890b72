"""Hashes of the halves of a checkpoint, so that a client and the host of its language model know that they belong
together, although neither has the other's half.

    half = SHA-256 of, for each tensor in the order of their names: name | type | shape, SHA-256 of its bytes
    model = SHA-256 of "edge|language"

Names are plain ones (``fedloom.models.parts``), and bytes those of the files, whatever precision they are loaded in.
"""

import hashlib
from collections.abc import Iterable
from pathlib import Path

from transformers import AutoConfig

from fedloom.models import parts
from fedloom.models.parts import Parts


def edge(folder: Path) -> str:
    """Of what a client holds: vision tower, connector and embeddings."""
    return edge_of(_parts(folder))


def language(folder: Path) -> str:
    """Of what a host holds: the language model and the embeddings."""
    return language_of(_parts(folder))


def embeddings(folder: Path) -> str:
    """Of what both hold."""
    return embeddings_of(_parts(folder))


def edge_of(held: Parts) -> str:
    """As ``edge``, of a checkpoint that is open."""
    return _hashed(held, (*held.edge, held.embeddings))


def language_of(held: Parts) -> str:
    """As ``language``, of a checkpoint that is open."""
    return _hashed(held, (*held.language, held.embeddings))


def embeddings_of(held: Parts) -> str:
    """As ``embeddings``, of a checkpoint that is open."""
    return _hashed(held, (held.embeddings,))


def split(edge_hash: str, language_hash: str) -> str:
    """Of a whole model, from those of its halves."""
    return hashlib.sha256(f"{edge_hash}|{language_hash}".encode()).hexdigest()


def _parts(folder: Path) -> Parts:
    return parts.of(folder, AutoConfig.from_pretrained(folder))


def _hashed(held: Parts, names: Iterable[str]) -> str:
    total = hashlib.sha256()
    for name in sorted(names, key=lambda name: (parts.plain(name), name)):
        entry, content = held.shards.entry(name), hashlib.sha256()
        for chunk in held.shards.chunks(name):
            content.update(chunk)
        total.update(f"{parts.plain(name)}|{entry.dtype}|{list(entry.shape)}|{content.hexdigest()}\n".encode())
    return total.hexdigest()
