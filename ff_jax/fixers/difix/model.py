"""The whole network: encode a frame and its reference, denoise both together in one step, decode the frame."""

import contextlib

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Key, PyTree

from ff_jax.eig import eig_weight
from ff_jax.fixers.difix import eig_conditioning, reference_stem, unet, vae
from ff_jax.fixers.difix.config import DifixConfig
from ff_jax.fixers.difix.eig_conditioning import EigCondition
from ff_jax.fixers.difix.one_step_diffusion import predict_x0


def init(key: Key[Array, ""], config: DifixConfig) -> PyTree:
    """Draw untrained parameters {"unet", "vae", "skips", "guidance", "text"}; the text embedding is zero.

    Kernels are Gaussian with deviation 1 / sqrt(fan-in). With aligned references the decoder's last layer is zero
    instead, so the network starts as the identity.
    """
    # Drawn on the host: compiling one draw per layer would take minutes.
    rng = np.random.default_rng(np.asarray(jax.random.key_data(key)))

    def draw_leaf(path: tuple, leaf: jax.ShapeDtypeStruct) -> Array:
        if path[-1].key == "kernel":
            return jnp.asarray(rng.standard_normal(leaf.shape, np.float32) / np.sqrt(np.prod(leaf.shape[:-1])))
        return jnp.full(leaf.shape, float(path[-1].key == "scale"), jnp.float32)

    unet_shapes = unet.shapes(config)
    params = jax.tree_util.tree_map_with_path(draw_leaf, {"unet": unet_shapes, "vae": vae.shapes(config)})
    text = jnp.zeros((config.unet.tokens, config.unet.context))
    if config.use_aligned_references:
        last = params["vae"]["decoder"]["conv_out"]
        params["vae"]["decoder"]["conv_out"] = jax.tree.map(jnp.zeros_like, last)
    return params | {"skips": vae.init_skips(config), "guidance": _init_guidance(unet_shapes, config), "text": text}


def shapes(config: DifixConfig) -> PyTree:
    """Compute shape and dtype of every parameter, without arrays."""
    networks = {"unet": unet.shapes(config), "vae": vae.shapes(config)}
    rest = jax.eval_shape(lambda: {"skips": vae.init_skips(config)})
    rest |= {"guidance": jax.eval_shape(lambda: _init_guidance(networks["unet"], config))}
    return networks | rest | {"text": jax.ShapeDtypeStruct((config.unet.tokens, config.unet.context), jnp.float32)}


def repair(
    params: PyTree,
    frames: Float[Array, "B H W 3"],
    eig: Float[Array, "B H W"] | None,
    references: Float[Array, "B H W 3"],
    config: DifixConfig,
) -> Float[Array, "B H W 3"]:
    """Compute the network's repair of every pixel, not clipped to [0, 1].

    Args:
        params: from `init`, or converted.
        frames: degraded renders, colors in [0, 1]; sides are multiples of `config.stride`.
        eig: EIG of every pixel, nats, not negative; None is plain Difix.
        references: a real image of about the same content for each frame, colors in [0, 1]; with
            `config.use_aligned_references`, re-projected into the frame by `reprojection.align`.
        config: layout and noise level.

    Raises:
        ValueError: a side is not a multiple of `config.stride`.
    """
    batch, height, width, _ = frames.shape
    aligned = config.use_aligned_references
    if height % config.stride or width % config.stride:
        raise ValueError(f"frames of {height} x {width} pixels: pad both sides to multiples of {config.stride}.")
    images = jnp.stack([frames, references], 1).reshape(-1, height, width, 3)
    with reference_stem.stem(params, frames, eig, references, config) if aligned else contextlib.nullcontext():
        latents, features = vae.encode(params["vae"], 2.0 * images - 1.0, config)
    views = latents.reshape(batch, 2, *latents.shape[1:])
    condition = None if eig is None else EigCondition(params["guidance"], _latent_eig(eig, config))
    noise = unet.predict_noise(params["unet"], views, params["text"], config, condition)
    fixed = predict_x0(views[:, 0], noise[:, 0], config.timestep)
    skips = [reference_stem.stack_views(level) if aligned else level[::2] for level in features]
    decoded = vae.decode(params["vae"], params["skips"], fixed, skips, config)
    return reference_stem.combine(decoded, frames, references) if aligned else 0.5 * (decoded + 1.0)


def _init_guidance(unet_params: PyTree, config: DifixConfig) -> PyTree:
    params = eig_conditioning.init(unet_params, config.vae.latent)
    return params | ({"stem": reference_stem.init_stem(config)} if config.use_aligned_references else {})


def _latent_eig(eig: Float[Array, "B H W"], config: DifixConfig) -> Float[Array, "B 2 h w"]:
    """Saturate EIG and average it to the resolution of the latents: the frame's, and 0 for the reference."""
    frame = eig_conditioning.average_pool(eig_weight(eig, config.eig_scale), config.reduction)
    return jnp.stack([frame, jnp.zeros_like(frame)], 1)
