"""The whole network: encode the frame and its reference, denoise both together in one step, decode the frame."""

import contextlib

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Key, PyTree

from ff_jax.eig import eig_weight
from ff_jax.fixers.difix import eig_conditioning, reference_stem, unet, vae
from ff_jax.fixers.difix.config import DifixConfig
from ff_jax.fixers.difix.eig_conditioning import Guide
from ff_jax.fixers.difix.one_step_diffusion import clean


def init(key: Key[Array, ""], config: DifixConfig) -> PyTree:
    """Return untrained parameters {"unet", "vae", "skips", "guidance", "text"}; the text embedding is zero.

    Kernels are Gaussian with deviation 1 / sqrt(fan-in). With aligned references the decoder's last layer is zero
    instead: the network starts as the identity.
    """
    # Drawn on the host: compiling one draw per layer would take minutes.
    rng = np.random.default_rng(np.asarray(jax.random.key_data(key)))

    def draw(path: tuple, leaf: jax.ShapeDtypeStruct) -> Array:
        if path[-1].key == "kernel":
            return jnp.asarray(rng.standard_normal(leaf.shape, np.float32) / np.sqrt(np.prod(leaf.shape[:-1])))
        return jnp.full(leaf.shape, float(path[-1].key == "scale"), jnp.float32)

    unet_shapes = unet.shapes(config)
    drawn = jax.tree_util.tree_map_with_path(draw, {"unet": unet_shapes, "vae": vae.shapes(config)})
    text = jnp.zeros((config.unet.tokens, config.unet.context))
    if config.aligned:
        last = drawn["vae"]["decoder"]["conv_out"]
        drawn["vae"]["decoder"]["conv_out"] = jax.tree.map(jnp.zeros_like, last)
    return drawn | {"skips": vae.init_skips(config), "guidance": _init_guidance(unet_shapes, config), "text": text}


def shapes(config: DifixConfig) -> PyTree:
    """Return shape and dtype of every parameter, without making any."""
    found = {"unet": unet.shapes(config), "vae": vae.shapes(config)}
    added = jax.eval_shape(lambda: {"skips": vae.init_skips(config)})
    added |= {"guidance": jax.eval_shape(lambda: _init_guidance(found["unet"], config))}
    return found | added | {"text": jax.ShapeDtypeStruct((config.unet.tokens, config.unet.context), jnp.float32)}


def repair(
    params: PyTree,
    frames: Float[Array, "B H W 3"],
    eig: Float[Array, "B H W"] | None,
    references: Float[Array, "B H W 3"],
    config: DifixConfig,
) -> Float[Array, "B H W 3"]:
    """Return what the network makes of the frames: everywhere, and not clipped to [0, 1].

    Args:
        params: from `init`, or converted.
        frames: degraded renders, colours in [0, 1]; sides are multiples of `config.stride`.
        eig: EIG of every pixel, nats, not negative; None is plain Difix.
        references: a real image of about the same content for each, colours in [0, 1]; with `config.aligned`, what
            `generators.align` makes of such images.
        config: layout and noise level.

    Raises:
        ValueError: a side is not a multiple of `config.stride`.
    """
    batch, height, width, _ = frames.shape
    if height % config.stride or width % config.stride:
        raise ValueError(f"frames of {height} x {width} pixels: pad both sides to multiples of {config.stride}.")
    images = jnp.stack([frames, references], 1).reshape(-1, height, width, 3)
    with reference_stem.stem(params, frames, eig, references, config) if config.aligned else contextlib.nullcontext():
        latents, starts = vae.encode(params["vae"], 2.0 * images - 1.0, config)
    views = latents.reshape(batch, 2, *latents.shape[1:])
    guide = None if eig is None else Guide(params["guidance"], _known(eig, config))
    noise = unet.predict_noise(params["unet"], views, params["text"], config, guide)
    fixed = clean(views[:, 0], noise[:, 0], config.timestep)
    given = [reference_stem.both(start) if config.aligned else start[::2] for start in starts]
    decoded = vae.decode(params["vae"], params["skips"], fixed, given, config)
    return reference_stem.combine(decoded, frames, references) if config.aligned else 0.5 * (decoded + 1.0)


def _init_guidance(unet_params: PyTree, config: DifixConfig) -> PyTree:
    found = eig_conditioning.init(unet_params, config.vae.latent)
    return found | ({"stem": reference_stem.init_stem(config)} if config.aligned else {})


def _known(eig: Float[Array, "B H W"], config: DifixConfig) -> Float[Array, "B 2 h w"]:
    """Return EIG as the network sees it, at the resolution of the latents: the frame's, and 0 for the reference."""
    frame = eig_conditioning.coarser(eig_weight(eig, config.eig_scale), config.reduction)
    return jnp.stack([frame, jnp.zeros_like(frame)], 1)
