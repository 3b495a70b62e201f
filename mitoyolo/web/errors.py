"""Every error of the API as ``{"detail": "one line"}``."""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from sqlalchemy.exc import DataError, IntegrityError, OperationalError
from starlette.exceptions import HTTPException

from converters.errors import InputError
from mitoyolo.web.logins import TooManyError
from mitoyolo.web.middleware import HEADERS
from mitoyolo.web.users import RefusedError


def add_handlers(app: FastAPI) -> None:
    """Have the application answer errors so."""
    for kind, (status, line) in _ANSWERS.items():
        app.add_exception_handler(kind, _answer(status, line))
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(OSError, _of_the_system)


def _validation(error: Any) -> str:
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"])
    more = len(error.errors()) - 1
    return f"{place}: {first['msg']}" + (f" (and {more} more)" if more else "")


def _constant(line: str) -> Callable[[Any], str]:
    return lambda error: line


_ANSWERS: dict[type[Exception], tuple[int, Callable[[Any], str]]] = {
    RequestValidationError: (422, _validation),
    InputError: (422, str),
    RefusedError: (409, str),
    TooManyError: (429, str),
    IntegrityError: (409, _constant("someone else changed it at the same time; load it again")),
    DataError: (422, _constant("holds characters or numbers that the database cannot keep")),
    OperationalError: (503, _constant("the database is busy, away or full; try again")),
    Exception: (500, _constant("an error of the server itself; its console shows it")),
}


def _answer(status: int, line: Callable[[Any], str]) -> Callable[..., JSONResponse]:
    def handler(request: Request, error: Exception) -> JSONResponse:
        text = line(error).replace(f"{request.app.state.settings.folder}/", "")
        headers = dict(HEADERS) if status == 500 else {}  # of an answer outside the middleware
        if isinstance(error, TooManyError):
            headers["Retry-After"] = str(error.wait_s)
        return _json(status, text, headers)

    return handler


def _http(request: Request, error: Any) -> JSONResponse:
    return _json(error.status_code, str(error.detail), error.headers)


def _of_the_system(request: Request, error: Any) -> JSONResponse:
    if error.errno not in (errno.ENOSPC, errno.EDQUOT):
        raise error
    return _json(507, "the server's disk is full; make room on it", None)


def _json(status: int, text: str, headers: Any) -> JSONResponse:
    # lone surrogates, which JSON can name, are no UTF-8
    line = " ".join(text.encode("utf-8", "replace").decode().split())
    return JSONResponse({"detail": line[:1000]}, status, headers)
