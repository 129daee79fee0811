"""All maps of the calibration study on a tiny log."""

import dataclasses

import numpy as np

from experiments.studies.measures.uncertainty_maps import METHODS, collect_statistics, uncertainty_maps
from ff_jax import eig
from ff_jax.data.synthetic import StreetConfig
from ff_jax.data.synthetic.driving_log import street_log
from ff_jax.pipeline.config import FuseConfig
from ff_jax.pipeline.initialize import initialize, make_recording
from ff_jax.train.batches import TrainBatches


def test_every_method_scores_every_pixel_and_the_trace_bounds_eig():
    street = StreetConfig(num_frames=2, moving=False)
    log = street_log(int(np.random.default_rng().integers(1000)), street, 40, 24, lidar=None)
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
    maps = uncertainty_maps(model, statistics, batches.batch(0).view)
    assert tuple(maps.scores) == METHODS
    for name, values in maps.scores.items():
        assert values.shape == (24, 40) and np.isfinite(np.asarray(values)).all(), name
    exact, trace = maps.scores["exact_block"], maps.scores["trace"]
    assert (exact <= trace * (1 + 1e-4) + 1e-5).all()
    # Lower weights of pixels with large residuals, and no information about the sky, never reduce the EIG.
    slack = 1e-3 + 1e-3 * exact
    assert (maps.scores["uniform_noise"] <= exact + slack).all()
    assert (exact <= maps.scores["prior_background"] + slack).all()
    assert (maps.std["block"] >= statistics.noise * (1 - 1e-6)).all()
    assert (maps.scores["distance"] >= 0).all()
