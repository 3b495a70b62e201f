"""The table of all colours: the very bytes of the method, and its guards."""

from __future__ import annotations

import numpy as np
import pytest

from mitoyolo.images import RGB
from mitoyolo.stain import colours
from mitoyolo.stain.colours import Tabulated, colour_table, has_table, numbers, quick
from mitoyolo.stain.normaliser import Fitted, Normaliser


def fitted(tissue, method: str, mode: str = "case") -> Fitted:
    return Normaliser(method, mode).fit([tissue(7, size=(150, 150), shift=(-30, -20, 5))])


@pytest.mark.parametrize("method", ["reinhard", "macenko"])
def test_a_look_up_is_the_method_itself(tissue, method: str) -> None:
    fit = fitted(tissue, method)
    table = Tabulated(fit, colour_table(fit))
    rng = np.random.default_rng(3)
    exactly = np.full((40, 40, 3), 255, np.uint8)
    exactly[::20] = tissue(5)[:2, :40]  # 80 of 1,600: five per cent
    tiles: dict[str, RGB] = {
        "exactly enough tissue": exactly,
        "tissue": tissue(1),
        "view": tissue(2)[3:80:2, ::3],
        "every sort of colour": rng.integers(0, 256, (300, 200, 3)).astype(np.uint8),
        "little tissue": tissue(4, glass=0.97),
        "just enough tissue": tissue(4, glass=0.94),
        "white": np.full((40, 30, 3), 255, np.uint8),
        "black": np.zeros((40, 30, 3), np.uint8),
        "pink": np.full((40, 30, 3), (222, 140, 190), np.uint8),
    }
    reasons = set()
    for name, tile in tiles.items():
        expected, reason = fit.apply_or_reason(tile)
        got, why = table.apply_or_reason(tile)
        assert why == reason, name
        assert np.array_equal(got, expected), name
        reasons.add(reason)
    assert len(reasons) == 3  # normalised, little tissue, one colour


def test_a_colour_has_its_own_number() -> None:
    assert numbers(np.array([[[1, 2, 3], [255, 255, 255]]], np.uint8)).tolist() == [
        [1 + 2 * 256 + 3 * 65536, (1 << 24) - 1]
    ]


def test_a_table_is_made_only_where_it_pays(tissue, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(colours, "PAYS_FROM", 1000)
    fit = fitted(tissue, "reinhard")
    assert quick(fit, 999) == fit.apply_or_reason
    assert quick(fit, 1000) != fit.apply_or_reason
    assert np.array_equal(quick(fit, 1000)(tissue(1))[0], fit.apply(tissue(1))[0])
    matrix = fitted(tissue, "macenko")  # computed as fast as looked up
    assert quick(matrix, 10**9) == matrix.apply_or_reason


def test_each_tile_its_own_has_no_table(tissue) -> None:
    fit = fitted(tissue, "reinhard", "tile")
    assert not has_table(fit)
    assert quick(fit, 10**9) == fit.apply_or_reason
