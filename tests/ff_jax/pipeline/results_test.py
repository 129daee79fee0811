"""The table of a run."""

import math

from ff_jax.evaluation.shifted_views import ShiftScore
from ff_jax.pipeline.results import text_table


def row(psnr):
    return ShiftScore(shift=1.0, frames=3, psnr=psnr, ssim=psnr, eig=1.0)


def test_a_gain_without_ground_truth_is_a_dash():
    last = text_table({"a": [row(math.nan)], "b": [row(math.nan)]}).splitlines()[-1]
    assert last.split("|")[-1].strip() == "-" and "+" not in last
    last = text_table({"a": [row(10.0)], "b": [row(12.5)]}).splitlines()[-1]
    assert last.split("|")[-1].strip() == "+2.50"
