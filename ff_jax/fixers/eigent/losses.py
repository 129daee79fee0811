"""Losses of the small model's autoencoder on true clips, and of its detail decoder.

Those of the transformer are in `denoising_loss`.
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
from ff_jax.fixers.eigent.vae_layers import VideoDecoder
from ff_jax.fixers.training.state import Loss, join
from ff_jax.fixers.triples import Triples, psnr

_PRIOR = 1e-4  # weight of the divergence of the latents from a standard normal distribution
_SQUARE, _LPIPS = 2.0, 0.2  # weights of the squared error and of LPIPS; the EIG-weighted absolute error has weight 1


def autoencoder_loss(config: EigentConfig) -> Loss:
    """Make the loss of the autoencoder on the true frames of clips.

    The trained parameters are {"vae"}; nothing is frozen. The metric "psnr" is that of the result, dB.
    """
    dtype = jnp.dtype(config.dtype)

    def loss(
        params: PyTree, frozen: PyTree, batch: Triples, keys: Key[Array, "B"]
    ) -> tuple[Float[Array, ""], dict[str, Array]]:
        moments = vae.encode(config.vae, params["vae"], batch.targets, dtype)
        noise = jax.vmap(lambda key: jax.random.normal(key, moments.mean.shape[1:]))(keys)
        latents = moments.mean + jnp.exp(moments.log_variance / 2) * noise
        prior = jnp.square(moments.mean) + jnp.exp(moments.log_variance) - 1.0 - moments.log_variance
        decoder, scaled = VideoDecoder(config.vae, dtype), (latents / config.vae.scale).astype(dtype)
        decoded, _ = decoder.apply({"params": params["vae"]["decoder"]}, scaled, mutable=["cache"])
        images = (decoded[..., :3].astype(jnp.float32) + 1.0) / 2.0
        error = images - batch.targets
        total = 4.0 * jnp.mean(jnp.square(error)) + 0.1 * jnp.mean(jnp.abs(error)) + 0.5 * _PRIOR * jnp.mean(prior)
        return total, {"psnr": jnp.mean(psnr(jnp.clip(images, 0.0, 1.0), batch.targets))}

    return loss


def decoder_loss(config: EigentConfig) -> Loss:
    """Make the loss of the detail decoder on latents that the transformer generated.

    The trained parameters are {"details", "vae/decoder"}; frozen are {"params": the others, "lpips": LPIPS with VGG16,
    or None}. The loss is the squared error, the absolute error weighted by EIG, and LPIPS. The metric "improvement_db"
    is the PSNR gained by the blended result over the render. The first frame, a true image, is excluded.
    """

    def loss(
        params: PyTree, frozen: PyTree, batch: Generated, keys: Key[Array, "B"]
    ) -> tuple[Float[Array, ""], dict[str, Array]]:
        clips, network = batch.clips, join(params, frozen["params"])
        change = model.decode_change(network, batch.latents, clips.renders, clips.eigs, clips.references, config)
        fixed = detail_decoder.apply(change, clips.renders, clips.references)[:, 1:]
        truth, render, eig = clips.targets[:, 1:], clips.renders[:, 1:], clips.eigs[:, 1:]
        weight = eig_weight(eig, config.kappa)
        error = fixed - truth
        total = _SQUARE * jnp.mean(jnp.square(error)) + jnp.mean(weight * jnp.abs(error).mean(-1))
        if frozen["lpips"] is not None:
            flat = lambda video: video.reshape(-1, *video.shape[2:])
            total += _LPIPS * jnp.mean(frozen["lpips"].distance(flat(fixed), flat(truth)))
        final = blend(jnp.clip(fixed, 0.0, 1.0), render, weight)
        return total, {"improvement_db": jnp.mean(psnr(final, truth) - psnr(render, truth))}

    return loss
