"""The density of mitoses over a slide, drawn on its thumbnail."""

from __future__ import annotations

import math

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from converters.mpp import Mpp
from mitoyolo.images import RGB, resize
from mitoyolo.inference.hotspot import HOTSPOT_MM2, Points, reach_um

_STEPS = 10
"""Cells of the map a radius: the circle moves by a tenth of it."""

_WIDTH = 9.0  # inches
_DPI = 120
_COLOURS = "inferno"


def density_map(
    points_um: Points, size_um: tuple[float, float], radius_um: float
) -> NDArray[np.float64]:
    """Mitoses a mm² in a circle that moves over a slide.

    Parameters
    ----------
    points_um : (n, 2) float64
        µm from the slide's upper-left corner.
    size_um : (float, float)
        The slide's width and height.
    radius_um : float
        Of the circle, its edge inclusive.

    Returns
    -------
    (rows, columns) float64
        Of equal cells that cover the slide, a tenth of the radius wide or a little less; each
        holds the count in the circle around its centre over the whole circle's area. At the edge
        of a slide or of its tissue that is less than the tissue's own density.
    """
    columns, rows = (max(1, math.ceil(side / radius_um * _STEPS)) for side in size_um)
    x = (np.arange(columns) + 0.5) * size_um[0] / columns
    y = (np.arange(rows) + 0.5) * size_um[1] / rows
    centres = np.stack(np.meshgrid(x, y), axis=-1)
    tree = cKDTree(np.asarray(points_um, float).reshape(-1, 2))
    counts = tree.query_ball_point(centres, radius_um, return_length=True)
    return np.asarray(counts / (math.pi * (radius_um / 1000) ** 2), float)


def draw_density(
    thumbnail: RGB,
    points: NDArray[np.float64],
    mpp: Mpp,
    scale: tuple[float, float],
    area_mm2: float = HOTSPOT_MM2,
) -> RGB:
    """The density over a thumbnail, with a colour bar that states its unit.

    Parameters
    ----------
    thumbnail : RGB
        The whole slide.
    points : (n, 2) float64
        Mitoses in level-0 px.
    mpp : (float, float)
        µm per level-0 px across and down.
    scale : (float, float)
        Level-0 px a pixel of the thumbnail.
    area_mm2 : float
        Of the moving circle.

    Returns
    -------
    RGB
        A picture with the colour bar beside the thumbnail; the denser, the less see-through.
    """
    height, width = thumbnail.shape[:2]
    size_um = (width * scale[0] * mpp[0], height * scale[1] * mpp[1])
    radius_um = reach_um("circle", area_mm2)
    points_um = np.asarray(points, float).reshape(-1, 2) * np.array(mpp)
    density = density_map(points_um, size_um, radius_um)
    most = float(density.max()) or 1.0
    tall = (_WIDTH - 1.5) * size_um[1] / size_um[0] + 0.5
    figure = Figure(
        figsize=(_WIDTH, min(max(tall, 2.5), 3 * _WIDTH)), dpi=_DPI, layout="compressed"
    )
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.set(xlabel="mm", ylabel="mm")
    extent = (0, size_um[0] / 1000, size_um[1] / 1000, 0)
    axes.imshow(_shown(thumbnail), extent=extent)
    axes.imshow(
        density, extent=extent, cmap=_COLOURS, vmin=0, vmax=most, interpolation="bilinear",
        alpha=0.75 * density / most,
    )  # fmt: skip
    bar = figure.colorbar(ScalarMappable(Normalize(0, most), _COLOURS), ax=axes, fraction=0.05)
    bar.set_label(f"mitoses per mm²,\nin a moving circle of {area_mm2:g} mm²")
    canvas.draw()
    return np.array(canvas.buffer_rgba())[..., :3].copy()


def _shown(thumbnail: RGB) -> RGB:
    """No more pixels than are drawn, of which matplotlib would resample each in float64."""
    height, width = thumbnail.shape[:2]
    most = round(_WIDTH * _DPI)
    if width <= most:
        return thumbnail
    return resize(thumbnail, most, max(1, round(height * most / width)))
