"""All maps of the calibration study on a tiny log."""

import dataclasses

import jax.numpy as jnp
import numpy as np

from experiments.studies.measures import uncertainty_maps
from ff_jax import eig
from ff_jax.data.synthetic import WorldConfig
from ff_jax.data.synthetic.driving_log import world_scene
from ff_jax.pipeline.config import FuseConfig
from ff_jax.pipeline.initialize import make_feed, start_run


def test_every_method_judges_every_pixel_and_the_trace_bounds_the_gain():
    world = WorldConfig(num_frames=2, moving=False)
    log = world_scene(int(np.random.default_rng().integers(1000)), world, 40, 24, lidar=False)
    config = FuseConfig()
    config = dataclasses.replace(
        config,
        init=dataclasses.replace(config.init, points=200, scale=1.0),
        recon=dataclasses.replace(config.recon, budget=220, sh_degree=1),
        data=dataclasses.replace(config.data, use_lidar=False),
    )
    feed = make_feed(log, log.frames, config)
    run, recipe = start_run(log, feed, config, pool=0, steps=1)
    scene, settings = run.state.scene, recipe.settings
    learnt = uncertainty_maps.learn_scores(scene, feed, settings, 1, eig.Priors())
    maps = uncertainty_maps.score_maps(scene, learnt, feed.batch(0).view, settings, jnp.int32(1))
    assert set(maps.scores) == set(uncertainty_maps.METHODS)
    for name, values in maps.scores.items():
        assert values.shape == (24, 40) and np.isfinite(np.asarray(values)).all(), name
    exact, trace = maps.scores["exact_block"], maps.scores["trace"]
    assert (exact <= trace * (1 + 1e-4) + 1e-5).all()
    # Trusting misfitting pixels less, or knowing nothing about the sky, never makes anything better known.
    slack = 1e-3 + 1e-3 * exact
    assert (maps.scores["even_noise"] <= exact + slack).all() and (exact <= maps.scores["flat_backdrop"] + slack).all()
    assert (maps.std["block"] >= learnt.noise * (1 - 1e-6)).all()
    assert (maps.scores["distance"] >= 0).all()
