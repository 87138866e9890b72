"""Pictures named by their content."""

import hashlib
import weakref
from pathlib import Path

from PIL import Image

from fedloom.core.contracts import Picture
from fedloom.core.errors import FedloomError
from fedloom.core.pictures import open_picture


class Digests:
    """Content hashes of pictures, worked out once for each picture object or file."""

    def __init__(self) -> None:
        self._files: dict[tuple[Path, int, int], str] = {}
        self._objects: dict[int, tuple[weakref.ref[Image.Image], str]] = {}

    def of(self, picture: Picture) -> str:
        """The hash of a file's bytes, or of an in-memory picture's pixels.

        Raises:
            FedloomError: the file cannot be read.
        """
        return self._file(picture) if isinstance(picture, Path) else self._object(picture)

    def _file(self, path: Path) -> str:
        try:
            state = path.stat()
            key = (path, state.st_mtime_ns, state.st_size)
            if key not in self._files:
                self._files[key] = hashlib.sha256(path.read_bytes()).hexdigest()
        except OSError as error:
            raise FedloomError(f"picture {path} cannot be opened: {error}. Expected an image file there.") from None
        return self._files[key]

    def _object(self, image: Image.Image) -> str:
        # Images have no hash of their own; a weak reference tells whether an id still means the same object.
        number = id(image)
        known = self._objects.get(number)
        if known is not None and known[0]() is image:
            return known[1]
        pixels = open_picture(image)
        digest = hashlib.sha256(f"{pixels.size}".encode() + pixels.tobytes()).hexdigest()
        self._objects[number] = (weakref.ref(image, lambda _: self._objects.pop(number, None)), digest)
        return digest
