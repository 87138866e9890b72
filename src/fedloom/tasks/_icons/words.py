"""The things that questions name, and how a sentence names them.

Of the classes only tangible, countable things that packs draw alike are asked about: no arrows, buttons or brands.
"""

from functools import cache

from fedloom.tasks._icons.packs import things

_NOUNS = """
airplane anchor apple atom baby bag bank baseball basketball battery beaker bed beer bell bicycle blender boat bomb
bone book bookmark box brain briefcase bug building bulb burger bus cake calculator calendar camera car caravan cart
castle cat church clipboard clock cloud compass cookie credit-card crown cup dice dog egg eraser eye factory
fingerprint flag flame flashlight flask flower folder football fridge gamepad gear ghost gift globe graduation-cap
hammer handshake headphones heart hospital hotel hourglass house key keyboard knife laptop leaf magnet magnifier
map-pin medal microphone microscope moon mountain newspaper notebook paint-brush palette paperclip pencil person phone
piano piggy-bank pin pizza plug printer radar radio rainbow raindrop receipt robot rocket router ruler scissors shield
shower skull snowflake sofa speaker star sun sword television tennis-ball test-tube thermometer ticket tornado train
tree trophy truck umbrella video-camera virus wallet watch webcam wheelchair wrench
"""

NOUNS: frozenset[str] = frozenset(_NOUNS.split())

_PLURALS = {
    "dice": "dice",
    "headphones": "headphones",
    "knife": "knives",
    "leaf": "leaves",
    "person": "people",
    "scissors": "scissors",
}


@cache
def nouns(pack: str) -> tuple[str, ...]:
    """The things of a pack that questions may name, in alphabetical order."""
    return tuple(thing for thing in things(pack) if thing in NOUNS)


def spoken(thing: str) -> str:
    """``map-pin`` as people write it: ``map pin``."""
    return thing.replace("-", " ")


def plural(thing: str) -> str:
    """Several of a thing: ``boxes``, ``leaves``, ``map pins``."""
    if thing in _PLURALS:
        return _PLURALS[thing]
    name = spoken(thing)
    if name.endswith(("s", "x", "ch", "sh")):
        return f"{name}es"
    if name.endswith("y") and name[-2] not in "aeiou":
        return f"{name[:-1]}ies"
    return f"{name}s"


def one_of(thing: str) -> str:
    """A thing with its article: ``an apple``, ``a key``, ``scissors``."""
    name = spoken(thing)
    if name == plural(thing):
        return name
    return f"an {name}" if name[0] in "aeiou" else f"a {name}"
