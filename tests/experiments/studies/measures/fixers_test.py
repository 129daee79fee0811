"""Scores of fixers by region, with fixers whose result is known in advance."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from experiments.studies.measures import fixers as fixer_study
from ff_jax.fixers.fixer import Fixer
from ff_jax.fixers.pair_files import Pairs
from tests.random_inputs import seeded_rng

pytestmark = pytest.mark.slow


def half(config, params, key, frames, eig, references):
    """Go half of the way to the reference."""
    return frames + 0.5 * (references - frames)


@pytest.fixture
def views():
    """Make views whose aligned reference is the truth, well-determined on the left only."""
    rng = seeded_rng()
    truth = rng.integers(40, 216, (4, 16, 20, 3), np.uint8)
    render = (truth + rng.integers(-30, 31, truth.shape)).astype(np.uint8)
    eig = np.zeros((4, 16, 20), np.float16)
    eig[:, :, 10:] = 3.0
    shift, steps = np.array([3, 3, 6, 6], np.float32), np.full(4, 9, np.int32)
    nearest = rng.integers(0, 256, truth.shape, np.uint8)
    K, poses = np.tile(np.eye(3, dtype=np.float32), (4, 1, 1)), np.tile(np.eye(4), (4, 1, 1))
    sure = np.full((4, 1, 16, 20, 1), 255, np.uint8)
    separate = np.concatenate([truth[:, None], sure], -1)
    return Pairs(render, truth, nearest, separate, sure[:, 0, ..., 0], eig, eig, shift, steps, K, poses)


def test_scores_by_region(views):
    fixers = {name: Fixer({}, name, half, use_aligned_references=name == "near") for name in ("near", "far")}
    rows, examples = fixer_study.score(fixers, views, 1.0, None)
    assert len(rows) == 3 * 3 * 4 and [example.name for example in examples] == ["3 m", "6 m"]
    means = fixer_study.summary(rows)
    by = {(row["shift"], row["fixer"], row["region"]): row for row in means}
    for shift, here in ((3.0, slice(0, 2)), (6.0, slice(2, 4))):
        for region, columns in (("all", slice(None)), ("ucr", slice(10, 20)), ("hpr", slice(0, 10))):
            error = (views.render[here, :, columns].astype(float) - views.truth[here, :, columns]) / 255
            expected = np.mean([-10 * np.log10((e**2).mean()) for e in error])
            render, near = (by[shift, name, region] for name in ("render", "near"))
            np.testing.assert_allclose(render["psnr"], expected, rtol=1e-4)
            np.testing.assert_allclose(near["psnr"] - render["psnr"], 20 * np.log10(2), rtol=1e-3)
            np.testing.assert_allclose(near["change"], 0.5 * np.abs(error).mean(), rtol=1e-3)
            assert render["change"] == 0.0 and render["lpips"] is None
            assert by[shift, "far", region]["psnr"] < render["psnr"]
    table = fixer_study.markdown(means).splitlines()
    assert len(table) == 2 + 2 * 3 and all(line.count("|") == 13 for line in table)
    assert table[2].startswith("| 3 m | render |") and "| - | - | - |" in table[2]
    image = fixer_study.panel(examples)
    assert image.dtype == np.uint8 and image.shape[0] > 2 * 2 * 16 and image.shape[1] > 4 * 2 * 20


def test_clips_are_repaired_in_order_and_from_a_context_frame(views):
    """The fixer repeats its first frame, which is the truth of a clip without motion."""
    first = lambda config, params, key, frames, eig, references: jnp.broadcast_to(frames[:1], frames.shape)
    counts = {"with context": 1, "without": 0}
    fixers = {name: Fixer({}, name, first, chunk=2, num_context_frames=n) for name, n in counts.items()}
    fixers["with context"] = fixers["with context"].replace(overlap=1)
    rng = seeded_rng()
    views.truth[:] = views.truth[:1]
    views.depth[:] = 5.0
    views.K[:] = np.diag([10.0, 10, 1]) + np.float32([[0, 0, 10], [0, 0, 8], [0, 0, 0]])
    views.shift[:] = [0, 3, 3, 3]
    views.render[:] = rng.integers(0, 256, views.render.shape, np.uint8)
    rows, examples = fixer_study.score(fixers, views, 1.0, None, length=4, num_context_frames=1)
    whole = lambda name, what: [row[what] for row in rows if row["fixer"] == name and row["region"] == "all"]
    psnr = whole("with context", "psnr")
    assert len(psnr) == 3 and min(psnr) > 90 > 30 > max(whole("without", "psnr"))
    assert {row["shift"] for row in rows} == {3.0} and [example.name for example in examples] == ["3 m"]
    np.testing.assert_allclose(whole("with context", "warp"), [0, 0, np.nan], atol=1e-6)
    assert whole("render", "warp")[0] > 0.05 and whole("without", "warp")[0] > 0.05
    assert "| 0.00 |" in fixer_study.markdown(fixer_study.summary(rows))


def test_video_variants_remove_one_part_each():
    from ff_jax.fixers.eigent.fixer import fixer_from_params
    from tests.ff_jax.fixers.eigent.small import CONFIG

    fixer = fixer_from_params({}, CONFIG)
    variants = fixer_study.video_variants(fixer)
    assert variants["eigent"] is fixer and len(variants) == 6
    configs = {name: dataclasses.asdict(part.config) for name, part in variants.items() if part is not fixer}
    full = dataclasses.asdict(CONFIG)
    for name, config in configs.items():
        assert sum(config[key] != full[key] for key in full) == 1, name


def test_a_region_without_pixels_leaves_no_number(views):
    views.eig[:] = 0.0
    rows, _ = fixer_study.score({"near": Fixer({}, "near", half, use_aligned_references=True)}, views, 1.0, None)
    means = fixer_study.summary(rows)
    empty = [row for row in means if row["region"] == "ucr"]
    assert len(empty) == 4 and all(row["psnr"] is None and row["share"] == 0.0 for row in empty)
    assert "nan" not in fixer_study.markdown(means)


def test_variants_remove_one_input_of_eig_each():
    from ff_jax.fixers.difix.config import tiny
    from ff_jax.fixers.difix.fixer import fixer_from_params

    ones = {
        "conv_in": {"kernel": jnp.ones(2)},
        "stem": {"reference": jnp.ones(2), "eig": jnp.ones(2)},
        "strength": {"a": jnp.ones(())},
    }
    variants = fixer_study.variants(fixer_from_params({"network": {"guidance": ones}, "gain": jnp.ones(())}, tiny()))
    guidance = lambda name: variants[name].params["network"]["guidance"]
    assert variants["no blending"].config.kappa < 1e-6 and variants["no blending"].params is variants["difix"].params
    off, on = np.zeros(2), np.ones(2)
    for name, channels, strength in (("no EIG channels", off, 1.0), ("no modulation", on, 0.0), ("neither", off, 0.0)):
        np.testing.assert_array_equal(guidance(name)["conv_in"]["kernel"], channels)
        np.testing.assert_array_equal(guidance(name)["stem"]["eig"], channels)
        np.testing.assert_array_equal(guidance(name)["stem"]["reference"], on)
        assert float(guidance(name)["strength"]["a"]) == strength
