"""The training loss of the context branch: clean latents from noisy ones, of clips with true frames.

The video transformer predicts v with the branch's features added. The loss is the published one of such branches
(VideoPainter, Bian et al. 2025, arXiv 2503.05639), with EIG m as its mask:

    mean[w (x0' - x0)^2] + lambda mean[w m (x0' - x0)^2],  w = 1 / (1 - abar_t).

Because x0' - x0 = -sqrt(1 - abar_t) (v' - v), w (x0' - x0)^2 equals (v' - v)^2. The latter is computed: it is bounded
at both ends of the noise levels.
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
from ff_jax.fixers.eigent.noise_schedule import NoiseLevels, ScheduleConfig, add_noise, noise_levels, v_target
from ff_jax.fixers.eigent.transformer import Dit
from ff_jax.runtime.settings import Settings, bounded


@dataclass(frozen=True)
class DenoisingLossConfig(Settings):
    """The loss (hashable: a static argument).

    Attributes:
        eig: lambda, weight of the term that is weighted by EIG.
        dropout: share of the samples without EIG and without that term.
        noise: mean and standard deviation of log sigma; noise of deviation sigma is added to the render's latents.
        schedule: noise levels.
    """

    eig: float = bounded(1.0, 0.0, 1e6)
    dropout: float = bounded(0.05, 0.0, 1.0)
    noise: tuple[float, float] = bounded((-3.0, 0.5), -50.0, 50.0)
    schedule: ScheduleConfig = ScheduleConfig()


class Clips(NamedTuple):
    """A training batch of latents, scaled for the transformer."""

    clean: Array  # (B, F, h, w, C), latents of the true frames; frame 0 is the image the clip starts from
    render: Array  # (B, F, h, w, C), latents of the renders
    eig: Array  # (B, F, h, w), saturating EIG in [0, 1], 0 in frame 0 (`eig_conditioning.latent_eig`)
    reference: Array  # (B, F, h, w, C), latents of the frames repaired one by one
    text: Array  # (B, L, D), embeddings of the prompts' tokens
    recorded: Array | None = None  # (B, F, h, w, C), latents of re-projected recorded images


class NoisyBatch(NamedTuple):
    """Inputs and targets of the network, made from a batch."""

    t: Array  # (B,), time steps
    latents: Array  # (B, F, h, w, C), noisy; frame 0 is the clean one
    v: Array  # (B, F, h, w, C), target
    render: Array  # (B, F, h, w, C), with a little noise
    eig: Array  # (B, F, h, w), 0 in samples without it


def draw_noisy(keys: Key[Array, "B"], clips: Clips, config: DenoisingLossConfig) -> NoisyBatch:
    """Draw noisy inputs; sample i depends on keys[i] alone, not on the rest of the batch."""
    table = noise_levels(config.schedule)
    return jax.vmap(lambda key, clip: _draw_sample(key, clip, table, config))(keys, clips)


def make_loss(
    backbone: Dit, branch: ContextBranch, config: DenoisingLossConfig
) -> Callable[[PyTree, PyTree, Clips, Array], tuple[Array, dict[str, Array]]]:
    """Make loss(params, frozen, clips, keys) -> (loss, {"error", "eig_error"}), for `training.loop.make_step`.

    `params` are the branch's parameters, `frozen` the backbone's, and there is one key per sample. The metrics are the
    two means of the loss. A backbone with a conditioning image sees frame 0; that frame is excluded from the loss.

    Args:
        backbone: with the dtype and `remat` of the training: its activations are needed although it is frozen.
        branch: of the same size.
        config: of the loss.

    Raises:
        ValueError: the two networks have different sizes.
    """
    if branch.config != backbone.config:
        raise ValueError(f"the branch's {branch.config} is not the backbone's {backbone.config}: use one for both.")

    def loss(params: PyTree, frozen: PyTree, clips: Clips, keys: Array) -> tuple[Array, dict[str, Array]]:
        drawn = draw_noisy(keys, clips, config)
        more = () if clips.recorded is None else (clips.recorded,)
        inputs = pad_to_tokens(backbone.config, drawn.latents, drawn.render, drawn.eig, clips.reference, *more)
        injections = jnp.asarray(branch.apply({"params": params}, *inputs[:4], clips.text, drawn.t, *inputs[4:]))
        v = predict_v(backbone, frozen, drawn.latents, clips.text, drawn.t, injections)
        square = jnp.square(v.astype(jnp.float32) - drawn.v)[:, 1:]
        error, eig_error = jnp.mean(square), jnp.mean(drawn.eig[:, 1:, ..., None] * square)
        return error + config.eig * eig_error, {"error": error, "eig_error": eig_error}

    return loss


def make_pretraining_loss(
    backbone: Dit, config: DenoisingLossConfig
) -> Callable[[PyTree, PyTree, Clips, Array], tuple[Array, dict[str, Array]]]:
    """Make the loss of the backbone alone: the squared error of v on clean clips, frame 0 excluded.

    `params` are the backbone's parameters; nothing is frozen. Only `clean` and `text` of the clips are used.
    """

    def loss(params: PyTree, frozen: PyTree, clips: Clips, keys: Array) -> tuple[Array, dict[str, Array]]:
        drawn = draw_noisy(keys, clips, config)
        v = predict_v(backbone, params, drawn.latents, clips.text, drawn.t)
        return jnp.mean(jnp.square(v.astype(jnp.float32) - drawn.v)[:, 1:]), {}

    return loss


def predict_v(
    backbone: Dit,
    params: PyTree,
    latents: Float[Array, "B F h w C"],
    text: Float[Array, "B L D"],
    t: Num[Array, "B"],
    injections: Float[Array, "G B N width"] | None = None,
) -> Float[Array, "B F h w C"]:
    """Predict v of noisy latents whose frame 0 is clean; a backbone with a conditioning image sees that frame.

    Args:
        backbone: the transformer.
        params: its parameters.
        latents: of any number of frames (see `pad_to_tokens`).
        text: embeddings of the prompts' tokens.
        t: time steps.
        injections: of a branch, for the tokens of padded latents.
    """
    config = backbone.config
    (padded,) = pad_to_tokens(config, latents)
    image = jnp.zeros_like(padded).at[:, 0].set(config.image_scale * padded[:, 0])
    joined = jnp.concatenate([padded, image], -1)[..., : config.in_channels]
    v = jnp.asarray(backbone.apply({"params": params}, joined, text, t, injections))
    return v[:, -latents.shape[1] :]


def pad_to_tokens(config: DitConfig, *latents: Float[Array, "B F *_"]) -> list[Float[Array, "B G *_"]]:
    """Repeat the first frame of latents, or of maps of their size, in front until the frames fill whole tokens.

    CogVideoX 1.5 pads in the same way and drops the added frames again. Here frame 0 is clean, and so are its copies.
    """
    missing = -latents[0].shape[1] % config.patch_time
    return [jnp.concatenate([part[:, :1]] * missing + [part], 1) for part in latents]


def _draw_sample(key: Key[Array, ""], clip: Clips, table: NoiseLevels, config: DenoisingLossConfig) -> NoisyBatch:
    """Draw one sample; arrays are without their leading axis."""
    time_key, noise_key, drop_key, sigma_key, render_key = jax.random.split(key, 5)
    t = jax.random.randint(time_key, (), 0, config.schedule.steps)
    eps = jax.random.normal(noise_key, clip.clean.shape)
    at = NoiseLevels(table.signal[t], table.noise[t])
    latents = add_noise(clip.clean, eps, at).at[0].set(clip.clean[0])
    mean, deviation = config.noise
    sigma = jnp.exp(mean + deviation * jax.random.normal(sigma_key))
    render = clip.render + sigma * jax.random.normal(render_key, clip.render.shape)
    keeps_eig = jax.random.uniform(drop_key) >= config.dropout
    return NoisyBatch(t, latents, v_target(clip.clean, eps, at), render, clip.eig * keeps_eig)
