"""``mitoyolo serve``: the workbench on this machine."""

from __future__ import annotations

import errno
import os
import socket
from dataclasses import dataclass
from pathlib import Path

import uvicorn

from converters.errors import InputError
from mitoyolo.jobs import HeldError, locked
from mitoyolo.progress import note, set_quiet
from mitoyolo.web.api_users import RESEARCH_USE
from mitoyolo.web.app import create_app
from mitoyolo.web.database import alone
from mitoyolo.web.settings import LOOPBACK, Settings


@dataclass(frozen=True, slots=True)
class ServeOptions:
    """Where to listen, and what for.

    Attributes
    ----------
    host : str
        Address or name to listen at.
    port : int
        0 for any that is free.
    database : str, optional
        URL of a PostgreSQL; else SQLite in the folder.
    proxy : str, optional
        Name of a proxy in front, which is then believed about who asks and by which scheme.
    example : bool
        Whether the first admin finds rendered tissue to try at once.
    new_admin : bool
        Print a token that makes one more admin, where nobody knows an admin's password.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    database: str | None = None
    proxy: str | None = None
    example: bool = False
    new_admin: bool = False


def serve(folder: Path, options: ServeOptions) -> None:
    """Answer until the process is told to end.

    Raises
    ------
    InputError
        Another server has the folder or the port; or the database cannot be used.
    """
    if folder.exists() and not folder.is_dir():
        raise InputError("is a file, expected a folder to serve", file=folder)
    os.umask(0o077)  # what users upload and mark is for them alone
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with locked(folder):
            _serve(folder.resolve(), options)
    except HeldError:
        raise InputError(
            "another `mitoyolo serve` has this folder", file=folder, fix="end it, or give another"
        ) from None


def _serve(folder: Path, options: ServeOptions) -> None:
    local = options.host in LOOPBACK
    if "/" in (options.proxy or ""):
        raise InputError(
            f"--proxy {options.proxy}: expected a host name", fix="such as bench.example"
        )
    settings = Settings(
        folder,
        database=options.database,
        hosts=LOOPBACK if local else (),
        proxy=options.proxy and options.proxy.lower(),
        example=options.example,
        new_admin=options.new_admin,
    )
    with alone(settings), _listening(options.host, options.port) as listener:
        app = create_app(settings)
        port = listener.getsockname()[1]
        name = f"[{options.host}]" if ":" in options.host else options.host
        print(f"http://{name}:{port}", flush=True)
        if token := app.state.setup.token:
            first = "Make an admin." if options.new_admin else "There is no admin yet."
            print(f"{first} The token to make one, once: {token}", flush=True)
        print(RESEARCH_USE, flush=True)
        if not local and not options.proxy:
            note(
                f"{options.host} is open to the network: without a TLS proxy in front (--proxy) "
                "passwords and images travel unencrypted"
            )
        set_quiet(True)  # of what `convert` says in a download
        config = uvicorn.Config(
            app,
            log_level="warning",
            access_log=False,
            server_header=False,
            proxy_headers=options.proxy is not None,
            forwarded_allow_ips="127.0.0.1,::1",
            timeout_graceful_shutdown=10,
        )
        try:
            uvicorn.Server(config).run(sockets=[listener])
        except KeyboardInterrupt:
            return  # Ctrl-C is how it ends


def _listening(host: str, port: int) -> socket.socket:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family)
    except socket.gaierror as error:
        raise InputError(f"--host {host}: {error.strerror}") from None
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        raise InputError(
            f"--port {port}: another program listens there", fix="give another port, 0 for any"
        ) from None
