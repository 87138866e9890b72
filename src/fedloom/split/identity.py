"""Which site asks: a token that it alone has, or a certificate that the consortium's authority signed.

A token is 256 random bits. The host's file holds its SHA-256 and no token: ``NAME = "hash"``, a line a site.
"""

import hashlib
import hmac
import re
import secrets
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fedloom.core import reading
from fedloom.core.errors import FedloomError
from fedloom.core.files import read_text, write_atomic

_HASH = re.compile(r"[0-9a-f]{64}")
_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
_BEARER = "Bearer "


class Stranger(FedloomError):
    """Who asks is none of the sites."""


def hashed(token: str) -> str:
    """SHA-256 of a token, hexadecimal."""
    return hashlib.sha256(token.encode()).hexdigest()


def draw(file: Path, name: str) -> str:
    """A new token of the site ``name``; its hash goes into ``file``, in the place of an older one.

    Raises:
        FedloomError: the name has other than letters, digits, ``.``, ``_`` and ``-``; or the file is none of tokens.
    """
    if not _NAME.fullmatch(name):
        raise FedloomError(f"site {name!r}: a name has 1 to 64 letters, digits, '.', '_' and '-'.")
    token = secrets.token_urlsafe(32)
    known = (read(file) if file.is_file() else {}) | {name: hashed(token)}
    write_atomic(file, "".join(f'"{each}" = "{known[each]}"\n' for each in sorted(known)).encode())
    return token


def read(file: Path) -> dict[str, str]:
    """The hash of each site's token.

    Raises:
        FedloomError: there is no such file, or it holds something else.
    """
    fix = f"Fix: `fedloom host token NAME --tokens {file}` writes one."
    try:
        found = reading.toml(read_text(file))
    except FileNotFoundError:
        raise FedloomError(f"--tokens {file}: there is no such file. {fix}") from None
    except ValueError as error:
        raise FedloomError(f'--tokens {file}: {error}. Expected lines NAME = "SHA-256 of the token". {fix}') from None
    for name, value in found.items():
        if not isinstance(value, str) or not _HASH.fullmatch(value):
            raise FedloomError(f"--tokens {file}: {name!r} is no SHA-256 in 64 hexadecimal digits. {fix}")
    return found


@dataclass
class Identity:
    """Tells sites from strangers, by the tokens of a file, which is read again when it changes, or by certificates.

    Raises:
        FedloomError: the file is none of tokens.
    """

    tokens: Path | None
    _known: dict[str, str] = field(default_factory=dict)
    _changed: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        if self.tokens:
            self._known = read(self.tokens)
            self._changed = self.tokens.stat().st_mtime_ns

    def site(self, metadata: Iterable[tuple[str, str | bytes]], auth: Mapping[str, Sequence[bytes]]) -> str:
        """The site that asks, by the ``metadata`` of its call and what the connection knows of it (``auth``).

        Raises:
            Stranger: it is none, or says that it is two.
        """
        names = [name.decode(errors="replace") for name in auth.get("x509_common_name", ())]
        given = next((value for key, value in metadata if key == "authorization"), "")
        if isinstance(given, str) and given.startswith(_BEARER):
            owner = self._owner(given.removeprefix(_BEARER))
            if names and names != [owner]:
                raise Stranger(f"the token is that of {owner!r}, the certificate that of {names[0]!r}.")
            return owner
        if len(names) == 1 and _NAME.fullmatch(names[0]):
            return names[0]
        raise Stranger("neither a token nor a certificate with a site's name came. Fix: give the site its token.")

    def _owner(self, token: str) -> str:
        self._refresh()
        told, owner = hashed(token), ""
        for name, value in self._known.items():  # all of them, whichever it is
            owner = name if hmac.compare_digest(told, value) else owner
        if not owner:
            raise Stranger("the token is no site's. Fix: draw one with `fedloom host token NAME`.")
        return owner

    def _refresh(self) -> None:
        """Read the file again if it has changed; a damaged one changes nothing, until it is fixed."""
        if self.tokens is None:
            return
        with self._lock:
            try:
                changed = self.tokens.stat().st_mtime_ns
                if changed != self._changed:
                    self._known, self._changed = read(self.tokens), changed
            except (FedloomError, OSError):
                return
