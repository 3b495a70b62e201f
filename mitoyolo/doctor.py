"""``mitoyolo doctor``: what this installation has, and what it lacks."""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError, requires, version
from importlib.util import find_spec

from mitoyolo.detectors.weights import SUFFIXES, weight_folders
from mitoyolo.extras import EXTRAS, install
from mitoyolo.jobs import versions


def findings() -> list[tuple[str, str]]:
    """Pairs of a name and what was found, in the order to print."""
    found = list(versions().items())
    found.append(("devices", ", ".join(_devices())))
    weights = [
        path
        for folder in weight_folders()
        for path in sorted(folder.glob("*"))
        if path.suffix in SUFFIXES
    ]
    found.append(("weights", ", ".join(map(str, weights)) or "none"))
    found += [("weights folder", str(folder.absolute())) for folder in weight_folders()]
    for extra, modules in EXTRAS.items():
        lacking = [name for name in modules if find_spec(name) is None]
        state = f"missing {', '.join(lacking)}: {install(extra)}"
        found.append((f"extra {extra}", state if lacking else "installed"))
    found.append(("missing", ", ".join(_missing()) or "nothing"))
    return found


def _devices() -> list[str]:
    try:
        import torch
    except ImportError:
        return ["none, since torch is missing"]
    count = torch.cuda.device_count()
    return [f"cpu ({torch.get_num_threads()} threads)"] + [
        f"{i} ({torch.cuda.get_device_name(i)})" for i in range(count)
    ]


def _missing() -> list[str]:
    """Required packages that are not installed."""
    lacking = []
    for line in requires("mitoyolo") or []:
        if "extra ==" in line:
            continue
        name = re.split(r"[^\w.-]", line, maxsplit=1)[0]  # before version, marker or extras
        try:
            version(name)
        except PackageNotFoundError:
            lacking.append(name)
    return lacking
