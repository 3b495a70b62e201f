"""The project's errors: each says what is wrong, in which file and where in it, and what to do."""

from __future__ import annotations

from pathlib import Path


class MitoyoloError(Exception):
    """Base of every error that mitoyolo raises on purpose.

    ``exit_code`` is what the program ends with: 1 for bad input, 2 for a wrong call.
    """

    exit_code = 1


class InputError(MitoyoloError, ValueError):
    """Input that cannot be used.

    Parameters
    ----------
    what : str
        What was found and what was expected.
    file : path, optional
        The file that holds it.
    where : str, optional
        The place in the file: a line, an element, a key.
    fix : str, optional
        What the user can do about it.
    """

    def __init__(
        self,
        what: str,
        *,
        file: str | Path | None = None,
        where: str | None = None,
        fix: str | None = None,
    ) -> None:
        self.what, self.file, self.where, self.fix = what, file, where, fix
        place = ", ".join(str(part) for part in (file, where) if part)
        message = f"{place}: {what}" if place else what
        super().__init__(f"{message}; {fix}" if fix else message)


class OptionError(InputError):
    """An option's value cannot be used, whatever the input: a wrong call."""

    exit_code = 2


class MissingMppError(InputError):
    """No µm/px is known for an image: neither option, nor image metadata, nor preset gives it."""


class MissingPackageError(MitoyoloError, ImportError):
    """An optional package is not installed; the message names the extra that brings it."""
