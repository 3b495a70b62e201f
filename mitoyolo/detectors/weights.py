"""Where weights are looked for. Nothing is ever fetched: offline is normal."""

from __future__ import annotations

import os
from pathlib import Path

from converters.errors import InputError, OptionError
from mitoyolo.detectors.exported import format_of
from mitoyolo.detectors.families import MODELS

ENVIRONMENT = "MITOYOLO_WEIGHTS"
"""Environment variable that names one more folder to look in."""

SUFFIXES = (".pt", ".pth")
"""Of checkpoints: ours and Ultralytics', torchvision's."""


def weight_folders() -> list[Path]:
    """The folders searched for weights asked for by name, in order."""
    named = os.environ.get(ENVIRONMENT)
    return [
        Path(),
        Path("weights"),
        *([Path(named)] if named else []),
        _own_folder(),
        _torch_folder(),
    ]


def _own_folder() -> Path:
    return Path.home() / ".cache" / "mitoyolo" / "weights"


def _torch_folder() -> Path:
    """Where torch.hub, hence torchvision, keeps what it fetched."""
    caches = os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")
    home = os.environ.get("TORCH_HOME", Path(caches) / "torch")
    return Path(home).expanduser() / "hub" / "checkpoints"


def find_weights(asked: str | None, model: str) -> Path | None:
    """The weights file to start from.

    Parameters
    ----------
    asked : str or None
        A file, a name such as `yolov5n.pt`, `none` for a start from scratch, or None for the
        pretrained weights of ``model``.
    model : str
        One of :data:`~mitoyolo.detectors.families.MODELS`.

    Returns
    -------
    Path or None
        None: from scratch, as asked for, or where a model that can has no pretrained weights here.

    Raises
    ------
    InputError
        The file is nowhere, and the message says where to put it; or it is a folder.
    """
    if asked == "":
        raise OptionError(
            "--weights is empty", fix=f"give a .pt file, none, or no --weights for {model}'s own"
        )
    if asked == "none":
        return None
    if asked and Path(asked).is_file():
        return Path(asked)
    if asked is None:
        names = list(MODELS[model].pretrained)
    elif Path(asked).name == asked and not asked.endswith(SUFFIXES):
        names = [asked, f"{asked}.pt"]
    else:
        names = [asked]
    if found := _find(names):
        return found
    if asked is None and not MODELS[model].needs_pretrained:
        return None
    if asked and Path(asked).is_dir():
        check_checkpoint(Path(asked))
    raise InputError(
        f"weights {' or '.join(names)} not found on this machine, and nothing is downloaded",
        fix=f"put the file into {_own_folder()} or the folder named by ${ENVIRONMENT}, "
        "or give --weights FILE, or --weights none to start from scratch",
    )


def check_checkpoint(path: Path) -> None:
    """Refuse what is no checkpoint by its name already.

    Raises
    ------
    InputError
        There is no such file, or it is a folder or an exported model.
    """
    is_folder = path.is_dir()
    exported = any(map(format_of, path.iterdir() if is_folder else [path]))
    if exported and path.exists():
        raise InputError(
            f"{'a folder with' if is_folder else 'this is'} an exported model, expected a .pt file",
            file=path,
            fix="give the .pt it was exported from",
        )
    if is_folder:
        raise InputError("a folder, expected a .pt file", file=path, fix="give a run's best.pt")
    if not path.is_file():
        raise InputError("no such weights file", file=path)


def _find(names: list[str]) -> Path | None:
    bare = [name for name in names if Path(name).name == name]  # a path is looked for nowhere else
    paths = (folder / name for folder in weight_folders() for name in bare)
    return next((path for path in paths if path.is_file()), None)
