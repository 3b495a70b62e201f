"""The texts of the seeds in formats that we do not write, and their databases and slides."""

from __future__ import annotations

import base64
import io
import json
import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import tifffile
from PIL import Image

from converters.rle import encode

_IMAGES = [
    {"id": i, "file_name": f"cell_{i}.png", "width": 64, "height": 48, "tumor_type": "canine"}
    for i in (1, 2)
]
_CATEGORIES = [{"id": 1, "name": "mitotic figure"}, {"id": 2, "name": "non-mitotic figure"}]

MIDOG = json.dumps(
    {
        "info": {"version": "1.0"},
        "images": [*_IMAGES, {"id": 3, "file_name": "cell_3.png", "width": 64, "height": 48}],
        "categories": _CATEGORIES,
        "annotations": [
            {"id": i, "image_id": image, "category_id": kind, "labels": [1, 2, 1],
             "bbox": [x - 25, y - 25, x + 25, y + 25]}
            for i, (image, kind, x, y) in enumerate(
                ((1, 1, 20, 20), (1, 2, 45, 20), (2, 1, 60, 47), (2, 1, 5.5, 30))
            )
        ],
    },
    indent=1,
)  # fmt: skip

COCO = json.dumps(
    {
        "images": _IMAGES,
        "categories": _CATEGORIES,
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 1, "bbox": [10, 10, 8, 6], "area": 30.5,
             "iscrowd": 0, "segmentation": [[10, 10, 18, 10, 14, 16]], "score": 0.75},
            {"id": 2, "image_id": 1, "category_id": 2, "bbox": [40, 20, 2, 3], "area": 6,
             "iscrowd": 1, "segmentation": {"size": [48, 64], "counts": [1940, 3, 45, 3, 1081]}},
            {"id": 3, "image_id": 2, "category_id": 1, "bbox": [40, 20, 2, 3], "area": 6,
             "segmentation": encode([(40, 20, 23), (41, 20, 23)], 64, 48)},
            {"id": 4, "image_id": 2, "category_id": 1, "bbox": [5, 5, 9.5, 9.25], "area": 0,
             "segmentation": []},
        ],
    }
)  # fmt: skip

DARKNET: dict[str, str | bytes] = {
    "data.yaml": "nc: 2\nnames: [mitosis, 'hard negative']\n",
    "cell_1.txt": "0 0.25 0.5 0.1 0.125\n1 0.75 0.25 0.08 0.1 0.5\n",
    "cell_2.txt": "0 0.1 0.1 0.3 0.1 0.3 0.4 0.1 0.4\n0 0.98 0.9 0.1 0.1\n",
}


def _voc(name: str, *objects: str) -> str:
    return (
        f"<annotation><folder>tiles</folder><filename>{name}.png</filename>"
        "<size><width>64</width><height>48</height><depth>3</depth></size>"
        f"{''.join(objects)}</annotation>"
    )


_BOX = (
    "<object><name>{}</name><difficult>0</difficult><bndbox><xmin>{}</xmin><ymin>{}</ymin>"
    "<xmax>{}</xmax><ymax>{}</ymax></bndbox></object>"
)
VOC: dict[str, str | bytes] = {
    "cell_1.xml": _voc("cell_1", _BOX.format("mitosis", 5, 6, 20, 19)),
    "cell_2.xml": _voc(
        "cell_2",
        _BOX.format("non-mitosis", 30, 6, 41.5, 19),
        "<object><name>mitosis</name><robndbox><cx>20</cx><cy>30</cy><w>12</w><h>8</h>"
        "<angle>0.5</angle></robndbox></object>",
        "<object><name>mitosis</name><polygon><x1>40</x1><y1>30</y1><x2>55</x2><y2>31</y2>"
        "<x3>48</x3><y3>44</y3></polygon></object>",
    ),
}


def _asap(kind: str, group: str, *points: tuple[float | str, float]) -> str:
    inside = "".join(
        f'<Coordinate Order="{i}" X="{x}" Y="{y}" />' for i, (x, y) in enumerate(points)
    )
    return (
        f'<Annotation Name="a" Type="{kind}" PartOfGroup="{group}" Color="#F4FA58">'
        f"<Coordinates>{inside}</Coordinates></Annotation>"
    )


def _asap_file(*annotations: str) -> str:
    return (
        '<?xml version="1.0"?>\n<ASAP_Annotations>\n\t<Annotations>\n'
        + "\n".join(annotations)
        + '\n\t</Annotations>\n\t<AnnotationGroups><Group Name="sure" PartOfGroup="mitosis" '
        'Color="#64FE2E"><Attributes /></Group><Group Name="imposter" PartOfGroup="None"/>'
        "</AnnotationGroups>\n</ASAP_Annotations>\n"
    )


