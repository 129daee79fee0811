"""Maps of held-out views: their scales, and black pixels where no pixel is scored."""

import numpy as np

from ff_jax.evaluation.error_maps import FAR, MAX_ERROR, NEAR, ErrorMaps, depth_colors, map_sheet
from tests.random_inputs import seeded_rng


def test_depth_colors_run_from_near_to_far_and_are_black_without_depth():
    ends = depth_colors(np.array([[NEAR, FAR, 1e6, np.nan, 0.0]]))[0]
    assert ends[0, 0] > 2 * ends[0, 2] and ends[1, 0] < ends[0, 0] and not ends[2:].any()
    rng = seeded_rng()
    middle = float(rng.uniform(NEAR, FAR / 2))
    ladder = depth_colors(middle * np.geomspace(1, 2, 5)[None])[0].astype(int)
    assert np.abs(np.diff(ladder, axis=0)).sum(-1).min() > 0


def test_a_sheet_has_a_row_per_view_and_hides_pixels_that_do_not_count():
    rng = seeded_rng()
    shape = (60, 90)
    counted = np.zeros(shape, bool)
    views = [
        ErrorMaps(
            name,
            rng.uniform(3, 60, shape),
            rng.uniform(MAX_ERROR / 2, MAX_ERROR, shape),
            rng.uniform(1, 2, shape),
            mask,
        )
        for name, mask in (("front", ~counted), ("rear", counted))
    ]
    sheet = map_sheet(views)
    assert sheet.shape[0] > 2 * shape[0] and sheet.shape[1] > 3 * shape[1]
    black = (sheet == 0).all(-1)
    assert black[-shape[0] :].sum() > 2.5 * counted.size and black[: -shape[0] - 20].sum() < 0.2 * counted.size
