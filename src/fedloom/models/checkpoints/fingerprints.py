"""Hashes of the halves of a checkpoint, so that a client and the host of its language model know that they belong
together, although neither has the other's half.

    weights = SHA-256 of, for each tensor in the order of their names: name | type | shape, SHA-256 of its bytes
    edge = hash of its weights and of the files that decide an output (``identity.py``)
    language = hash of its weights and of config.json
    model = SHA-256 of "edge|language"

Names are plain ones (``parts.py``), and bytes those of the files, whatever precision they are loaded in.
"""

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path

from fedloom.models.checkpoints import checkpoint, identity, parts
from fedloom.models.checkpoints.parts import Parts

LANGUAGE = "the language model's host"
"""The part of a split model's identity that is the host's."""


def edge(folder: Path) -> str:
    """Of what a client holds: vision tower, connector and embeddings, and what stands before them."""
    return edge_of(_parts(folder))


def language(folder: Path) -> str:
    """Of what a host holds: the language model and the embeddings."""
    return language_of(_parts(folder))


def embeddings(folder: Path) -> str:
    """Of what both hold."""
    return embeddings_of(_parts(folder))


def edge_of(held: Parts) -> str:
    """As ``edge``, of a checkpoint that is open."""
    return identity.fingerprint(edge_identity(held))


def language_of(held: Parts, weights: str = "") -> str:
    """As ``language``, of a checkpoint that is open; ``weights``: the hash of its weights, where it is known."""
    name = "config.json"
    own = {identity.WEIGHTS: weights or language_weights(held), name: identity.files(held.shards.folder)[name]}
    return identity.fingerprint(own)


def embeddings_of(held: Parts) -> str:
    """As ``embeddings``, of a checkpoint that is open: of their weights alone."""
    return _hashed(held, (held.embeddings,))


def edge_identity(held: Parts) -> dict[str, str]:
    """The parts of what a client holds."""
    return {identity.WEIGHTS: _hashed(held, (*held.edge, held.embeddings)), **identity.files(held.shards.folder)}


def language_weights(held: Parts) -> str:
    """Of the weights of what a host holds."""
    return _hashed(held, (*held.language, held.embeddings))


def split(edge_hash: str, language_hash: str) -> str:
    """Of a whole model, from those of its halves."""
    return hashlib.sha256(f"{edge_hash}|{language_hash}".encode()).hexdigest()


def split_identity(folder: Path, host: Mapping[str, str] | None = None) -> tuple[str, dict[str, str]]:
    """The hash of a whole model, and its parts. ``host``: what the host says of its half (``fingerprint``, and
    ``weights``, which an earlier release does not say); ``None``: that half is in ``folder`` too."""
    held = _parts(folder)
    mine = edge_identity(held)
    if host is None:
        weights = language_weights(held)
        theirs = language_of(held, weights)
    else:
        weights, theirs = host.get("weights", ""), host["fingerprint"]
    whole = {**mine, LANGUAGE: theirs, identity.WEIGHTS: split(mine[identity.WEIGHTS], weights)}
    return split(identity.fingerprint(mine), theirs), whole


def _parts(folder: Path) -> Parts:
    return parts.of(folder, checkpoint.configuration(str(folder), folder))


def _hashed(held: Parts, names: Iterable[str]) -> str:
    total = hashlib.sha256()
    for name in sorted(names, key=lambda name: (parts.plain(name), name)):
        entry, content = held.shards.entry(name), hashlib.sha256()
        for chunk in held.shards.chunks(name):
            content.update(chunk)
        total.update(f"{parts.plain(name)}|{entry.dtype}|{list(entry.shape)}|{content.hexdigest()}\n".encode())
    return total.hexdigest()
