"""The keys of one object of an annotation file, read as checked values with their place."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from converters.checked import checked_size, number
from converters.errors import InputError
from converters.geometry import Point


@dataclass(frozen=True, slots=True)
class Keys:
    """An object of a JSON document, or the attributes of an XML element.

    Every method raises :class:`~converters.errors.InputError`, which names file, place and key,
    for a key that is missing or of another type.
    """

    element: Mapping[str, Any]
    file: str
    where: str

    @classmethod
    def of(cls, value: Any, file: str, where: str) -> Keys:
        """Over ``value``, which must be an object."""
        if not isinstance(value, Mapping):
            raise InputError(f"expected an object, found {value!r:.40}", file=file, where=where)
        return cls(value, file, where)

    def value(self, key: str) -> Any:
        """The value of a key that must be there."""
        if key not in self.element:
            raise InputError(f"no key `{key}`", file=self.file, where=self.where)
        return self.element[key]

    def text(self, key: str, default: str | None = None) -> str:
        """A string, or a number as one; ``default`` where the key is absent or null."""
        if default is not None and self.element.get(key) is None:
            return default
        value = self.value(key)
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise self._error(key, "expected text", value)
        return str(value)

    def number(self, key: str, default: float | None = None) -> float:
        """A finite number; ``default`` where the key is absent or null."""
        if default is not None and self.element.get(key) is None:
            return default
        return number(self.value(key), self.file, self._place(key))

    def optional(self, key: str) -> float | None:
        """A finite number, or None where the key is absent, null or empty."""
        return None if self.element.get(key) in (None, "") else self.number(key)

    def length(self, key: str) -> float:
        """A number that is not negative."""
        result = self.number(key)
        if result < 0:
            raise InputError(f"{result} is negative", file=self.file, where=self._place(key))
        return result

    def whole(self, key: str) -> int:
        """A whole number: an id, a count."""
        result = self.number(key)
        if result != int(result):
            raise self._error(key, "expected a whole number", result)
        return int(result)

    def size(self, width: str = "width", height: str = "height") -> tuple[int, int] | None:
        """Two whole numbers above 0 as an image's size; None where either is absent or 0."""
        values = [self.optional(key) for key in (width, height)]
        if any(value is None or value < 1 for value in values):
            return None
        return checked_size((self.whole(width), self.whole(height)), self.file, self.where)

    def array(self, key: str) -> list[Any]:
        """A list, which may be empty."""
        value = self.value(key)
        if not isinstance(value, list):
            raise self._error(key, "expected a list", value)
        return value

    def keys(self, key: str) -> Keys:
        """The object under a key."""
        return Keys.of(self.value(key), self.file, self._place(key))

    def each(self, key: str) -> Iterator[tuple[str, Any]]:
        """The items of a list, each with its place; the caller says what they must be."""
        for i, item in enumerate(self.array(key)):
            yield f"{self._inner(key)}[{i}]", item

    def point(self, value: Any, key: str) -> Point:
        """`[x, y]` or `[x, y, z]`, found under ``key``."""
        place = self._place(key)
        if not isinstance(value, list | tuple) or len(value) not in (2, 3):
            raise InputError(
                f"expected [x, y] or [x, y, z], found {value!r:.60}", file=self.file, where=place
            )
        return (number(value[0], self.file, place), number(value[1], self.file, place))

    def points(self, value: Any, key: str) -> list[Point]:
        """A list of at least one point, found under ``key``."""
        if not isinstance(value, list) or not value:
            raise self._error(key, "expected a list of points", value)
        return [self.point(item, f"{key}[{i}]") for i, item in enumerate(value)]

    def _place(self, key: str) -> str:
        """Where a key is; an outermost object has no place of its own."""
        return f"{self.where}, key `{key}`" if self.where else f"key `{key}`"

    def _inner(self, key: str) -> str:
        return f"{self.where}.{key}" if self.where else key

    def _error(self, key: str, expected: str, value: Any) -> InputError:
        return InputError(
            f"{expected}, found {value!r:.60}", file=self.file, where=self._place(key)
        )
