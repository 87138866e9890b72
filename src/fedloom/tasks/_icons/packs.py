"""Icon packs: the same things drawn by different designers, read from font files as data.

The fonts come with the packages ``qtawesome`` and ``iconipy``; their code is never imported. A pack is one designer's
style: ``remix`` and ``remix-fill`` are two packs of one font. The ``PUBLIC`` packs are what the nano models are
pre-trained on, the ``PRIVATE`` packs are the clients' own collections.
"""

import importlib.util
import json
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from fedloom.core.errors import FedloomError

Codepoints = dict[str, int]


@dataclass(frozen=True)
class Pack:
    """One designer's style: a font, and which of its glyphs belong to the style.

    ``prefix`` and ``suffix`` are cut off a glyph's name; ``without`` are the suffixes of other styles.
    """

    package: str
    font: str
    names: str
    prefix: str = ""
    suffix: str = ""
    without: tuple[str, ...] = ()


PUBLIC: dict[str, Pack] = {
    "mdi": Pack(
        "qtawesome", "materialdesignicons6-webfont-*.ttf", "materialdesignicons6-*-charmap-*", without=("-outline",)
    ),
    "mdi-outline": Pack(
        "qtawesome", "materialdesignicons6-webfont-*.ttf", "materialdesignicons6-*-charmap-*", suffix="-outline"
    ),
    "fontawesome": Pack("qtawesome", "fontawesome6-solid-webfont-*.ttf", "fontawesome6-solid-webfont-charmap-*"),
    "material": Pack("iconipy", "material_icons_regular/*.ttf", "material_icons_regular/*.codepoints"),
    "material-outlined": Pack(
        "iconipy", "material_icons_outlined_regular/*.otf", "material_icons_outlined_regular/*.codepoints"
    ),
    "lineicons": Pack("iconipy", "lineicons/lineicons.ttf", "lineicons/unicodesMap.json", prefix="lni-"),
}

PRIVATE: dict[str, Pack] = {
    "boxicons": Pack("iconipy", "boxicons/boxicons.ttf", "boxicons/boxicons.css", prefix="bx-"),
    "boxicons-solid": Pack("iconipy", "boxicons/boxicons.ttf", "boxicons/boxicons.css", prefix="bxs-"),
    "codicons": Pack("qtawesome", "codicon-0*.ttf", "codicon-charmap-*"),
    "elusive": Pack("qtawesome", "elusiveicons-webfont-*.ttf", "elusiveicons-webfont-charmap-*"),
    "lucide": Pack("iconipy", "lucide/lucide.ttf", "lucide/info.json"),
    "phosphor": Pack(
        "qtawesome", "phosphor-*.ttf", "phosphor-charmap-*", without=("-bold", "-fill", "-light", "-thin", "-duotone")
    ),
    "phosphor-fill": Pack("qtawesome", "phosphor-*.ttf", "phosphor-charmap-*", suffix="-fill"),
    "remix": Pack("qtawesome", "remixicon-*.ttf", "remixicon-charmap-*", suffix="-line"),
    "remix-fill": Pack("qtawesome", "remixicon-*.ttf", "remixicon-charmap-*", suffix="-fill"),
    "typicons": Pack(
        "iconipy", "typicons/typicons.ttf", "typicons/typicons.css", prefix="typcn-", without=("-outline",)
    ),
}

PACKS: dict[str, Pack] = {**PUBLIC, **PRIVATE}

