"""The application: the rooms put together."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import APIRouter, Depends, FastAPI, params
from fastapi.responses import HTMLResponse
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.staticfiles import StaticFiles

from mitoyolo import __version__
from mitoyolo.web import (
    api_batches,
    api_deepzoom,
    api_detections,
    api_download,
    api_jobs,
    api_slides,
    api_tiles,
    api_uploads,
    api_users,
)
from mitoyolo.web.access import SAFE, no_forgery
from mitoyolo.web.api_deepzoom import SlideFile
from mitoyolo.web.attempts import Attempts
from mitoyolo.web.database import CONNECTIONS, open_database
from mitoyolo.web.errors import add_handlers
from mitoyolo.web.grants import Grants
from mitoyolo.web.middleware import BodyLimit, SecurityHeaders
from mitoyolo.web.passwords import Passwords
from mitoyolo.web.settings import Settings
from mitoyolo.web.setup import Setup

ROUTERS = (
    api_deepzoom,  # tried first: these requests are the most
    api_users,
    api_uploads,
    api_slides,
    api_batches,
    api_tiles,
    api_download,
    api_jobs,
    api_detections,
)
PAGE = Path(__file__).parent / "static"
"""What Vite builds of ``page/``."""
_NOT_BUILT = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>mitoyolo</title>
<h1>The page is not built</h1>
<p>This is a copy of the sources. Build the page with Node, then load this again:</p>
<pre>cd mitoyolo/web/page
npm ci
npm run build</pre>
<p>What scripts use is there without it: <a href="/api/openapi.json">/api/openapi.json</a>.</p>
<p>For research use only; not for diagnosis.</p>
</html>
"""


def create_app(settings: Settings) -> FastAPI:
    """The workbench over one folder, as an ASGI application.

    Raises
    ------
    InputError
        The database cannot be used.
    """
    shutil.rmtree(settings.downloads, ignore_errors=True)  # what a killed server was packing
    for folder in (
        settings.uploads, settings.slides, settings.jobs, settings.weights, settings.downloads
    ):  # fmt: skip
        folder.mkdir(parents=True, exist_ok=True)
    engine, sessions = open_database(settings)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        try:
            yield
        finally:
            engine.dispose()

    # the pages of its documentation load scripts from elsewhere, which the headers forbid
    app = FastAPI(
        title="mitoyolo workbench",
        version=__version__,
        openapi_url="/api/openapi.json",
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
    )
    app.state.settings, app.state.sessions = settings, sessions
    app.state.turns = asyncio.Semaphore(CONNECTIONS)
    app.state.grants = Grants[SlideFile]()
    app.state.passwords = Passwords(settings.hashing)
    app.state.attempts = Attempts(settings.login_attempts, settings.login_wait_s)
    app.state.setup = Setup(sessions, again=settings.new_admin)
    for room in ROUTERS:
        app.include_router(room.router, dependencies=_guards(room.router))
    add_handlers(app)
    _add_page(app)
    app.add_middleware(BodyLimit, settings=settings)
    if settings.hosts:
        proxy = [settings.proxy.partition(":")[0]] if settings.proxy else []
        hosts = [f"[{host}]" if ":" in host else host for host in settings.hosts]
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=hosts + proxy, www_redirect=False)
    app.add_middleware(SecurityHeaders)
    return app


def _guards(router: APIRouter) -> list[params.Depends]:
    """Of all requests to a room; one where nothing can be changed does without the database."""
    methods = {method for route in router.routes for method in getattr(route, "methods", ("?",))}
    return [Depends(no_forgery)] if methods - set(SAFE) else []


def _add_page(app: FastAPI) -> None:
    if (PAGE / "index.html").is_file():
        app.mount("/", StaticFiles(directory=PAGE, html=True))
        return

    @app.get("/", include_in_schema=False)
    def not_built() -> HTMLResponse:
        return HTMLResponse(_NOT_BUILT, 503)
