"""What every table of an experiment file is: a typed record whose keys are all known, or a choice and its options."""

import math
import re
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_serializer, model_validator

from fedloom.core.files import name_error
from fedloom.core.placements import placements
from fedloom.core.resolve import ONE

Count = Annotated[int, Field(ge=1)]
Limit = Annotated[int, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]
Component = Literal["vision", "connector", "language", "text"]
Kind = Literal["q", "k", "v", "o", "mlp"]


def _placement(text: str) -> str:
    if text not in (*get_args(Component), *placements()) and text.count(".") != 2:
        raise ValueError(
            f"a component ({', '.join(get_args(Component))}), a placement ({', '.join(placements())}), or a glob over "
            "component.block.kind, such as 'language.*.mlp' or 'qformer.cross.q'"
        )
    return text


Placement = Annotated[str, AfterValidator(_placement)]
"""A component, a placement, or a glob over ``component.block.kind``."""


def _file_name(text: str) -> str:
    if text and (wrong := name_error(text)):
        raise ValueError(wrong)
    return text


FileName = Annotated[str, AfterValidator(_file_name)]


def _revision(text: str) -> str:
    if text and (not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,199}", text) or ".." in text):
        raise ValueError("a commit, tag or branch: letters, digits, '.', '_', '/' and '-'")
    return text


Revision = Annotated[str, AfterValidator(_revision)]
"""A revision on the hub, which becomes a part of a path."""


def spelled(field: str) -> str:
    """The key of a table's field: ``with_``, which Python keeps a word of, is ``with``."""
    return field.removesuffix("_")


class Table(BaseModel):
    """A table whose keys are all known; values are never converted from another type, but one value makes a list."""

    model_config = ConfigDict(
        extra="forbid", strict=True, frozen=True, allow_inf_nan=False, use_attribute_docstrings=True
    )

    @model_validator(mode="before")
    @classmethod
    def _one_is_a_list(cls, raw: Any) -> Any:
        if not isinstance(raw, dict):
            return raw
        lists = {key for key, field in cls.model_fields.items() if get_origin(field.annotation) is list}
        return {key: [value] if key in lists and isinstance(value, ONE) else value for key, value in raw.items()}


class AxisTable(Table):
    """A table that names a choice of an axis, by its key ``name`` (or ``kind``); keys it does not know itself are that
    choice's ``options``."""

    options: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _gather(cls, raw: Any) -> Any:
        if not isinstance(raw, dict):
            return raw
        options = raw.get("options", {})
        fields = {spelled(field): field for field in cls.model_fields}
        own = {fields[key]: value for key, value in raw.items() if key in fields}
        if not isinstance(options, dict):
            return own
        free = {key: value for key, value in raw.items() if key not in fields}
        return {**own, "options": {**options, **free}}

    @field_validator("options")
    @classmethod
    def _finite(cls, options: dict[str, Any]) -> dict[str, Any]:
        for key, value in options.items():
            for number in value if isinstance(value, list) else [value]:
                if isinstance(number, float) and not math.isfinite(number):
                    raise ValueError(f"finite numbers, but {key} is {number}")
        return options

    @property
    def choice(self) -> str:
        """The name of the choice."""
        found: str = getattr(self, "name" if "name" in type(self).model_fields else "kind")
        return found

    @model_serializer
    def _flatten(self) -> dict[str, Any]:
        own = {spelled(key): getattr(self, key) for key in type(self).model_fields if key != "options"}
        return {**own, **self.options}