ALIASES: dict[str, tuple[str, ...]] = {
    "airplane": ("plane", "aeroplane", "flight"),
    "bag": ("shopping-bag", "handbag"),
    "bank": ("account-balance", "building-columns"),
    "bicycle": ("bike", "pedal-bike"),
    "boat": ("sailing", "sailboat", "sail-boat"),
    "bulb": ("lightbulb", "light-bulb"),
    "burger": ("hamburger", "lunch-dining"),
    "bus": ("directions-bus",),
    "cart": ("shopping-cart",),
    "cup": ("coffee", "mug", "mug-hot", "cup-straw", "local-cafe"),
    "dice": ("dice-5", "casino"),
    "eye": ("visibility", "eye-open"),
    "flame": ("fire", "local-fire-department"),
    "flower": ("local-florist", "flower-tulip"),
    "gear": ("settings", "cog", "settings-gear"),
    "globe": ("public", "earth", "world", "globe-alt"),
    "graduation-cap": ("school", "graduation"),
    "hammer": ("gavel",),
    "heart": ("favorite",),
    "hospital": ("local-hospital",),
    "house": ("home",),
    "image": ("picture", "photo"),
    "knife": ("restaurant", "utensils"),
    "leaf": ("eco", "nature"),
    "lightning": ("bolt", "flash", "zap"),
    "magnifier": ("search", "magnifying-glass", "magnify"),
    "mail": ("envelope", "email", "envelope-simple"),
    "map-pin": ("location", "location-pin", "place", "map-marker", "location-dot"),
    "microphone": ("mic",),
    "money": ("attach-money", "dollar", "dollar-sign", "currency-dollar", "currency-usd"),
    "mountain": ("terrain", "landscape", "mountains", "image-filter-hdr"),
    "music": ("music-note", "music-notes", "music-2"),
    "paint-brush": ("brush", "paintbrush"),
    "pencil": ("edit", "pen"),
    "person": ("user", "account"),
    "people": ("users", "group", "account-group", "user-group"),
    "phone": ("call", "telephone"),
    "piggy-bank": ("savings",),
    "pizza": ("pizza-slice", "local-pizza"),
    "printer": ("print",),
    "raindrop": ("drop", "water", "water-drop", "tint", "droplet"),
    "robot": ("smart-toy", "bot"),
    "scissors": ("content-cut", "cut"),
    "snowflake": ("ac-unit", "snow"),
    "sofa": ("couch", "weekend", "armchair"),
    "speaker": ("volume-up", "volume-high", "volume-2", "unmute", "speaker-high"),
    "sun": ("sunny", "light-mode", "white-balance-sunny"),
    "television": ("tv", "screen"),
    "train": ("subway",),
    "trash": ("delete", "trash-can", "trashcan", "bin"),
    "tree": ("park", "forest"),
    "trophy": ("emoji-events", "cup-award"),
    "truck": ("local-shipping",),
    "video-camera": ("video", "videocam", "camera-video"),
    "wrench": ("build", "tools"),
}
"""Common names of one thing in different packs: the first is ours."""

CLASS_COUNT = 377
"""How many things can be named, as many as Icon645 has classes."""


def _folder(package: str) -> Path:
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise FedloomError(f"The icon fonts of package {package!r} are missing. Fix: pip install {package}")
    return Path(spec.submodule_search_locations[0]) / {"qtawesome": "fonts", "iconipy": "assets"}[package]


def _one(package: str, pattern: str) -> Path:
    found = sorted(_folder(package).glob(pattern))
    if not found:
        raise FedloomError(f"No file {pattern!r} in the fonts of package {package!r}. Fix: reinstall {package}.")
    return found[-1]


def _codepoints(file: Path) -> Codepoints:
    text = file.read_text(encoding="utf-8")
    if file.suffix == ".css":
        rules = re.findall(r"\.([\w-]+):+before\s*\{\s*content:\s*[\"']\\([0-9a-fA-F]+)[\"']", text)
        return {name: int(code, 16) for name, code in rules}
    if file.suffix == ".codepoints":
        lines = [line.split() for line in text.splitlines() if line.strip()]
        return {line[0].replace("_", "-"): int(line[1], 16) for line in lines}
    table = json.loads(text)
    read: Callable[[object], int] = lambda code: (  # noqa: E731
        int(code["encodedCode"].lstrip("\\"), 16)
        if isinstance(code, dict)
        else code
        if isinstance(code, int)
        else int(str(code), 16)
    )
    return {name: read(code) for name, code in table.items()}


@cache
def glyphs(pack: str) -> Codepoints:
    """Thing -> code point of every glyph of a pack, under the common names.

    Raises:
        FedloomError: the pack's font package is missing.
    """
    style = PACKS[pack]
    own = {
        name.removeprefix(style.prefix).removesuffix(style.suffix): code
        for name, code in _codepoints(_one(style.package, style.names)).items()
        if name.startswith(style.prefix) and name.endswith(style.suffix) and not name.endswith(style.without or ("\0",))
    }
    for name, others in ALIASES.items():
        for other in others:
            if name not in own and other in own:
                own[name] = own[other]
    taken = {other for others in ALIASES.values() for other in others}
    return {name: code for name, code in own.items() if name not in taken}


def font_file(pack: str) -> Path:
    """The font that a pack's glyphs are drawn from."""
    return _one(PACKS[pack].package, PACKS[pack].font)


@cache
def classes() -> tuple[str, ...]:
    """The ``CLASS_COUNT`` things that most packs draw, in alphabetical order; each stands in a public pack."""
    seen = Counter(name for pack in PACKS for name in glyphs(pack) if len(name) > 2 and not re.search(r"\d", name))
    public = {name for pack in PUBLIC for name in glyphs(pack)}
    ranked = sorted((name for name in seen if name in public), key=lambda name: (-seen[name], name))
    return tuple(sorted(ranked[:CLASS_COUNT]))


@cache
def things(pack: str) -> tuple[str, ...]:
    """The classes that a pack can draw, in alphabetical order; of names for the same drawing only the first."""
    first: dict[int, str] = {}
    for name in classes():
        if name in glyphs(pack):
            first.setdefault(glyphs(pack)[name], name)
    return tuple(first.values())
