"""Ultralytics, imported so that it asks nothing of the network and leaves the user's home alone.

Import from here before anything of ``ultralytics``: its settings, its logging and its automatic
installation are decided while it is imported.
"""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
from pathlib import Path

from matplotlib import get_data_path


def _private_config() -> Path:
    """A settings folder of our own, with a font where Ultralytics would fetch one."""
    folder = Path(tempfile.gettempdir()) / f"mitoyolo-ultralytics-{os.getuid()}"
    fonts = folder / "Ultralytics"
    fonts.mkdir(parents=True, exist_ok=True)
    for name in ("Arial.ttf", "Arial.Unicode.ttf"):
        if not (fonts / name).exists():
            shutil.copyfile(Path(get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf", fonts / name)
    return folder


os.environ["YOLO_OFFLINE"] = "True"  # no version check, no events
os.environ["YOLO_AUTOINSTALL"] = "False"
os.environ["YOLO_CONFIG_DIR"] = str(_private_config())
# Ultralytics would set 1 and leave the other cores idle on a CPU.
os.environ.setdefault("OMP_NUM_THREADS", str(os.cpu_count() or 1))

import ultralytics.utils  # noqa: E402

ultralytics.utils.LOGGER.setLevel(logging.ERROR)
ultralytics.utils.SETTINGS.update(
    {
        name: False
        for name, value in ultralytics.utils.SETTINGS.items()
        if value is True  # sync, loggers, advertisements
    }
)
