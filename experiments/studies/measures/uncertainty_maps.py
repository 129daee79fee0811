"""Maps that predict the error of a render: the signals that can steer the loop, and two ablations of EIG.

The signals are those of `ff_jax.eig.signals` and `ff_jax.pipeline.signals`, in their own units. The others:

deviation         the deviation of a channel that `ff_jax.eig.signals.calibrated` predicts
prior_background  exact EIG with the prior of the background, as if no view had observed it
uniform_noise     exact EIG with the same noise at all training pixels (`Priors.misfit` = 0)
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ff_jax import eig
from ff_jax.data.scene_data import Frame
from ff_jax.eig.config import SignalNames
from ff_jax.eig.scene_posterior import ScenePosterior, fit_posterior, render_with_eig, scene_information
from ff_jax.eig.signals import SCENE_SIGNALS, RecordedScene
from ff_jax.eig.signals.calibrated import Calibration, deviation
from ff_jax.pipeline.references import render_clip
from ff_jax.pipeline.signals import EXACT, Signals, raw_signal, signal_statistics
from ff_jax.scene import SceneModel, View
from ff_jax.train.batches import TrainBatches

SIGNALS = (*SCENE_SIGNALS, "warp_ssim")
METHODS = (*SIGNALS, "deviation", "prior_background", "uniform_noise")


class RecordedStatistics(NamedTuple):
    """What the maps of a scene need from its recorded views."""

    signals: Signals
    diagonal: ScenePosterior
    calibration: Calibration
    ablations: dict[str, ScenePosterior]

    @property
    def noise(self) -> Float[Array, ""]:
        """Return the standard deviation of one channel of a new view."""
        return self.signals.recorded.posterior.noise


class UncertaintyMaps(NamedTuple):
    """The maps of one view by all methods, and its render."""

    rgb: Float[Array, "H W 3"]
    scores: dict[str, Float[Array, "H W"]]  # by METHODS: higher is more uncertain
    std: dict[str, Float[Array, "H W"]]  # predicted standard deviation of a channel, noise included, by posterior


def collect_statistics(model: SceneModel, batches: TrainBatches, priors: eig.Priors) -> RecordedStatistics:
    """Collect the statistics of the recorded views."""
    posterior = fit_posterior(model, batches, priors)
    recorded = RecordedScene(model, batches, priors, posterior)
    prepared = signal_statistics(SIGNALS, recorded)
    block = posterior.posterior
    unobserved = block.replace(background=jnp.full_like(block.background, priors.background))
    uniform = scene_information(model, batches, 0.0).precision
    make_posterior = jax.jit(eig.posterior, static_argnames=("priors",))
    ablations = {
        "prior_background": posterior.replace(posterior=unobserved),
        "uniform_noise": posterior.replace(posterior=make_posterior(uniform, priors, model.scene.params.gaussians)),
    }
    signals = Signals(SignalNames(EXACT, EXACT, EXACT), recorded, prepared)
    return RecordedStatistics(signals, prepared["diagonal"], prepared["calibrated"], ablations)


def uncertainty_maps(statistics: RecordedStatistics, view: View, frame: Frame) -> UncertaintyMaps:
    """Render one view and compute its map by each method.

    Args:
        statistics: of the scene.
        view: the view.
        frame: the test frame that it is of.
    """
    signals = statistics.signals
    model, posterior = signals.recorded.model, signals.recorded.posterior
    clip = render_clip(model, posterior, [view])
    scores = {name: raw_signal(name, signals, clip, [view], [frame])[0] for name in SIGNALS}
    scores |= {name: render_with_eig(model, other, view).eig for name, other in statistics.ablations.items()}
    traces = {"block": scores["trace"], "diag": render_with_eig(model, statistics.diagonal, view, "trace").eig}
    # trace = sum over the channels of their variance / (2 noise^2)
    std = {name: posterior.noise * jnp.sqrt(1 + 2 / 3 * trace) for name, trace in traces.items()}
    std["calibrated"] = scores["deviation"] = deviation(model, statistics.calibration, view)
    return UncertaintyMaps(clip.rgb[0], {name: scores[name] for name in METHODS}, std)
