"""What everybody knows about things: the facts that common-sense questions ask for.

``true`` holds the things a fact is surely true of; ``unsure`` those about which people may differ, so they never stand
in a question about that fact. Of all other things it is surely false.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Fact:
    """A fact as a verb phrase: ``an airplane`` + ``can fly``."""

    phrase: str
    true: frozenset[str]
    unsure: frozenset[str]


def _fact(phrase: str, true: str, unsure: str = "") -> Fact:
    yes = frozenset(true.split())
    return Fact(phrase, yes, frozenset(unsure.split()) - yes)


_VEHICLES = "airplane bicycle boat bus car caravan train truck"
_HOUSES = "bank building castle church factory hospital hotel house"
_SCREENS = "laptop phone television watch calculator camera video-camera webcam gamepad robot radar printer"
_BALLS = "baseball basketball football tennis-ball"
_FOOD = "apple burger cake cookie egg pizza"

FACTS: tuple[Fact, ...] = (
    _fact(
        "can fly",
        "airplane rocket",
        f"bug ghost robot leaf snowflake cloud star sun moon tornado flag {_BALLS} person",
    ),
    _fact(
        "has wheels",
        "bicycle bus car caravan cart truck train wheelchair",
        "airplane baby bag briefcase bed gear robot rocket piano sofa box hospital gift printer video-camera",
    ),
    _fact(
        "carries people from place to place",
        _VEHICLES,
        "rocket wheelchair cart robot bed person dog compass router",
    ),
    _fact("travels on water", "boat", "anchor robot raindrop compass dog person caravan airplane car leaf bug"),
    _fact("is food", _FOOD, "leaf flower bone beer cup bug brain snowflake dog cat tree blender knife fridge heart"),
    _fact("is an animal", "bug cat dog", "baby person virus bone egg piggy-bank ghost robot skull"),
    _fact("is used for cutting", "knife scissors sword", "blender hammer wrench magnet ruler eraser box printer"),
    _fact(
        "is used for writing or drawing",
        "paint-brush pencil",
        f"palette laptop phone notebook book keyboard eraser printer ruler clipboard newspaper calendar {_SCREENS}",
    ),
    _fact(
        "tells the time",
        "clock watch",
        f"hourglass calendar sun moon church bell radio compass thermometer bulb {_SCREENS}",
    ),
    _fact(
        "is seen in the sky",
        "cloud moon rainbow star sun",
        "airplane rocket snowflake raindrop tornado globe flag ghost atom bulb radar leaf bug",
    ),
    _fact(
        "falls from the clouds",
        "raindrop snowflake",
        "cloud rainbow leaf airplane tornado star sun moon rocket shower",
    ),
    _fact("grows in the ground", "flower tree", "leaf apple bone mountain bug house"),
    _fact("is a building", _HOUSES, "piggy-bank caravan graduation-cap tree bed box mountain shower"),
    _fact("is a ball", _BALLS, "globe dice bomb sun moon gear atom compass"),
    _fact(
        "belongs in a kitchen",
        "blender fridge knife",
        f"{_FOOD} cup beer clock bulb flame raindrop scissors phone plug flask beaker thermometer cart bag box "
        "house cat dog calendar radio television trash shower bug person hotel battery robot",
    ),
    _fact(
        "gives light",
        "bulb flame flashlight sun",
        "moon star rainbow bomb fridge rocket tornado battery magnifier microscope atom globe house radio plug "
        f"{_VEHICLES} {_SCREENS}",
    ),
    _fact(
        "is made for sleeping in",
        "bed",
        f"sofa hotel house hospital castle building church wheelchair box tree bag {_VEHICLES}",
    ),
    _fact(
        "can be worn on the head",
        "crown graduation-cap headphones",
        "heart flower skull brain bag box umbrella star flag gift eye ghost paperclip leaf",
    ),
    _fact(
        "is a tool for scientists",
        "beaker flask microscope test-tube",
        "atom magnifier magnet thermometer globe compass calculator ruler notebook book laptop virus brain "
        "battery radar robot rocket clipboard webcam camera printer skull scissors",
    ),
    _fact(
        "keeps money safe",
        "bank piggy-bank wallet",
        "bag box briefcase building castle shield key credit-card phone house fingerprint cart receipt folder hotel",
    ),
    _fact(
        "is made for reading",
        "book newspaper",
        f"notebook receipt ticket calendar bookmark clipboard folder {_SCREENS}",
    ),
    _fact(
        "is given to winners",
        "medal trophy",
        "crown star flag gift heart cake flower cup graduation-cap shield credit-card ticket",
    ),
    _fact("keeps off the rain", "umbrella", f"shield bag leaf tree caravan {_HOUSES} {_VEHICLES} graduation-cap cloud"),
    _fact("opens a lock", "key", "fingerprint phone wrench hammer paperclip pin eye magnet credit-card"),
    _fact("takes pictures", "camera webcam", f"eye microscope magnifier rocket {_SCREENS}"),
    _fact("measures how warm it is", "thermometer", f"ruler watch clock sun flame fridge radar snowflake {_SCREENS}"),
    _fact(
        "shows you the way",
        "compass",
        f"map-pin globe star sun moon flag person {_SCREENS} radar car router flashlight",
    ),
    _fact(
        "plays music",
        "piano radio",
        f"bell headphones speaker microphone car bus caravan robot church clock {_SCREENS}",
    ),
)
