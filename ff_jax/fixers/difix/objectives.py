"""Training a Difix network from scratch on pairs: first its autoencoder, then all of it."""

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Key, PyTree

from ff_jax.eig import eig_weight
from ff_jax.fixers.blending import blend
from ff_jax.fixers.difix import model, vae
from ff_jax.fixers.difix.config import DifixConfig
from ff_jax.fixers.difix.losses import compare
from ff_jax.fixers.pair_files import psnr
from ff_jax.fixers.self_fit.crops import Triples
from ff_jax.fixers.training.state import Loss, join

# What the network is told of EIG and by which parameters: frozen at zero, it is not told.
GUIDANCE = {"channels": ("guidance/conv_in", "guidance/stem/eig"), "modulation": ("guidance/strength",)}
_SMALL = 1e-4  # weight of the latents' size, which nothing else bounds


def autoencoder_loss(config: DifixConfig) -> Loss:
    """Return the loss of the autoencoder alone, on true images and without skip connections.

    The trained parameters are those of the autoencoder, {"vae"}; nothing is frozen.
    """
    skips = jax.tree.map(jnp.zeros_like, vae.init_skips(config))

    def loss(
        params: PyTree, frozen: PyTree, batch: Triples, keys: Key[Array, "B"]
    ) -> tuple[Float[Array, ""], dict[str, Array]]:
        images = 2.0 * batch.targets - 1.0
        latents, starts = vae.encode(params["vae"], images, config)
        given = [jnp.concatenate([start] * (1 + config.aligned), -1) for start in starts]
        error = vae.decode(params["vae"], skips, latents, given, config)[..., :3] - images
        return jnp.mean(jnp.square(error)) + _SMALL * jnp.mean(jnp.square(latents)), {}

    return loss


def begin(params: PyTree) -> PyTree:
    """Return the parameters with a zero last layer of the decoder: with aligned references, the identity again."""
    decoder = params["vae"]["decoder"]
    decoder = decoder | {"conv_out": jax.tree.map(jnp.zeros_like, decoder["conv_out"])}
    return params | {"vae": params["vae"] | {"decoder": decoder}}


def fixer_loss(config: DifixConfig, drop: float) -> Loss:
    """Return the loss of the network (see `losses.loss`); its metric "gain" is what the final blend gains, dB.

    What is frozen are {"params": the parameters that are not trained, "vgg": LPIPS with VGG16, or None}.

    Args:
        config: layout, and weights of the terms.
        drop: share of the samples whose EIG the network is not told, so that it also learns to see by itself what is
            wrong; the loss knows it all the same.
    """

    def loss(
        params: PyTree, frozen: PyTree, batch: Triples, keys: Key[Array, "B"]
    ) -> tuple[Float[Array, ""], dict[str, Array]]:
        told = ~jax.vmap(lambda key: jax.random.bernoulli(key, drop))(keys)
        eig = batch.eigs * told[:, None, None]
        network = join(params, frozen["params"])
        fixed = model.repair(network, batch.renders, eig, batch.references, config)
        final = blend(jnp.clip(fixed, 0.0, 1.0), batch.renders, eig_weight(batch.eigs, config.kappa))
        gain = jnp.mean(psnr(final, batch.targets) - psnr(batch.renders, batch.targets))
        return compare(fixed, batch, keys[0], config, frozen["vgg"]), {"gain": gain}

    return loss
