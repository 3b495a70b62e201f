"""The program itself: help at once, exit codes, one line for an error."""

from __future__ import annotations

import ast
import errno
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import Cli
from typer.main import get_command

import converters
from mitoyolo import __version__
from mitoyolo.cli import app

COMMANDS = sorted(get_command(app).commands)  # type: ignore[attr-defined]
HEAVY = ("torch", "numpy", "pandas", "cv2", "ultralytics")


def python(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=False)


def test_help_imports_nothing_heavy() -> None:
    script = (
        "import sys; sys.argv = ['mitoyolo', '--help']\n"
        "from mitoyolo.cli import main\n"
        "try: main()\n"
        f"finally: print('loaded', *(name for name in {HEAVY} if name in sys.modules))"
    )
    done = python("-c", script)
    assert done.stdout.splitlines()[-1].strip() == "loaded", done.stderr


def test_the_module_is_the_program() -> None:
    done = python("-m", "mitoyolo", "--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"mitoyolo {__version__}\n", "")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_shows_an_example(cli: Cli, command: str) -> None:
    result = cli(command, "--help")
    assert result.code == 0
    assert f"Example: mitoyolo {command}" in " ".join(result.out.split())


def test_without_a_command_the_help_is_shown(cli: Cli) -> None:
    result = cli()
    assert result.code == 2 and all(name in result.out + result.err for name in COMMANDS)


def test_formats(cli: Cli) -> None:
    result = cli("formats")
    lines = {line.split()[0]: line for line in result.out.splitlines()}
    assert result.code == 0 and {"cadd4mbc", "dsa", "atypia14", "yolo"} <= lines.keys()
    assert " read " in lines["atypia14"] and " write " in lines["yolo"]


@pytest.mark.parametrize(
    ("number", "hint"), [(errno.ENOSPC, "free some space"), (errno.EACCES, "Permission denied")]
)
def test_an_error_of_the_system_is_one_line(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, number: int, hint: str
) -> None:
    import os

    import converters.registry

    class Failing(dict[str, object]):
        def items(self) -> None:  # type: ignore[override]
            raise OSError(number, os.strerror(number), "a.png")

    monkeypatch.setattr(converters.registry, "FORMATS", Failing())
    result = cli("formats")
    assert result.code == 1 and "a.png: " in result.error and hint in result.error
    with pytest.raises(OSError, match=r"a\.png"):
        cli("formats", "--debug")


def imported(path: Path) -> set[str]:
    """Top names of the packages that a file imports, anywhere in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.split(".")[0])
    return names


def test_converters_stands_alone() -> None:
    files = list(Path(converters.__path__[0]).glob("**/*.py"))
    assert len(files) > 10
    for path in files:
        assert not imported(path) & {"mitoyolo", "torch", "torchvision", "ultralytics"}, path
