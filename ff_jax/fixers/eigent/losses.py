"""Losses of the two ends of the small model: its autoencoder on true clips, and its decoder that sees details.

Those of the transformer are in `objective`.
"""

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Key, PyTree

from ff_jax.eig import eig_weight
from ff_jax.fixers.blending import blend
from ff_jax.fixers.eigent import detail_decoder, model, vae
from ff_jax.fixers.eigent.config import EigentConfig
from ff_jax.fixers.eigent.latent_cache import Generated
from ff_jax.fixers.eigent.vae_layers import Decoder
from ff_jax.fixers.pair_files import psnr
from ff_jax.fixers.self_fit.crops import Triples
from ff_jax.fixers.training.state import Loss, join

_PRIOR = 1e-4  # weight of the divergence of the latents from a standard normal distribution
_SQUARE, _LPIPS = 2.0, 0.2  # weights of the squared error and of LPIPS; the EIG-weighted absolute error counts once


def autoencoder_loss(config: EigentConfig) -> Loss:
    """Return the loss of the autoencoder on the true frames of clips.

    The trained parameters are {"vae"}, nothing is frozen; its metric is the PSNR of the result, dB.
    """
    dtype = jnp.dtype(config.dtype)

    def loss(
        params: PyTree, frozen: PyTree, batch: Triples, keys: Key[Array, "B"]
    ) -> tuple[Float[Array, ""], dict[str, Array]]:
        found = vae.encode(config.vae, params["vae"], batch.targets, dtype)
        noise = jax.vmap(lambda key: jax.random.normal(key, found.mean.shape[1:]))(keys)
        latents = found.mean + jnp.exp(found.log_variance / 2) * noise
        prior = jnp.square(found.mean) + jnp.exp(found.log_variance) - 1.0 - found.log_variance
        decoder, scaled = Decoder(config.vae, dtype), (latents / config.vae.scale).astype(dtype)
        decoded, _ = decoder.apply({"params": params["vae"]["decoder"]}, scaled, mutable=["cache"])
        images = (decoded[..., :3].astype(jnp.float32) + 1.0) / 2.0
        error = images - batch.targets
        total = 4.0 * jnp.mean(jnp.square(error)) + 0.1 * jnp.mean(jnp.abs(error)) + 0.5 * _PRIOR * jnp.mean(prior)
        return total, {"psnr": jnp.mean(psnr(jnp.clip(images, 0.0, 1.0), batch.targets))}

    return loss


def decoder_loss(config: EigentConfig) -> Loss:
    """Return the loss of the decoder with details on what the transformer generated.

    The trained parameters are {"details", "vae/decoder"}; frozen are {"params": the others, "lpips": LPIPS with VGG16,
    or None}. The loss is the squared error, the absolute error weighted by EIG and LPIPS; its metric "gain" is what
    the blended result gains over the render, dB. The first frame is given and counts for nothing.
    """

    def loss(
        params: PyTree, frozen: PyTree, batch: Generated, keys: Key[Array, "B"]
    ) -> tuple[Float[Array, ""], dict[str, Array]]:
        clips, network = batch.clips, join(params, frozen["params"])
        made = model.decode_change(network, batch.latents, clips.renders, clips.eigs, clips.references, config)
        fixed = detail_decoder.apply(made, clips.renders, clips.references)[:, 1:]
        truth, render, eig = clips.targets[:, 1:], clips.renders[:, 1:], clips.eigs[:, 1:]
        weight = eig_weight(eig, config.kappa)
        error = fixed - truth
        total = _SQUARE * jnp.mean(jnp.square(error)) + jnp.mean(weight * jnp.abs(error).mean(-1))
        if frozen["lpips"] is not None:
            flat = lambda video: video.reshape(-1, *video.shape[2:])
            total += _LPIPS * jnp.mean(frozen["lpips"].distance(flat(fixed), flat(truth)))
        final = blend(jnp.clip(fixed, 0.0, 1.0), render, weight)
        return total, {"gain": jnp.mean(psnr(final, truth) - psnr(render, truth))}

    return loss
