"""All networks of EIGent together: from a rendered clip, its EIG and references to a repaired one.

Parameters are {"vae", "moments", "backbone", "branch", "text"}, and "details" where the decoder sees them. Moments are
mean and deviation of the latents' channels: the transformer sees latents of mean 0 and deviation 1.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import DTypeLike
from jaxtyping import Float, Key, PyTree

from ff_jax.eig import eig_weight
from ff_jax.fixers.eigent import detail_decoder, vae
from ff_jax.fixers.eigent.config import EigentConfig
from ff_jax.fixers.eigent.context_branch import ContextBranch, branch_params
from ff_jax.fixers.eigent.denoising_loss import predict, whole
from ff_jax.fixers.eigent.detail_decoder import Change, Details
from ff_jax.fixers.eigent.eig_conditioning import latent_eig
from ff_jax.fixers.eigent.noise_schedule import Levels, make_steps, noisy
from ff_jax.fixers.eigent.sampler import sample
from ff_jax.fixers.eigent.transformer import Dit
from ff_jax.fixers.eigent.vae_layers import Decoder

_CLOSED = ("norm1/linear", "norm2/linear", "head/proj_out")  # start at zero: every block is the identity


@functools.cache
def shapes(config: EigentConfig) -> PyTree:
    """Return shape and dtype of every parameter, without making any."""
    dit, video = config.dit, config.vae
    latents = jnp.zeros((1, *dit.sample, dit.in_channels))
    text, side = jnp.zeros((1, dit.text_length, dit.text_dim)), video.factor

    def make(key: Key[Array, ""]) -> PyTree:
        backbone = Dit(dit).init(key, latents, text, jnp.zeros(1))["params"]
        found = {"vae": vae.init_params(key, video), "backbone": backbone, "text": text[0]}
        found |= {"branch": branch_params(backbone, dit, config.blocks)}
        found |= {"moments": {name: jnp.zeros(video.latent_channels) for name in ("mean", "deviation")}}
        if config.detailed:
            clip = jnp.zeros((1, config.frames, side, side, detail_decoder.CHANNELS))
            found["details"] = Details(video).init(key, clip)["params"]
        return found

    return jax.eval_shape(make, jax.random.key(0))


def init(key: Key[Array, ""], config: EigentConfig) -> PyTree:
    """Return untrained parameters: kernels Gaussian with deviation 1 / sqrt(fan-in), every block the identity.

    The branch is the copy of the backbone, the text embedding zero, and details add nothing to the decoder.
    """
    # Drawn on the host: compiling one draw per layer would take minutes.
    rng = np.random.default_rng(np.asarray(jax.random.key_data(key)))

    def draw(path: tuple, leaf: jax.ShapeDtypeStruct) -> Array:
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        closed = any(f"{part}/" in name for part in _CLOSED) or name.startswith("details/out_")
        if not name.endswith("kernel") or closed:
            return jnp.full(leaf.shape, float(name.endswith(("scale", "deviation"))), jnp.float32)
        fan_in = np.prod(leaf.shape[name.startswith("backbone/blocks") : -1])
        return jnp.asarray(rng.standard_normal(leaf.shape, np.float32) / np.sqrt(fan_in))

    params = jax.tree_util.tree_map_with_path(draw, shapes(config))
    return params | {"branch": branch_params(params["backbone"], config.dit, config.blocks)}


def begin_details(decoder: PyTree) -> PyTree:
    """Return the decoder with a last layer of zero: what it makes of any latents changes nothing."""
    return decoder | {"conv_out": jax.tree.map(jnp.zeros_like, decoder["conv_out"])}


def encode(params: PyTree, video: Float[Array, "B T H W 3"], config: EigentConfig) -> Float[Array, "B f h w C"]:
    """Return the latents that the transformer sees, without noise."""
    found = vae.encode(config.vae, params["vae"], video, _dtype(config)).mean
    return (found - params["moments"]["mean"]) / params["moments"]["deviation"]


def known(eig: Float[Array, "B T H W"], config: EigentConfig) -> Float[Array, "B f h w"]:
    """Return EIG (nats, not negative) as the transformer sees it: saturating, at the resolution of the latents."""
    return latent_eig(eig_weight(eig, config.eig_scale), config.vae.time_factor, config.vae.factor)


def generate(
    params: PyTree,
    key: Key[Array, ""],
    render: Float[Array, "B f h w C"],
    eig: Float[Array, "B f h w"],
    reference: Float[Array, "B f h w C"],
    config: EigentConfig,
    implementation: str | None = None,
) -> Float[Array, "B f h w C"]:
    """Return latents of the repaired clip; frame 0 is the render's, which is given.

    Args:
        params: of all networks.
        key: of the noise.
        render: latents of the render, frame 0 that of a true or already repaired image.
        eig: of `known`.
        reference: latents of the references.
        config: networks and sampling.
        implementation: of the attention: see `generators.attention`.
    """
    if config.steps == 0:
        return render
    backbone = Dit(config.dit, _dtype(config), implementation)
    branch = ContextBranch(config.dit, config.blocks, config.saturated, _dtype(config), implementation)
    text = jnp.broadcast_to(params["text"], (len(render), *params["text"].shape))

    def denoise(x: Array, t: Array) -> Array:
        x = x.at[:, 0].set(render[:, 0])
        seen = whole(config.dit, x, render, eig, reference)
        injections = branch.apply({"params": params["branch"]}, *seen, text, t)
        return predict(backbone, params["backbone"], x, text, t, injections)

    steps = make_steps(config.schedule, config.steps, config.solver, config.strength)
    first, rest = jax.random.split(key)
    start = Levels(steps.levels.signal[0], steps.levels.noise[0])
    noise = noisy(render, jax.random.normal(first, render.shape), start)
    return sample(denoise, rest, noise, steps).at[:, 0].set(render[:, 0])


def decode_change(
    params: PyTree,
    latents: Float[Array, "B f h w C"],
    frames: Float[Array, "B T H W 3"],
    eig: Float[Array, "B T H W"],
    references: Float[Array, "B T H W 3"],
    config: EigentConfig,
) -> Change:
    """Return what generated latents change in the frames.

    Args:
        params: of all networks.
        latents: of `generate`.
        frames: the render.
        eig: nats, not negative.
        references: re-projected into the frames.
        config: networks.
    """
    latents = latents * params["moments"]["deviation"] + params["moments"]["mean"]
    if not config.detailed:
        decoded = vae.decode(config.vae, params["vae"], latents, _dtype(config))
        return Change(decoded - frames, jnp.zeros_like(frames[..., :1]))
    dtype = _dtype(config)
    seen = Details(config.vae, dtype).apply(
        {"params": params["details"]}, detail_decoder.features(frames, eig, references)
    )
    scaled = (latents / config.vae.scale).astype(dtype)
    decoder = Decoder(config.vae, dtype)
    decoded, _ = decoder.apply({"params": params["vae"]["decoder"]}, scaled, seen, mutable=["cache"])
    return detail_decoder.change(decoded.astype(jnp.float32))


def repair(
    params: PyTree,
    key: Key[Array, ""],
    frames: Float[Array, "B T H W 3"],
    eig: Float[Array, "B T H W"],
    references: Float[Array, "B T H W 3"],
    config: EigentConfig,
) -> Change:
    """Return what the networks change in rendered clips.

    Args:
        params: of all networks.
        key: of the noise.
        frames: renders, colours in [0, 1]; frame 0 is given, a true or already repaired image. Their number is
            `config.frames`, their sides are multiples of `config.stride`.
        eig: nats, not negative.
        references: re-projected or repaired frames.
        config: networks and sampling.
    """
    eig = eig if config.told else jnp.zeros_like(eig)
    render, reference = (encode(params, video, config) for video in (frames, references))
    latents = generate(params, key, render, known(eig, config), reference, config)
    return decode_change(params, latents, frames, eig, references, config)


def _dtype(config: EigentConfig) -> DTypeLike:
    return jnp.dtype(config.dtype)
