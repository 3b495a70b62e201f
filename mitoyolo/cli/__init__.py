"""The command line: each command parses its options and calls one function.

Only the standard library and Typer are imported at the top, so that ``--help`` answers at once;
a command imports what it needs when it runs.
"""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from mitoyolo.cli import data, machine, scoring, slides, training
from mitoyolo.cli.ending import INTERRUPTED, one_line

app = typer.Typer(
    name="mitoyolo",
    help="Pathologists' mitosis annotations to trained detectors and trusted counts.",
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

for commands in (data, training, scoring, slides, machine):
    app.add_typer(commands.commands)


def main() -> None:
    """Run the program; every error is one line on stderr, exit 2 for a wrong call, 1 for bad
    input."""
    try:
        app()
    except Exception as error:
        if "--debug" in sys.argv:
            raise
        print(f"mitoyolo: {one_line(error)}", file=sys.stderr)
        sys.exit(getattr(error, "exit_code", 1))
    except SystemExit as end:
        if end.code == INTERRUPTED:
            again = (
                "the same call with --resume continues"
                if "train" in sys.argv[1:2]
                else "the same call continues"
            )
            print(f"mitoyolo: interrupted; {again}", file=sys.stderr)
        raise


def _version(wanted: bool) -> None:
    if wanted:
        from mitoyolo import __version__

        print(f"mitoyolo {__version__}")
        raise typer.Exit


@app.callback()
def _program(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Print it and leave."),
    ] = False,
) -> None:
    pass