_SQUARE = ((10, 30), (22, 30), (22, 44), (10, 44))
ASAP: dict[str, str | bytes] = {
    "cell_1.xml": _asap_file(
        _asap("Polygon", "None", *_SQUARE), _asap("Dot", "sure", ("40,5", 20)),
        _asap("Rectangle", "imposter", (40, 30), (50, 30), (50, 40), (40, 40)),
    ),
    "cell_2.xml": _asap_file(
        _asap("PointSet", "mitosis", (5, 5), (30.25, 6), (60, 47)),
        _asap("Spline", "imposter", *_SQUARE),
    ),
}  # fmt: skip


def _region(kind: int, *points: tuple[float, float], more: str = "") -> str:
    inside = "".join(f'<Vertex X="{x}" Y="{y}" Z="0"/>' for x, y in points)
    return f'<Region Id="1" Type="{kind}" {more}><Vertices>{inside}</Vertices></Region>'


def _scope(*regions: str) -> str:
    return (
        '<Annotations MicronsPerPixel="0.25"><Annotation Id="1" Name="Mitosis"><Attributes>'
        '<Attribute Name="Description" Id="0" Value=""/></Attributes><Regions>'
        f"<RegionAttributeHeaders/>{''.join(regions)}</Regions></Annotation></Annotations>"
    )


_HOLE = ((14, 34), (18, 34), (16, 38))
IMAGESCOPE: dict[str, str | bytes] = {
    "cell_1.xml": _scope(
        _region(0, *_SQUARE), _region(0, *_HOLE, more='NegativeROA="1"'),
        _region(2, (30, 10), (42.5, 22)),
    ),
    "cell_2.xml": _scope(
        _region(1, *_SQUARE, more='Text="non-mitosis"'), _region(5, (50, 20)),
        _region(4, (1, 1), (9, 9)),
    ),
}  # fmt: skip


def _via(shape: dict[str, object], **attributes: object) -> dict[str, object]:
    return {"shape_attributes": shape, "region_attributes": attributes}


VIA = json.dumps(
    {
        "_via_settings": {},
        "_via_img_metadata": {
            "cell_1.png999": {"filename": "cell_1.png", "size": 999, "file_attributes": {},
                              "regions": [
                _via({"name": "ellipse", "cx": 20, "cy": 15, "rx": 6, "ry": 4, "theta": 0.5},
                     label="mitosis"),
                _via({"name": "rect", "x": 40, "y": 30, "width": 10, "height": 8},
                     label="imposter"),
                _via({"name": "point", "cx": 50, "cy": 10}, label={"mitosis": True}),
            ]},
            "cell_2.png999": {"filename": "cell_2.png", "size": 999, "regions": {
                "0": _via({"name": "circle", "cx": 20, "cy": 15, "r": 6.5}),
                "1": _via({"name": "polygon", "all_points_x": [30, 44, 38],
                           "all_points_y": [20, 22, 40]}),
            }},
        },
    }
)  # fmt: skip

CVAT = """<?xml version="1.0" encoding="utf-8"?>
<annotations><version>1.1</version>
<image id="0" name="tiles/cell_1.png" width="64" height="48">
<box label="mitosis" xtl="5.5" ytl="6" xbr="20" ybr="19" occluded="0"/>
<ellipse label="mitosis" cx="40" cy="20" rx="6" ry="4.5" rotation="30">
<attribute name="confidence">0.5</attribute></ellipse>
<points label="imposter" points="10.00,40.00;50.5,40.25"/>
</image>
<image id="1" name="cell_2.png" width="64" height="48">
<polygon label="mitosis" points="10,10;22,12;15,25"/>
<mask label="mitosis" left="40" top="20" width="4" height="3" rle="1, 2, 2, 6, 1"/>
<box label="tissue" xtl="0" ytl="0" xbr="64" ybr="48"/>
</image>
</annotations>
"""


def _labelme(name: str, *shapes: dict[str, object]) -> str:
    facts = {"imagePath": f"{name}.png", "imageData": None, "imageWidth": 64, "imageHeight": 48}
    return json.dumps({"version": "5.4.1", "flags": {}, "shapes": shapes, **facts}, indent=2)


def _mask() -> str:
    """3 x 2 px, all of them inside, as base64 text."""
    data = io.BytesIO()
    Image.fromarray(np.full((2, 3), 255, np.uint8)).save(data, "PNG")
    return base64.b64encode(data.getvalue()).decode()


