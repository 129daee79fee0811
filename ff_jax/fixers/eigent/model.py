"""All networks of EIGent together: from a rendered clip, its EIG and references to a repaired clip.

Parameters are {"vae", "moments", "backbone", "branch", "text"}, and "details" with a detail decoder. Moments are mean
and deviation of the latents' channels: the transformer sees latents of mean 0 and deviation 1.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import DTypeLike
from jaxtyping import Float, Key, PyTree

from ff_jax.eig import eig_weight
from ff_jax.fixers.attention import Implementation
from ff_jax.fixers.eigent import detail_decoder, vae
from ff_jax.fixers.eigent.config import EigentConfig
from ff_jax.fixers.eigent.context_branch import ContextBranch, branch_params
from ff_jax.fixers.eigent.denoising_loss import pad_to_tokens, predict_v
from ff_jax.fixers.eigent.detail_decoder import Change, Details
from ff_jax.fixers.eigent.eig_conditioning import latent_eig
from ff_jax.fixers.eigent.noise_schedule import NoiseLevels, add_noise, make_solver_steps
from ff_jax.fixers.eigent.sampler import sample
from ff_jax.fixers.eigent.transformer import Dit
from ff_jax.fixers.eigent.vae_layers import VideoDecoder

_ZERO = ("norm1/linear", "norm2/linear", "head/proj_out")  # start at zero: every block is the identity


@functools.cache
def shapes(config: EigentConfig) -> PyTree:
    """Compute shape and dtype of every parameter, without arrays."""
    dit, video = config.dit, config.vae
    latents = jnp.zeros((1, *dit.sample, dit.in_channels))
    text, side = jnp.zeros((1, dit.text_length, dit.text_dim)), video.factor

    def make(key: Key[Array, ""]) -> PyTree:
        backbone = Dit(dit).init(key, latents, text, jnp.zeros(1))["params"]
        params = {"vae": vae.init_params(key, video), "backbone": backbone, "text": text[0]}
        params |= {"branch": branch_params(backbone, dit, config.blocks, config.is_two_stage)}
        params |= {"moments": {name: jnp.zeros(video.latent_channels) for name in ("mean", "deviation")}}
        if config.has_detail_decoder:
            clip = jnp.zeros((1, config.frames, side, side, detail_decoder.CHANNELS))
            params["details"] = Details(video).init(key, clip)["params"]
        return params

    return jax.eval_shape(make, jax.random.key(0))


def init(key: Key[Array, ""], config: EigentConfig) -> PyTree:
    """Draw untrained parameters: kernels Gaussian with deviation 1 / sqrt(fan-in), every block the identity.

    The branch is a copy of the backbone, the text embedding is zero, and details add nothing to the decoder.
    """
    # NoisyBatch on the host: compiling one draw per layer would take minutes.
    rng = np.random.default_rng(np.asarray(jax.random.key_data(key)))

    def draw_leaf(path: tuple, leaf: jax.ShapeDtypeStruct) -> Array:
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        is_zero = any(f"{part}/" in name for part in _ZERO) or name.startswith("details/out_")
        if not name.endswith("kernel") or is_zero:
            return jnp.full(leaf.shape, float(name.endswith(("scale", "deviation"))), jnp.float32)
        fan_in = np.prod(leaf.shape[name.startswith("backbone/blocks") : -1])
        return jnp.asarray(rng.standard_normal(leaf.shape, np.float32) / np.sqrt(fan_in))

    params = jax.tree_util.tree_map_with_path(draw_leaf, shapes(config))
    branch = branch_params(params["backbone"], config.dit, config.blocks, config.is_two_stage)
    return params | {"branch": branch}


def encode(params: PyTree, video: Float[Array, "B T H W 3"], config: EigentConfig) -> Float[Array, "B f h w C"]:
    """Encode videos as latents that the transformer sees, without noise."""
    latents = vae.encode(config.vae, params["vae"], video, _dtype(config)).mean
    return (latents - params["moments"]["mean"]) / params["moments"]["deviation"]


def eig_condition(eig: Float[Array, "B T H W"], config: EigentConfig) -> Float[Array, "B f h w"]:
    """Saturate EIG (nats, not negative) and reduce it to the resolution of the latents."""
    return latent_eig(eig_weight(eig, config.eig_scale), config.vae.time_factor, config.vae.factor)


def generate(
    params: PyTree,
    key: Key[Array, ""],
    render: Float[Array, "B f h w C"],
    eig: Float[Array, "B f h w"],
    reference: Float[Array, "B f h w C"],
    config: EigentConfig,
    implementation: Implementation | None = None,
    recorded: Float[Array, "B f h w C"] | None = None,
) -> Float[Array, "B f h w C"]:
    """Generate latents of the repaired clip; frame 0 is the render's.

    Args:
        params: of all networks.
        key: random key of the noise.
        render: latents of the render, frame 0 that of a true or already repaired image.
        eig: from `eig_condition`.
        reference: latents of the frames that the branch attends to: of the references, or of the one-step fixer.
        config: networks and sampling.
        implementation: of the attention: see `fixers.attention`.
        recorded: latents of the references, with `config.is_two_stage`.
    """
    if config.steps == 0:
        return render
    backbone = Dit(config.dit, _dtype(config), implementation)
    branch = make_branch(config, implementation)
    text = jnp.broadcast_to(params["text"], (len(render), *params["text"].shape))

    def denoise(x: Array, t: Array) -> Array:
        x = x.at[:, 0].set(render[:, 0])
        more = () if recorded is None else (recorded,)
        inputs = pad_to_tokens(config.dit, x, render, eig, reference, *more)
        injections = jnp.asarray(branch.apply({"params": params["branch"]}, *inputs[:4], text, t, *inputs[4:]))
        return predict_v(backbone, params["backbone"], x, text, t, injections)

    steps = make_solver_steps(config.schedule, config.steps, config.solver, config.strength)
    noise_key, solver_key = jax.random.split(key)
    start = NoiseLevels(steps.levels.signal[0], steps.levels.noise[0])
    noise = add_noise(render, jax.random.normal(noise_key, render.shape), start)
    return sample(denoise, solver_key, noise, steps).at[:, 0].set(render[:, 0])


def make_branch(config: EigentConfig, implementation: Implementation | None = None) -> ContextBranch:
    """Make the context branch."""
    return ContextBranch(
        config.dit,
        config.blocks,
        config.eig_saturation,
        _dtype(config),
        implementation,
        has_recorded=config.is_two_stage,
    )


def decode_change(
    params: PyTree,
    latents: Float[Array, "B f h w C"],
    frames: Float[Array, "B T H W 3"],
    eig: Float[Array, "B T H W"],
    references: Float[Array, "B T H W 3"],
    config: EigentConfig,
) -> Change:
    """Decode generated latents as a change of the frames.

    Args:
        params: of all networks.
        latents: from `generate`.
        frames: the render.
        eig: nats, not negative.
        references: re-projected into the frames.
        config: networks.
    """
    latents = latents * params["moments"]["deviation"] + params["moments"]["mean"]
    if not config.has_detail_decoder:
        decoded = vae.decode(config.vae, params["vae"], latents, _dtype(config))
        return Change(decoded - frames, jnp.zeros_like(frames[..., :1]))
    dtype = _dtype(config)
    features = detail_decoder.features(frames, eig, references)
    details = Details(config.vae, dtype).apply({"params": params["details"]}, features)
    scaled = (latents / config.vae.scale).astype(dtype)
    decoder = VideoDecoder(config.vae, dtype)
    decoded, _ = decoder.apply({"params": params["vae"]["decoder"]}, scaled, details, mutable=["cache"])
    return detail_decoder.split_channels(decoded.astype(jnp.float32))


def repair(
    params: PyTree,
    key: Key[Array, ""],
    frames: Float[Array, "B T H W 3"],
    eig: Float[Array, "B T H W"],
    references: Float[Array, "B T H W 3"],
    config: EigentConfig,
    repaired: Float[Array, "B T H W 3"] | None = None,
) -> Change:
    """Compute the networks' change of rendered clips.

    Args:
        params: of all networks.
        key: random key of the noise.
        frames: `config.frames` renders, colors in [0, 1]; frame 0 is a true or already repaired image. Their sides are
            multiples of `config.stride`.
        eig: nats, not negative.
        references: re-projected or repaired frames.
        config: networks and sampling.
        repaired: the frames repaired one by one, with `config.is_two_stage`.
    """
    eig = eig if config.conditioned_on_eig else jnp.zeros_like(eig)
    render, reference = (encode(params, video, config) for video in (frames, references))
    recorded = None if repaired is None else reference
    reference = reference if repaired is None else encode(params, repaired, config)
    latents = generate(params, key, render, eig_condition(eig, config), reference, config, recorded=recorded)
    return decode_change(params, latents, frames, eig, references, config)


def _dtype(config: EigentConfig) -> DTypeLike:
    return jnp.dtype(config.dtype)
