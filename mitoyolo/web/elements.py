"""What a reader may mark on a tile: elements of the large_image annotation schema, strictly.

Ellipse, rectangle and point, in pixels of the tile, with a label. Everything else is refused: what
is stored is what ``converters.large_image`` reads back exactly.

Source: large_image annotation schema (girder_large_image_annotation/models/annotation.py).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter

from converters.errors import InputError
from mitoyolo.web.bodies import Body

MOST = 2000
"""Elements of a tile: a hundred times what a crowded one has."""

Label = Literal["mitosis", "imposter"]
Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Length = Annotated[float, Field(strict=True, allow_inf_nan=False, gt=0)]
Angle = Annotated[float, Field(strict=True, allow_inf_nan=False, ge=-100, le=100)]


class LabelValue(Body):
    """The class, as the schema writes it."""

    value: Label


class Origin(Body):
    """What the schema leaves to its users."""

    confidence: Annotated[float, Field(strict=True, ge=0, le=1)] | None = None
    from_: Literal["detection"] | None = Field(default=None, alias="from")


class _Element(Body):
    id: Annotated[str, Field(pattern="^[0-9a-f]{24}$")]
    center: tuple[Number, Number, Annotated[float, Field(strict=True, ge=0, le=0)]]
    label: LabelValue
    user: Origin | None = None


class Ellipse(_Element):
    """``width`` and ``height`` are full axes; ``rotation`` in radians about the centre."""

    type: Literal["ellipse"]
    width: Length
    height: Length
    rotation: Angle = 0.0


class Rectangle(_Element):
    """As an ellipse."""

    type: Literal["rectangle"]
    width: Length
    height: Length
    rotation: Angle = 0.0


class Point(_Element):
    """A centre alone."""

    type: Literal["point"]


Element = Annotated[Ellipse | Rectangle | Point, Field(discriminator="type")]
Elements = Annotated[list[Element], Field(max_length=MOST)]
_ELEMENTS: TypeAdapter[list[Any]] = TypeAdapter(Elements)


def checked(elements: Sequence[Any], width: int, height: int) -> list[dict[str, Any]]:
    """Elements as they are stored, plain JSON.

    Parameters
    ----------
    elements : sequence
        Models, or JSON objects of their form.
    width, height : int
        Of the tile, px.

    Raises
    ------
    pydantic.ValidationError
        One has not the schema's form, or there are more than :data:`MOST`.
    InputError
        A centre is outside the tile, an axis longer than twice its longer side, or two elements
        have one id.
    """
    models = _ELEMENTS.validate_python(list(elements))
    for i, item in enumerate(models):
        x, y, _ = item.center
        if not (0 <= x <= width and 0 <= y <= height):
            raise InputError(
                f"its centre ({x:g}, {y:g}) is outside the tile of {width} x {height} px",
                where=f"elements[{i}]",
                fix="give the centre in pixels of the tile",
            )
        if isinstance(item, Point):
            continue
        if max(item.width, item.height) > 2 * max(width, height):
            raise InputError(
                f"its axes {item.width:g} x {item.height:g} are longer than twice the tile",
                where=f"elements[{i}]",
                fix="give full axes in pixels of the tile",
            )
    for name, times in Counter(item.id for item in models).most_common(1):
        if times > 1:
            raise InputError(f"{times} elements have the id {name}", fix="give each its own")
    dumped = _ELEMENTS.dump_python(models, mode="json", by_alias=True, exclude_none=True)
    return [dict(item) for item in dumped]


def label_of(element: dict[str, Any]) -> str:
    """``mitosis`` or ``imposter``."""
    return str(element["label"]["value"])


_STYLE = {"lineColor": "rgb(0,0,0)", "lineWidth": 2, "fillColor": "rgba(0,0,0,0)"}


def exported(element: dict[str, Any]) -> dict[str, Any]:
    """An element with the keys that CADD4MBC's own exports have besides."""
    normal = {} if element["type"] == "point" else {"normal": [0, 0, 1]}
    return {**_STYLE, **normal, **element}
