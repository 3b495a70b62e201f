"""Numbers of a saved fit, checked."""

from __future__ import annotations

from typing import cast

from converters.errors import InputError

Triple = tuple[float, float, float]


def triple(numbers: object, key: str, names: str) -> Triple:
    """Three numbers of ``key``, as floats; ``names`` says which three are expected.

    Raises
    ------
    InputError
        It is anything else.
    """
    if (
        not isinstance(numbers, (list, tuple))
        or len(numbers) != 3
        or not all(isinstance(n, (int, float)) and not isinstance(n, bool) for n in numbers)
    ):
        raise InputError(f"`{key}` is {numbers!r}, expected three numbers {names}")
    try:
        return cast(Triple, tuple(float(number) for number in numbers))
    except OverflowError:  # a whole number of hundreds of digits
        raise InputError(
            f"`{key}` has a number too large, expected three numbers {names}"
        ) from None
