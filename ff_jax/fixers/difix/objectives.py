"""Losses of a Difix network that is trained from scratch on pairs: of its autoencoder, then of the whole network."""

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Key, PyTree

from ff_jax.eig import eig_weight
from ff_jax.fixers.blending import blend
from ff_jax.fixers.difix import model, vae
from ff_jax.fixers.difix.config import DifixConfig
from ff_jax.fixers.difix.losses import compare
from ff_jax.fixers.training.state import Loss, join
from ff_jax.fixers.triples import Triples, psnr

# The parameters through which each kind of EIG input enters: frozen at zero, they leave it out.
EIG_INPUTS = {"channels": ("guidance/conv_in", "guidance/stem/eig"), "modulation": ("guidance/strength",)}
_PRIOR = 1e-4  # weight of the squared latents, which nothing else bounds


def autoencoder_loss(config: DifixConfig) -> Loss:
    """Make the loss of the autoencoder alone, on true images and without skip connections.

    The trained parameters are {"vae"}; nothing is frozen.
    """
    skips = jax.tree.map(jnp.zeros_like, vae.init_skips(config))

    def loss(
        params: PyTree, frozen: PyTree, batch: Triples, keys: Key[Array, "B"]
    ) -> tuple[Float[Array, ""], dict[str, Array]]:
        images = 2.0 * batch.targets - 1.0
        latents, features = vae.encode(params["vae"], images, config)
        levels = [jnp.concatenate([level] * (1 + config.use_aligned_references), -1) for level in features]
        error = vae.decode(params["vae"], skips, latents, levels, config)[..., :3] - images
        return jnp.mean(jnp.square(error)) + _PRIOR * jnp.mean(jnp.square(latents)), {}

    return loss


def fixer_loss(config: DifixConfig, eig_dropout: float) -> Loss:
    """Make the loss of the network (see `losses.loss`); its metric is "improvement_db", the PSNR gained by the repair.

    The frozen part is {"params": the parameters that are not trained, "vgg": LPIPS with VGG16, or None}.

    Args:
        config: layout, and weights of the terms.
        eig_dropout: share of the samples whose EIG the network does not see, so that it also learns to find errors in
            the image alone; the loss still uses it.
    """

    def loss(
        params: PyTree, frozen: PyTree, batch: Triples, keys: Key[Array, "B"]
    ) -> tuple[Float[Array, ""], dict[str, Array]]:
        keeps_eig = ~jax.vmap(lambda key: jax.random.bernoulli(key, eig_dropout))(keys)
        eig = batch.eigs * keeps_eig[:, None, None]
        network = join(params, frozen["params"])
        fixed = model.repair(network, batch.renders, eig, batch.references, config)
        final = blend(jnp.clip(fixed, 0.0, 1.0), batch.renders, eig_weight(batch.eigs, config.kappa))
        improvement = jnp.mean(psnr(final, batch.targets) - psnr(batch.renders, batch.targets))
        return compare(fixed, batch, keys[0], config, frozen["vgg"]), {"improvement_db": improvement}

    return loss
