"""The host's half: requests answered with one frozen language model, several of them in one pass.

    read:  bytes -> Job, everything checked             run:  jobs -> one forward and backward pass -> answers

What is held between requests are rows of embeddings that wire "low-rank" refers to by name, within a budget.
"""

import threading
from collections import Counter, OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from fedloom.core import wire
from fedloom.core.contracts import Parcel
from fedloom.core.device import device
from fedloom.core.errors import FedloomError
from fedloom.core.passage import LanguageModel, NotFinite
from fedloom.split import parse, passes
from fedloom.split.errors import Refused
from fedloom.split.messages import NOT_FINITE, Kind, Request, opened

PADDING = 0.25
"""The share of a pass over several requests that padding may be."""


@dataclass(frozen=True)
class Job:
    """One request of a site, ready to be computed; ``answer``: what it is answered with, where nothing is computed."""

    site: str
    kind: Kind
    request: Request | None = None
    answer: bytes | None = None


ROW = 1024
"""Bytes that a row takes besides its numbers, at the least: what Python and torch keep about it."""


@dataclass
class Desk:
    """Answers requests with ``language``.

    ``memory_bytes``: of rows held between requests, and of a request's embeddings and logits. ``most``: places that a
    request may have, padding among them. ``together``: requests for losses, logits and gradients that may share a pass;
    ``places``: places that such a pass may have, beyond which the model has enough to do.
    ``about``: what it says of itself when it is asked (facts of the answer to ``hello``); ``embeddings`` among them is
    the hash of the word embeddings, which a client's must be.

    Raises:
        FedloomError: something of the language model can learn.
    """

    language: LanguageModel
    memory_bytes: int = 4 << 30
    together: int = 1
    places: int = 4096
    most: int = 65536
    about: dict[str, str] = field(default_factory=dict)
    _held: dict[str, OrderedDict[str, Tensor]] = field(default_factory=dict)
    _bytes: Counter[str] = field(default_factory=Counter)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        if learning := self.language.learning():
            raise FedloomError(f"host: {learning[0]!r} can learn; what is served must be frozen (requires_grad False).")

    @property
    def held_bytes(self) -> int:
        """Bytes of the rows that are held."""
        return self._bytes.total()

    @property
    def max_bytes(self) -> int:
        """Bytes of the largest request that is read."""
        return self.memory_bytes

    # --- reading --------------------------------------------------------------------------------------------------

    def read(self, site: str, blob: bytes) -> Job:
        """One request of ``site``, parsed and checked.

        Raises:
            Refused: it is not what a request must be, or more than the model can take.
        """
        parcel = opened(blob, self.max_bytes)
        kind = parse.kind(parcel)
        if kind == "hello":
            return Job(site, kind, answer=self._hello(parcel))
        if kind == "forget":
            self.forget(site)
            return Job(site, kind, answer=wire.pack(Parcel()))
        self._same_model(parcel)
        keys = parse.keys(parcel) if "keys" in parcel.facts else []
        new = parse.base(parcel, keys, self.language)
        rows = self._rows(site, keys, new)
        missing = [key for key, row in zip(keys, rows, strict=True) if row is None]
        if missing:
            job = Job(site, kind, answer=wire.pack(Parcel({}, {"missing": ",".join(missing)})))
        else:
            found, room = [row for row in rows if row is not None], parse.Room(self.most, self.memory_bytes)
            job = Job(site, kind, parse.request(parcel, kind, found, self.language, room))
        with self._lock:
            for key, row in new.items():
                self._keep(site, key, row)
            for key in keys if parcel.facts.get("drop") else ():
                self._drop(site, key)
        return job

    def _hello(self, parcel: Parcel) -> bytes:
        theirs, ours = parcel.facts.get("embeddings", ""), self.about.get("embeddings", "")
        if theirs and ours and theirs != ours:
            raise Refused(
                f"split: the client's word embeddings are {str(theirs)[:12]}, the host's {ours[:12]}: parts of two "
                "models. Fix: give both the same checkpoint."
            )
        model = self.language
        facts = {"width": model.width, "vocabulary": model.vocabulary, "longest": model.longest}
        return wire.pack(Parcel({}, {**self.about, **facts}))

    def _same_model(self, parcel: Parcel) -> None:
        """Refuse a request that is meant for another model: a host may have been started again with another one."""
        theirs, ours = str(parcel.facts.get("model", "")), self.about.get("fingerprint", "")
        if theirs and ours and theirs != ours:
            raise Refused(
                f"split: the request is for the language model {theirs[:12]}, the host has {ours[:12]}. Fix: start it "
                "with the model that the run began with."
            )

    def _rows(self, site: str, keys: Sequence[str], new: dict[str, Tensor]) -> list[Tensor | None]:
        """Each row by its key, new or held for the site; ``None`` where it is neither."""
        with self._lock:
            held = self._held.get(site, OrderedDict())
            for key in keys:
                if key in held:
                    held.move_to_end(key)
            return [new.get(key, held.get(key)) for key in keys]

    def _keep(self, site: str, key: str, value: Tensor) -> None:
        """Hold a row; where the budget is spent, the site that holds the most loses what it has not asked for the
        longest."""
        self._drop(site, key)
        if value.nbytes + ROW > self.memory_bytes:
            return
        self._held.setdefault(site, OrderedDict())[key] = value
        self._bytes[site] += value.nbytes + ROW
        while self.held_bytes > self.memory_bytes:
            (largest, _), *_ = self._bytes.most_common(1)
            self._drop(largest, next(iter(self._held[largest])))

    def _drop(self, site: str, key: str) -> None:
        value = self._held.get(site, OrderedDict()).pop(key, None)
        self._bytes[site] -= 0 if value is None else value.nbytes + ROW

    def forget(self, site: str) -> None:
        """Drop all that is held for a site."""
        with self._lock:
            self._held.pop(site, None)
            self._bytes.pop(site, None)

    # --- computing ------------------------------------------------------------------------------------------------

    def fits(self, jobs: Sequence[Job], job: Job) -> bool:
        """Whether ``job`` may go through the model in one pass with ``jobs``."""
        every = [each.request for each in (*jobs, job)]
        if len(every) > self.together or len({_alike(each) for each in every}) > 1 or _alike(every[0]) is None:
            return False
        lengths = [length for each in every if each is not None for length in each.lengths]
        padded = len(lengths) * max(lengths)
        return padded <= self.places and padded - sum(lengths) <= PADDING * padded

    def ask(self, site: str, blob: bytes) -> bytes:
        """The answer to one request, read and computed at once.

        Raises:
            Refused: as ``read``; or its answer holds NaN or infinity.
        """
        (answer,) = self.run([self.read(site, blob)])
        if isinstance(answer, Refused):
            raise answer
        return answer

    def run(self, jobs: Sequence[Job]) -> list[bytes | Refused]:
        """Answers in order, or why there is none, from one pass for all; several jobs must fit each other."""
        if jobs[0].answer is not None or jobs[0].request is None:
            return [job.answer or b"" for job in jobs]
        requests = [job.request for job in jobs if job.request is not None]
        with torch.autocast(device().type, enabled=False):
            if jobs[0].kind in ("rank", "generate"):
                return [wire.pack(self._answer(each)) for each in requests]
            made = passes.run(requests, self.language)
            return [each if isinstance(each, Refused) else wire.pack(each) for each in made]

    def _answer(self, request: Request) -> Parcel:
        try:
            return self._told(request)
        except NotFinite as error:  # whose row it is, only the client can say
            return Parcel({}, {NOT_FINITE: error.row})

    def _told(self, request: Request) -> Parcel:
        passage, speech = request.passage(device()), request.speech.to(device())
        if request.kind == "rank":
            scores = self.language.rank(passage, request.continuations, speech)
            return Parcel({"scores": {"scores": torch.tensor(scores, dtype=torch.float64)}})
        made = self.language.generate(passage, request.longest, speech)
        ids = torch.tensor([id for row in made for id in row], dtype=torch.int32)
        return Parcel({"made": {"counts": torch.tensor([len(row) for row in made], dtype=torch.int32), "ids": ids}})


def _alike(request: Request | None) -> tuple[object, ...] | None:
    """What must be the same of requests that share a pass: positions of three axes are no other rows of one."""
    if request is None or request.kind not in ("loss", "logits", "backward"):
        return None
    axes = None if request.positions is None else request.positions.shape[:-2]
    return request.kind, request.learn, axes
