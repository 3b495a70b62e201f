"""``doctor``: what is there and what is missing."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest
from conftest import Cli

from mitoyolo import __version__, doctor


def test_versions_devices_and_weights_are_printed(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("mine.pt", "theirs.pth", "other.txt"):
        (tmp_path / name).touch()
    monkeypatch.setenv("MITOYOLO_WEIGHTS", str(tmp_path))
    done = cli("doctor")
    assert (done.code, done.err) == (0, "")
    lines = dict(line.split(maxsplit=1) for line in done.out.splitlines())
    assert lines["mitoyolo"] == __version__
    assert {"torch", "ultralytics", "numpy"} <= lines.keys()
    assert lines["devices"].startswith("cpu (")
    assert str(tmp_path / "mine.pt") in lines["weights"] + done.out
    assert str(tmp_path / "theirs.pth") in done.out and "other.txt" not in done.out
    assert lines["missing"] == "nothing"


def test_an_absent_extra_names_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "find_spec", lambda name: None if name == "onnx" else object())
    found = dict(doctor.findings())
    assert found["extra deploy"] == "missing onnx: pip install '.[deploy]' in mitoyolo's folder"
    assert found["extra staintools"] == "installed"


def test_a_missing_package_is_listed_whatever_its_requirement_looks_like(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def version(name: str) -> str:
        if name == "lost-one":
            raise PackageNotFoundError(name)
        return "1"

    lines = ["numpy>=2", "lost-one[x]<3; python_version > '3'", "onnx; extra == 'deploy'"]
    monkeypatch.setattr(doctor, "requires", lambda name: lines)
    monkeypatch.setattr(doctor, "version", version)
    assert doctor._missing() == ["lost-one"]
