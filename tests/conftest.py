"""What many tests share: the program called in this process, small inputs, and the real files."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, settings

# examples are timed by no one: other work may keep the cores busy
settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")

REAL = Path(__file__).parents[1].parent / "shared" / "data"


@dataclass(frozen=True)
class Result:
    """How a call of the program ended."""

    code: int
    out: str
    err: str

    @property
    def error(self) -> str:
        """The one line of a failed call."""
        lines = [line for line in self.err.splitlines() if line.startswith("mitoyolo: ")]
        assert len(lines) == 1, self.err
        assert "Traceback" not in self.err
        return lines[0]


Cli = Callable[..., Result]


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    """Call the program with arguments, in this process."""
    from mitoyolo.cli import main
    from mitoyolo.progress import set_quiet

    def call(*arguments: object) -> Result:
        monkeypatch.setattr(sys, "argv", ["mitoyolo", *map(str, arguments)])
        capsys.readouterr()
        code = 0
        try:
            main()
        except SystemExit as left:
            code = left.code if isinstance(left.code, int) else int(left.code is not None)
        finally:
            set_quiet(False)
        out, err = capsys.readouterr()
        return Result(code, out, err)

    return call


def picture(path: Path, width: int = 64, height: int = 48, seed: int = 0) -> Path:
    """Write a smooth random colour image."""
    path.parent.mkdir(parents=True, exist_ok=True)
    coarse = np.random.default_rng(seed).integers(90, 255, (6, 8, 3), dtype=np.uint8)
    assert cv2.imwrite(str(path), cv2.resize(coarse, (width, height)))
    return path


def ellipse(
    x: float, y: float, width: float = 12, height: float = 8, **more: Any
) -> dict[str, Any]:
    """An ellipse element of the large_image schema."""
    return {"type": "ellipse", "center": [x, y, 0], "width": width, "height": height, **more}


def document(path: Path, *elements: Any) -> Path:
    """Write an annotation document of the large_image schema."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = {"annotation": {"name": path.stem, "elements": list(elements)}, "groups": [None]}
    path.write_text(json.dumps(text))
    return path


def table(path: Path, *rows: str) -> Path:
    """Write lines of text."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{row}\n" for row in rows))
    return path


@pytest.fixture
def cadd(tmp_path: Path) -> Path:
    """Three slides of three 64 x 48 tiles: the tile ``i`` of a slide holds ``i`` ellipses."""
    root = tmp_path / "cadd"
    for slide in ("T1", "T_2", "T3"):
        for i in range(3):
            picture(root / slide / f"x{i}y7.png", seed=10 * int(slide[-1]) + i)
            marks = [ellipse(15 + 20 * k, 20.5) for k in range(i)]
            document(root / slide / "Batch-1" / f"{i}_7.json", *marks)
    return root


@pytest.fixture
def atypia(tmp_path: Path) -> Path:
    """Four frames of 150 x 120 px on two scanners; A03 and H03 are one case."""
    root = tmp_path / "atypia"
    for i, slide in enumerate(("A03", "H03", "A04", "A05")):
        name = f"{slide}_00Aa"
        picture(root / slide / "frames" / "x40" / f"{name}.png", 150, 120, seed=i)
        picture(root / slide / "frames" / "x20" / f"{name}.png", 75, 60, seed=i)
        table(root / slide / "mitosis" / f"{name}_mitosis.csv", "40,50,1.0 ", "100.5,60,0.65")
        table(root / slide / "mitosis" / f"{name}_not_mitosis.csv", "70,90,0.2")
    return root


def tree(root: Path) -> dict[str, bytes]:
    """Every file below a folder but ``run.json``, which holds dates."""
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file() and path.name != "run.json"
    }


def real(name: str) -> Path:
    """A folder of the project's real sample data, which lies beside the repository."""
    path = REAL / name
    if not path.exists():
        pytest.skip(f"no real data: {path} is absent")
    return path
