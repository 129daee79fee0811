"""What the context branch is trained on: clean latents from noisy ones, of clips whose repair is known.

The video transformer predicts v with the branch's features added; the loss is the published recipe of such branches
(VideoPainter, Bian et al. 2025, arXiv 2503.05639), its mask replaced by EIG m:

    mean[w (x0' - x0)^2] + lambda mean[w m (x0' - x0)^2],  w = 1 / (1 - abar_t).

As x0' - x0 = -sqrt(1 - abar_t) (v' - v), w (x0' - x0)^2 is (v' - v)^2: this is what is computed, bounded at both ends
of the noise.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Key, Num, PyTree

from ff_jax.fixers.eigent.context_branch import ContextBranch
from ff_jax.fixers.eigent.network_config import DitConfig
from ff_jax.fixers.eigent.noise_schedule import Levels, ScheduleConfig, levels, noisy, v_of
from ff_jax.fixers.eigent.transformer import Dit


@dataclass(frozen=True)
class ObjectiveConfig:
    """The loss (hashable: a static argument).

    Attributes:
        eig: lambda, weight of the term that counts where EIG is large.
        dropout: share of the samples that do not see EIG and go without that term.
        noise: mean and standard deviation of log sigma; noise of deviation sigma is added to the render's latents.
        schedule: levels of the noise.
    """

    eig: float = 1.0
    dropout: float = 0.05
    noise: tuple[float, float] = (-3.0, 0.5)
    schedule: ScheduleConfig = ScheduleConfig()

    def __post_init__(self):
        """Check what no draw could follow."""
        if not 0 <= self.dropout <= 1:
            raise ValueError(f"dropout={self.dropout} is a share of the samples: choose it in [0, 1].")


class Clips(NamedTuple):
    """A batch to train on, at the resolution of the latents and scaled for the transformer."""

    clean: Array  # (B, F, h, w, C), latents of the true frames; frame 0 is the image the clip starts from
    render: Array  # (B, F, h, w, C), latents of the renders
    eig: Array  # (B, F, h, w), saturating EIG in [0, 1], 0 in frame 0 (`guidance.latent_eig`)
    reference: Array  # (B, F, h, w, C), latents of the frames repaired one by one
    text: Array  # (B, L, D), embeddings of the prompts' tokens


class Drawn(NamedTuple):
    """What training shows the network of a batch, and what it asks for."""

    t: Array  # (B,), time steps
    latents: Array  # (B, F, h, w, C), noisy; frame 0 is the clean one
    v: Array  # (B, F, h, w, C), to be predicted
    render: Array  # (B, F, h, w, C), with a little noise
    eig: Array  # (B, F, h, w), 0 in samples that do not see it


def draw(keys: Key[Array, "B"], clips: Clips, config: ObjectiveConfig) -> Drawn:
    """Return noisy inputs; sample i depends on keys[i] alone, whatever the batch it stands in."""
    table = levels(config.schedule)
    return jax.vmap(lambda key, clip: _draw(key, clip, table, config))(keys, clips)


def make_loss(
    backbone: Dit, branch: ContextBranch, config: ObjectiveConfig
) -> Callable[[PyTree, PyTree, Clips, Array], tuple[Array, dict[str, Array]]]:
    """Return loss(params, frozen, clips, keys) -> (loss, {"error", "eig_error"}), for `training.loop.make_step`.

    params are the branch's and frozen the backbone's parameters, keys one per sample; the metrics are the loss's two
    means. A backbone with a conditioning image sees frame 0. That frame is given and counts for nothing.

    Args:
        backbone: with the size, dtype and memory that training shall have; its activations are needed to train the
            branch, though it is frozen.
        branch: of the same size.
        config: of the loss.

    Raises:
        ValueError: the two networks have different sizes.
    """
    if branch.config != backbone.config:
        raise ValueError(f"the branch's {branch.config} is not the backbone's {backbone.config}: use one for both.")

    def loss(params: PyTree, frozen: PyTree, clips: Clips, keys: Array) -> tuple[Array, dict[str, Array]]:
        drawn = draw(keys, clips, config)
        seen = whole(backbone.config, drawn.latents, drawn.render, drawn.eig, clips.reference)
        injections = branch.apply({"params": params}, *seen, clips.text, drawn.t)
        v = predict(backbone, frozen, drawn.latents, clips.text, drawn.t, injections)
        square = jnp.square(v.astype(jnp.float32) - drawn.v)[:, 1:]
        error, eig_error = jnp.mean(square), jnp.mean(drawn.eig[:, 1:, ..., None] * square)
        return error + config.eig * eig_error, {"error": error, "eig_error": eig_error}

    return loss


def make_pretraining_loss(
    backbone: Dit, config: ObjectiveConfig
) -> Callable[[PyTree, PyTree, Clips, Array], tuple[Array, dict[str, Array]]]:
    """Return the loss of the backbone alone: the squared error of v on clean clips, whose frame 0 is given.

    params are the backbone's parameters, nothing is frozen; of the clips only `clean` and `text` count.
    """

    def loss(params: PyTree, frozen: PyTree, clips: Clips, keys: Array) -> tuple[Array, dict[str, Array]]:
        drawn = draw(keys, clips, config)
        v = predict(backbone, params, drawn.latents, clips.text, drawn.t)
        return jnp.mean(jnp.square(v.astype(jnp.float32) - drawn.v)[:, 1:]), {}

    return loss


def predict(
    backbone: Dit,
    params: PyTree,
    latents: Float[Array, "B F h w C"],
    text: Float[Array, "B L D"],
    t: Num[Array, "B"],
    injections: Float[Array, "G B N width"] | None = None,
) -> Float[Array, "B F h w C"]:
    """Return v of noisy latents whose frame 0 is given: a backbone with a conditioning image sees that frame.

    Args:
        backbone: the transformer.
        params: its parameters.
        latents: of any number of frames (see `whole`).
        text: embeddings of the prompts' tokens.
        t: time steps.
        injections: of a branch, for the tokens of `whole` latents.
    """
    config = backbone.config
    (filled,) = whole(config, latents)
    image = jnp.zeros_like(filled).at[:, 0].set(config.image_scale * filled[:, 0])
    joined = jnp.concatenate([filled, image], -1)[..., : config.in_channels]
    return backbone.apply({"params": params}, joined, text, t, injections)[:, -latents.shape[1] :]


def whole(config: DitConfig, *latents: Float[Array, "B F *_"]) -> list[Float[Array, "B G *_"]]:
    """Return latents, or maps of their size, with the first frame repeated in front until frames fill whole tokens.

    As in CogVideoX 1.5, whose own code drops the frames in front again; frame 0 is given here, so its copies are, too.
    """
    missing = -latents[0].shape[1] % config.patch_time
    return [jnp.concatenate([part[:, :1]] * missing + [part], 1) for part in latents]


def _draw(key: Key[Array, ""], clip: Clips, table: Levels, config: ObjectiveConfig) -> Drawn:
    """Return what one sample shows; arrays are without their leading axis."""
    time, noise, drop, strength, grain = jax.random.split(key, 5)
    t = jax.random.randint(time, (), 0, config.schedule.steps)
    eps = jax.random.normal(noise, clip.clean.shape)
    at = Levels(table.signal[t], table.noise[t])
    latents = noisy(clip.clean, eps, at).at[0].set(clip.clean[0])
    mean, deviation = config.noise
    sigma = jnp.exp(mean + deviation * jax.random.normal(strength))
    render = clip.render + sigma * jax.random.normal(grain, clip.render.shape)
    shown = jax.random.uniform(drop) >= config.dropout
    return Drawn(t, latents, v_of(clip.clean, eps, at), render, clip.eig * shown)
