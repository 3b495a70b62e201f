"""How the program ends where it does not reach its end."""

from __future__ import annotations

import errno

from converters.errors import MitoyoloError

INTERRUPTED = 130
"""The exit code that Typer makes of Ctrl-C."""


def one_line(error: Exception) -> str:
    """What went wrong, for the user, on one line."""
    if isinstance(error, MitoyoloError):
        text = str(error)
    elif isinstance(error, OSError):
        place = f"{error.filename}: " if error.filename else ""
        hint = "; free some space, then repeat the call" if error.errno == errno.ENOSPC else ""
        text = f"{place}{error.strerror or error}{hint}"
    else:
        text = f"an error of mitoyolo itself, {type(error).__name__}: {error}; --debug shows where"
    # names of files may hold what steers a terminal
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in " ".join(text.split()))
