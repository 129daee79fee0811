"""The signals that a scene and its recorded views determine, by name."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
from jax import Array
from jaxtyping import Float, PyTree

from ff_jax.eig.config import Priors
from ff_jax.eig.posterior import posterior as make_posterior
from ff_jax.eig.scene_posterior import ScenePosterior, render_with_eig, scene_information
from ff_jax.eig.signals import calibrated, residual, view_maps
from ff_jax.scene import SceneModel, View
from ff_jax.train.batches import TrainBatches


class RecordedScene(NamedTuple):
    """A scene with the views that it was reconstructed from."""

    model: SceneModel
    batches: TrainBatches
    priors: Priors
    posterior: ScenePosterior  # from these three


class Signal(NamedTuple):
    """A map that predicts where a render is wrong.

    Attributes:
        unit: of its values.
        prepare: collects what the map needs from the recorded views.
        compute: makes the map of a view from the result of `prepare`; larger is more uncertain.
    """

    unit: str
    prepare: Callable[[RecordedScene], PyTree]
    compute: Callable[[SceneModel, PyTree, View], Float[Array, "H W"]]


def _posterior(recorded: RecordedScene) -> ScenePosterior:
    return recorded.posterior


def _diagonal_posterior(recorded: RecordedScene) -> ScenePosterior:
    """Make the posterior whose blocks are diagonal."""
    model, batches, priors, posterior = recorded
    precision = scene_information(model, batches, priors.misfit).precision
    compiled = jax.jit(make_posterior, static_argnames=("priors", "structure"))
    diagonal = compiled(precision, priors, model.scene.params.gaussians, structure="diag")
    return posterior.replace(posterior=diagonal)


def _color_information(recorded: RecordedScene) -> Float[Array, "N"]:
    precision = scene_information(recorded.model, recorded.batches, recorded.priors.misfit).precision
    return view_maps.color_information(precision, recorded.model)


def _eig(model: SceneModel, posterior: ScenePosterior, view: View, mode: str) -> Float[Array, "H W"]:
    return render_with_eig(model, posterior, view, mode).eig


_EXACT = functools.partial(_eig, mode="exact")

SCENE_SIGNALS = {
    "exact": Signal("nats", _posterior, _EXACT),
    "trace": Signal("nats", _posterior, functools.partial(_eig, mode="trace")),
    "diagonal": Signal("nats", _diagonal_posterior, _EXACT),
    "calibrated": Signal("nats", lambda recorded: calibrated.calibrate(*recorded), calibrated.calibrated_eig),
    "color_only": Signal("color^2", _color_information, view_maps.color_uncertainty),
    "released": Signal(
        "none",
        lambda recorded: view_maps.released_information(recorded.model, recorded.batches),
        view_maps.released_signal,
    ),
    "opacity": Signal("none", lambda recorded: None, view_maps.missing_opacity),
    "distance": Signal(
        "meters", lambda recorded: view_maps.camera_centers(recorded.batches), view_maps.camera_distance
    ),
    "residual": Signal(
        "error", lambda recorded: residual.regress(recorded.model, recorded.batches), residual.predicted_residual
    ),
}
