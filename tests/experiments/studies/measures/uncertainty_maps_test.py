"""All maps of the calibration study on a tiny log."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from experiments.studies.measures.uncertainty_maps import METHODS, collect_statistics, uncertainty_maps
from ff_jax import eig
from ff_jax.data.synthetic import StreetConfig
from ff_jax.data.synthetic.driving_log import street_log
from ff_jax.eig.scene_posterior import EigRender
from ff_jax.metrics.calibration import spearman
from ff_jax.pipeline.config import FuseConfig
from ff_jax.pipeline.initialize import initialize, make_recording
from ff_jax.pipeline.signals import raw_signal
from ff_jax.scene import render_scene
from ff_jax.train.batches import TrainBatches
from kernels import ssim
from tests.random_inputs import seeded_rng

pytestmark = pytest.mark.slow


def clip_of(maps):
    """Return the clip of one view."""
    return EigRender(maps.rgb[None], maps.scores["exact"][None], maps.scores["exact"][None])


def test_every_method_scores_every_pixel_and_the_trace_bounds_eig():
    street = StreetConfig(num_frames=2, moving=False)
    log = street_log(int(seeded_rng().integers(1000)), street, 40, 24, lidar=None)
    config = FuseConfig()
    config = dataclasses.replace(
        config,
        init=dataclasses.replace(config.init, points=200, scale=1.0),
        recon=dataclasses.replace(config.recon, budget=220, sh_degree=1),
        data=dataclasses.replace(config.data, use_lidar=False),
    )
    batches = TrainBatches(make_recording(log, config, log.frames))
    state, plan = initialize(batches.recording, config, pseudo_views=0, steps=1)
    model = plan.model(state.train).replace(sh_degree=1)
    statistics = collect_statistics(model, batches, eig.Priors())
    view = batches.batch(0).view
    maps = uncertainty_maps(statistics, view, log.frames[0])
    assert tuple(maps.scores) == METHODS
    for name, values in maps.scores.items():
        assert values.shape == (24, 40) and np.isfinite(np.asarray(values)).all(), name
    exact, trace = maps.scores["exact"], maps.scores["trace"]
    assert (exact <= trace * (1 + 1e-4) + 1e-5).all()
    # Lower weights of pixels with large residuals, and no information about the sky, never reduce the EIG.
    slack = 1e-3 + 1e-3 * exact
    assert (maps.scores["uniform_noise"] <= exact + slack).all()
    assert (exact <= maps.scores["prior_background"] + slack).all()
    assert (maps.std["block"] >= statistics.noise * (1 - 1e-6)).all()
    assert (maps.scores["distance"] > 0).all()
    # A recorded view: the nearest recorded image is its own.
    np.testing.assert_allclose(maps.scores["opacity"], 1 - render_scene(model, view).alpha, atol=1e-6)
    error = np.abs(np.asarray(maps.rgb) - log.frames[0].image.load()).mean(-1)
    own = np.asarray(raw_signal("error", statistics.signals, clip_of(maps), [view], log.frames[:1]))[0]
    np.testing.assert_allclose(own, error, atol=1e-5)
    structure = 1 - np.asarray(ssim(jnp.asarray(maps.rgb), jnp.asarray(log.frames[0].image.load())))
    assert np.median(np.abs(np.asarray(maps.scores["warp_ssim"]) - structure)) < 1e-3
    assert spearman(np.asarray(maps.scores["residual"]).ravel(), error.ravel()) > 0.2
