"""The run of `viewer.tiny_run` for a simulator: a red actor, two cameras; and its posterior without views."""

from pathlib import Path

import jax.numpy as jnp

from ff_jax import eig
from ff_jax.eig.scene_posterior import ScenePosterior
from ff_jax.pipeline.run_reader import RunReader
from tests.ff_jax.data import tiny
from tests.ff_jax.viewer.tiny_run import make_log, make_reader, write


def tiny_reader(folder: Path) -> RunReader:
    """Write a run of a fused scene, and return its reader."""
    reader, state, capacity = make_reader(folder, make_log(folder))
    write(folder, "fused", 40, state, capacity, 0.4)
    return reader


def posterior_without_views(reader: RunReader) -> ScenePosterior:
    """Return the prior as the posterior: a real one takes long to compile."""
    gaussians = reader.load(reader.newest_checkpoints()["Fused"]).model.scene.params.gaussians
    factors = eig.posterior(eig.init_precision(gaussians), eig.Priors(), gaussians, structure="diag")
    return ScenePosterior(factors, jnp.float32(0.1), jnp.zeros((1, tiny.HEIGHT, tiny.WIDTH)))