LABELME: dict[str, str | bytes] = {
    "cell_1.json": _labelme(
        "cell_1",
        {"label": "mitosis", "shape_type": "circle", "points": [[20, 15], [24, 18]]},
        {"label": "imposter", "shape_type": "rectangle", "points": [[50, 40], [40.5, 30]]},
        {"label": "mitosis", "shape_type": "mask", "points": [[5, 30], [7, 31]], "mask": _mask()},
    ),
    "cell_2.json": _labelme(
        "cell_2",
        {"label": "mitosis", "shape_type": "polygon", "points": [[10, 10], [22, 12], [15, 25]]},
        {"label": "mitosis", "shape_type": "point", "points": [[50, 20]], "score": 0.5},
    ),
}


def _task(number: int, *values: tuple[str, dict[str, object]]) -> dict[str, object]:
    result = [
        {"id": f"r{i}", "type": kind, "original_width": 64, "original_height": 48,
         "image_rotation": 0, "value": {"rotation": 0, kind: ["Mitosis"], **value}}
        for i, (kind, value) in enumerate(values)
    ]  # fmt: skip
    return {
        "id": number,
        "data": {"image": f"/data/upload/1/0f6142fb-cell_{number}.png"},
        "annotations": [{"id": 7, "result": result, "was_cancelled": False}],
        "predictions": [],
    }


LABELSTUDIO = json.dumps(
    [
        _task(
            1,
            ("ellipselabels", {"x": 30, "y": 30, "radiusX": 10, "radiusY": 8}),
            ("rectanglelabels", {"x": 70, "y": 20, "width": 15, "height": 20, "rotation": 15}),
            ("keypointlabels", {"x": 50, "y": 80, "width": 0.5}),
        ),
        _task(
            2,
            ("polygonlabels", {"points": [[10, 10], [30, 12], [20, 40]], "closed": True}),
            ("rectanglelabels", {"x": 60, "y": 60, "width": 10, "height": 10,
                                 "rectanglelabels": ["non-mitosis"]}),
        ),
    ],
    indent=1,
)  # fmt: skip


def slide_runner(path: Path) -> None:
    """Write a SlideRunner database with a mark of every type."""
    with closing(sqlite3.connect(path)) as made, made:
        made.execute("PRAGMA synchronous = OFF")
        made.executescript("""
            CREATE TABLE Slides (uid INTEGER PRIMARY KEY, filename TEXT, width INTEGER,
                height INTEGER, directory TEXT);
            CREATE TABLE Annotations (uid INTEGER PRIMARY KEY, slide INTEGER, guid TEXT,
                deleted INTEGER DEFAULT 0, type INTEGER, agreedClass INTEGER);
            CREATE TABLE Annotations_coordinates (uid INTEGER PRIMARY KEY, coordinateX INTEGER,
                coordinateY INTEGER, slide INTEGER, annoId INTEGER, orderIdx INTEGER);
            CREATE TABLE Classes (uid INTEGER PRIMARY KEY, name TEXT);
            INSERT INTO Slides VALUES (1, 'cell_1.png', 64, 48, '/tiles'),
                (2, 'cell_2.png', NULL, NULL, '');
            INSERT INTO Classes VALUES (1, 'Mitosis'), (2, 'Hard negative'), (3, 'Tumour');
            INSERT INTO Annotations VALUES (1, 1, 'a', 0, 1, 1), (2, 1, 'b', 0, 2, 2),
                (3, 1, 'c', 1, 1, 1), (4, 2, 'd', 0, 3, 1), (5, 2, 'e', NULL, 4, 3),
                (6, 2, 'f', 0, 5, 1);
            INSERT INTO Annotations_coordinates (coordinateX, coordinateY, slide, annoId, orderIdx)
                VALUES (20, 15, 1, 1, 1), (40, 30, 1, 2, 1), (50, 40.5, 1, 2, 2), (5, 5, 1, 3, 1),
                (10, 30, 2, 4, 1), (22, 30, 2, 4, 1), (10, 44, 2, 4, 1), (60, 10, 2, 5, 1),
                (40, 10, 2, 6, 1), (52, 22, 2, 6, 2);
        """)


def slide(path: Path) -> None:
    """Write a tiled TIFF that OpenSlide takes for one of Aperio's."""
    pixels = np.random.default_rng(0).integers(90, 255, (48, 64, 3), np.uint8)
    said = "Aperio Image Library v1\n64x48 [0,0 64x48] (32x32) RAW |AppMag = 40|MPP = 0.25"
    tifffile.imwrite(path, pixels, tile=(32, 32), photometric="rgb", description=said)
