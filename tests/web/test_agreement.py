"""Two readers compared, by cases worked out by hand."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from fastapi.testclient import TestClient

from mitoyolo.web.agreement import compare, consensus, f_measure, kappa
from web.marks import assign, batch_of, mark, ok, put, refused, tiles_of

MPP = (0.25, 0.25)


def labels(elements: list[dict[str, Any]]) -> list[tuple[float, str]]:
    return [(item["center"][0], item["label"]["value"]) for item in elements]


def test_kappa_by_hand() -> None:
    """Of 20 cells both call 10 mitosis and 4 imposter; 2 are a mitosis to a and an imposter to b;
    3 are marked by a alone and 1 by b alone. Observed: 14/20. By chance: mitosis a 10+2+3, b 10+1;
    imposter a 4, b 4+2; unmarked a 1, b 3: (15*11 + 4*6 + 1*3) / 400 = 192/400. Kappa:
    (0.7 - 0.48) / 0.52."""
    opinions = Counter(
        {
            ("mitosis", "mitosis"): 10,
            ("imposter", "imposter"): 4,
            ("mitosis", "imposter"): 2,
            ("mitosis", "unmarked"): 3,
            ("unmarked", "mitosis"): 1,
        }
    )
    assert kappa(opinions) == pytest.approx(0.22 / 0.52)
    assert f_measure(opinions) == pytest.approx(2 * 10 / (15 + 11))


def test_kappa_where_it_is_not_defined() -> None:
    assert kappa(Counter()) is None
    assert kappa(Counter({("mitosis", "mitosis"): 3})) is None
    assert kappa(Counter({("mitosis", "mitosis"): 1, ("imposter", "imposter"): 1})) == 1
    assert kappa(Counter({("mitosis", "unmarked"): 1, ("unmarked", "mitosis"): 1})) == -1
    assert f_measure(Counter({("imposter", "imposter"): 1})) is None


def test_the_radius_is_8_um_inclusive_and_pairs_are_one_to_one() -> None:
    # 8 µm are 32 px across, and at 0.5 µm/px 16 px down
    a, b = [mark(100, 100)], [mark(132, 100)]
    (pair,) = compare(a, b, MPP).pairs
    assert pair.distance_um == 8
    assert compare(a, [mark(132.1, 100)], MPP).pairs == []
    assert len(compare(a, [mark(100, 116)], (0.25, 0.5)).pairs) == 1
    assert compare(a, [mark(100, 116.1)], (0.25, 0.5)).pairs == []
    crowd = compare(a, [mark(105, 100), mark(101, 100)], MPP)
    assert [item.b["center"][0] for item in crowd.pairs] == [101]
    assert [item["center"][0] for item in crowd.only_b] == [105]


def test_most_pairs_come_before_the_nearest() -> None:
    # the nearest two, 48 and 50, would leave 16 and 80 without a partner
    a, b = [mark(48, 0), mark(80, 0)], [mark(50, 0), mark(16, 0)]
    found = compare(a, b, MPP)
    assert {(p.a["center"][0], p.b["center"][0]) for p in found.pairs} == {(48, 16), (80, 50)}
    assert (found.only_a, found.only_b) == ([], [])


def test_consensus_of_two_and_three() -> None:
    one = [mark(10, 10), mark(100, 10), mark(200, 10), mark(300, 10, "imposter")]
    two = [mark(12, 10), mark(102, 10, "imposter")]
    three = [mark(14, 10), mark(104, 10), mark(404, 10, "imposter")]
    assert labels(consensus([one, two], MPP)) == [
        (10, "mitosis"), (102, "imposter"), (200, "imposter"), (300, "imposter"),
    ]  # fmt: skip
    assert labels(consensus([one, two, three], MPP)) == [
        (10, "mitosis"), (100, "mitosis"), (200, "imposter"), (300, "imposter"),
        (404, "imposter"),
    ]  # fmt: skip
    assert consensus([one], MPP) == one
    assert consensus([[], []], MPP) == []


def test_a_batch_of_two_readers(
    admin: TestClient, anna: TestClient, bert: TestClient, tiles_slide: Callable[..., str]
) -> None:
    slide = tiles_slide(admin, size=256)
    batch = batch_of(admin, slide)
    assign(admin, slide, anna)
    assign(admin, slide, bert)
    one, two, three, _ = tiles_of(admin, slide)
    ok(put(anna, one, mark(10, 10), mark(100, 100), mark(200, 200, "imposter")))
    ok(put(bert, one, mark(14, 13), mark(100, 108, "imposter"), mark(10, 200)))
    ok(put(anna, two))
    ok(put(bert, two, mark(50, 50)))
    ok(put(anna, three, mark(50, 50)))  # bert has not looked at it: not compared
    found = ok(admin.get(f"/api/batches/{batch}/agreement?a=anna&b=bert"))
    assert found["radius_um"] == 8
    assert found["compared"] == 2
    counts = {key: found[key] for key in ("matched", "only_a", "only_b", "label_differs")}
    assert counts == {"matched": 2, "only_a": 1, "only_b": 2, "label_differs": 1}
    first, second = found["tiles"]
    assert (first["tile_id"], second["tile_id"]) == (one, two)
    assert [pair["distance_um"] for pair in first["pairs"]] == [1.25, 2.0]
    assert [pair["labels"] for pair in first["pairs"]] == [
        ["mitosis", "mitosis"], ["mitosis", "imposter"],
    ]  # fmt: skip
    assert labels(first["only_a"]) == [(200, "imposter")]
    assert labels(first["only_b"]) == [(10, "mitosis")]
    assert labels(second["only_b"]) == [(50, "mitosis")]
    # cells: mm, mi, iu, um, um. Observed 1/5; chance: m 2*3, i 1*1, u 2*1 of 25
    assert found["kappa"] == pytest.approx((1 / 5 - 9 / 25) / (1 - 9 / 25))
    assert found["f_measure"] == pytest.approx(2 / 5)
    assert {key: labels(value) for key, value in found["consensus"].items()} == {
        str(one): [(10, "mitosis"), (100, "imposter"), (200, "imposter"), (10, "imposter")],
        str(two): [(50, "imposter")],
    }
    refused(admin.get(f"/api/batches/{batch}/agreement?a=anna&b=nobody"), 404)
    refused(admin.get(f"/api/batches/{batch}/agreement?a=anna"), 422, "b")


def test_without_a_scale_it_says_so(
    admin: TestClient, tiles_slide: Callable[..., str], workbench: Any
) -> None:
    from mitoyolo.web.models import Slide

    slide = tiles_slide(admin)
    with workbench.session() as db:
        db.get_one(Slide, slide).tile_mpp_x = None
        db.commit()
    path = f"/api/batches/{batch_of(admin, slide)}/agreement?a=admin&b=admin"
    refused(admin.get(path), 409, "the µm/px of T98 is not known")
    ok(admin.patch(f"/api/slides/{slide}", json={"mpp": 0.25}))
    assert ok(admin.get(path))["kappa"] is None
