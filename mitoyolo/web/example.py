"""What a new workbench shows, so that there is something to try at once: rendered tissue."""

from __future__ import annotations

import tempfile
from collections import Counter
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from mitoyolo.demo.slide import render_slide
from mitoyolo.demo.write import DEMO_MPP, write_cadd4mbc_case
from mitoyolo.web import batches, jobs, pictures
from mitoyolo.web.models import Slide, SlideState, User, new_id
from mitoyolo.web.settings import Settings
from mitoyolo.web.slides import CUT, add_tiles, new_slide

TILES_NAME, SLIDE_NAME = "Example1", "Example2"
TILES = 12
SIDE = 3000
"""px of the slide."""


def make(db: Session, settings: Settings, admin: User) -> list[Slide]:
    """Add :data:`TILES` tiles, assigned to the admin, and a small slide, where nothing is yet.

    It takes five seconds; the slide is cut in the background. A second call does nothing.
    """
    if db.scalar(select(Slide.id).limit(1)):
        return []
    tiles = _tiles(db, settings, admin)
    batches.assign(db, admin, tiles.batches[0], admin.id)
    slide = _slide(db, settings, admin)
    return [tiles, slide]


def _tiles(db: Session, settings: Settings, admin: User) -> Slide:
    key = new_id()
    folder = settings.slides / key
    folder.mkdir(parents=True)
    with tempfile.TemporaryDirectory(dir=folder) as name:
        write_cadd4mbc_case(Path(name), 0, 0, TILES, 500, Counter(), lambda: None)
        rendered = sorted(Path(name, "tiles", "T1").iterdir())
        tiles = [
            pictures.take(file, folder, column=i % 4, row=i // 4, batch=1)
            for i, file in enumerate(rendered)
        ]
    slide = new_slide(
        db, admin, TILES_NAME, slide_id=key, state=SlideState.CUTTING,
        tile_mpp_x=DEMO_MPP, tile_mpp_y=DEMO_MPP,
    )  # fmt: skip
    add_tiles(db, slide, tiles)
    return slide


def _slide(db: Session, settings: Settings, admin: User) -> Slide:
    key = new_id()
    file = settings.slides / key / "slide.tif"
    file.parent.mkdir(parents=True)
    render_slide(file, width=SIDE, height=SIDE, seed=1)
    slide = new_slide(
        db, admin, SLIDE_NAME, slide_id=key, mpp=(DEMO_MPP, DEMO_MPP), file=file.name,
        state=SlideState.CUTTING, width=SIDE, height=SIDE,
    )  # fmt: skip
    jobs.submit(db, "cut", admin, slide, dict(CUT))
    return slide
