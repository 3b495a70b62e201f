"""Ultralytics, imported so that it asks nothing of the network and writes only where it is told.

Import this before anything of ``ultralytics``: its settings, its logging and its automatic
installation are decided while it is imported.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

from matplotlib import get_data_path

from converters.files import write_bytes
from mitoyolo.detectors.trackers import add_trackers


def _private_config() -> Path:
    """A settings folder of our own, with a font where Ultralytics would fetch one."""
    folder = Path(tempfile.gettempdir()) / f"mitoyolo-ultralytics-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.stat().st_uid != os.getuid():  # somebody else took the name
        folder = Path(tempfile.mkdtemp(prefix="mitoyolo-ultralytics-"))
    fonts = folder / "Ultralytics"
    fonts.mkdir(exist_ok=True)
    present = Path(get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"  # Matplotlib's own
    for name in ("Arial.ttf", "Arial.Unicode.ttf"):
        if not (fonts / name).exists():
            write_bytes(fonts / name, present.read_bytes())
    return folder


os.environ["YOLO_OFFLINE"] = "True"  # no version check, no events
os.environ["YOLO_AUTOINSTALL"] = "False"
os.environ["YOLO_VERBOSE"] = "False"  # errors alone, from the first import on
os.environ["YOLO_CONFIG_DIR"] = str(_private_config())
# Ultralytics would set 1 and leave the other cores idle on a CPU.
os.environ.setdefault("OMP_NUM_THREADS", str(len(os.sched_getaffinity(0))))

import ultralytics.data.dataset  # noqa: E402
import ultralytics.utils.callbacks  # noqa: E402

# In memory alone: the file is shared by all processes of a training.
dict.update(
    ultralytics.utils.SETTINGS,
    {
        name: False
        for name, value in ultralytics.utils.SETTINGS.items()
        if value is True  # sync, advertisements
    },
)
ultralytics.utils.callbacks.add_integration_callbacks = add_trackers  # and no one else's


def _no_label_cache(path: Path) -> dict[str, Any]:
    raise FileNotFoundError(path)


def _keep_in_memory(prefix: str, path: Path, x: dict[str, Any], version: str) -> None:
    x["version"] = version  # all that Ultralytics expects to have been done


# Ultralytics would keep its reading of labels/ in the data set: a file that the data's owner did
# not ask for, and a pickle, which runs code when it is opened. Reading anew takes seconds.
ultralytics.data.dataset.load_dataset_cache_file = _no_label_cache
ultralytics.data.dataset.save_dataset_cache_file = _keep_in_memory
