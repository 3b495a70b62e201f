"""Commands on this machine: the workbench, and what is missing."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mitoyolo.cli.options import (
    Debug,
    Quiet,
    begin,
)

commands = typer.Typer()


@commands.command(epilog="Example: mitoyolo serve runs/workbench --port 8000")
def serve(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where everything is kept.")],
    host: Annotated[str, typer.Option(help="Address to listen at.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 for any free one.")] = 8000,
    database: Annotated[
        str | None,
        typer.Option(metavar="URL", help="postgresql://USER:PASSWORD@HOST/NAME; else SQLite."),
    ] = None,
    proxy: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Host name of a TLS proxy in front, on this machine."),
    ] = None,
    example: Annotated[
        bool, typer.Option("--example", help="Give the first admin rendered tissue to try.")
    ] = False,
    new_admin: Annotated[
        bool,
        typer.Option("--new-admin", help="Print a token for one more admin: passwords forgotten."),
    ] = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """The workbench in a browser: annotate, review, download, detect.

    The first start prints a token, by which the first admin is made.
    """
    begin(quiet)
    try:
        from mitoyolo.web.serve import ServeOptions
        from mitoyolo.web.serve import serve as run
    except ModuleNotFoundError as error:
        from converters.errors import MissingPackageError
        from mitoyolo.extras import install

        raise MissingPackageError(f"the workbench needs {error.name}: {install('web')}") from None

    options = ServeOptions(
        host=host, port=port, database=database, proxy=proxy, example=example, new_admin=new_admin
    )
    run(folder, options)


@commands.command(epilog="Example: mitoyolo doctor")
def doctor(debug: Debug = False) -> None:
    """Show versions, devices, weights found, and what is missing."""
    from mitoyolo.doctor import findings

    for name, value in findings():
        print(f"{name:<20} {value}")
