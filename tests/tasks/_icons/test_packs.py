"""Packs: what the fonts hold, and which packs the clients keep to themselves."""

import pytest

from fedloom.tasks._icons.packs import CLASS_COUNT, PACKS, PRIVATE, PUBLIC, classes, font_file, glyphs, things


def test_classes_are_as_many_as_those_of_icon645_and_all_public() -> None:
    public = {name for pack in PUBLIC for name in glyphs(pack)}
    assert len(classes()) == len(set(classes())) == CLASS_COUNT
    assert set(classes()) <= public
    assert list(classes()) == sorted(classes())


def test_clients_keep_ten_packs_that_are_not_public() -> None:
    assert len(PRIVATE) == 10
    assert not {font_file(pack) for pack in PRIVATE} & {font_file(pack) for pack in PUBLIC}


@pytest.mark.parametrize("pack", PACKS)
def test_a_pack_names_each_of_its_drawings_once(pack: str) -> None:
    codes = [glyphs(pack)[thing] for thing in things(pack)]
    assert len(codes) == len(set(codes)) >= 50
