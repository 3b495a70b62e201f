"""Frames as another laboratory might have stained them, to score models under a change of stain.

    python benchmarks/restain.py FRAMES OUT [--strength 0.3] [--seed 0]

A copy of a folder of annotated frames, each frame with amounts of its two stains of its own
(`mitoyolo.stain.augment.jitter_macenko`), drawn from the seed and its name. Everything else is
copied. Then `mitoyolo convert`, `normalize` and `val` take it as they take the original.
"""

from __future__ import annotations

import argparse
import shutil
import zlib
from pathlib import Path

import numpy as np

from mitoyolo.images import read_rgb, write_rgb
from mitoyolo.stain.augment import DEFAULT_STRENGTH, MAX_STRENGTH, jitter_macenko

PICTURES = (".jpg", ".jpeg", ".png", ".tif", ".tiff")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("frames", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--strength", type=float, default=DEFAULT_STRENGTH, help="up to 0.5")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    if not 0 < asked.strength <= MAX_STRENGTH:
        parser.error(f"--strength {asked.strength:g}: expected more than 0, {MAX_STRENGTH} at most")
    changed = 0
    for path in sorted(asked.frames.rglob("*")):
        target = asked.out / path.relative_to(asked.frames)
        if path.is_dir():
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix.lower() not in PICTURES:
            shutil.copyfile(path, target)
            continue
        frame = read_rgb(path)
        rng = np.random.default_rng([asked.seed, zlib.crc32(path.stem.encode())])
        stained = jitter_macenko(frame, asked.strength, rng)
        changed += stained is not frame
        write_rgb(target, stained)
    print(f"{changed} frames stained anew in {asked.out}")


if __name__ == "__main__":
    main()
