"""Difix with EIG: a one-step diffusion network that repairs a frame beside a reference, told what is not known.

config      settings: `tiny` and `published`
model       the network: vae -> unet (guidance) -> one_step -> vae
aligned     references that are re-projected into the frame
lora        low-rank updates
losses      what it is trained on
fixer       the network as a fixer (tiles)
fitting     its training from scratch
pretrained  weights in a file, and those that ship
"""

from ff_jax.fixers.difix._torchvision_workaround import hide_unfit_torchvision

hide_unfit_torchvision()  # before diffusers is imported

from diffusers.utils import logging  # noqa: E402

# Before the imports below: every Flax class says where it is defined, and whenever it is used, that it ends with 0.39.
logging.set_verbosity_error()

from ff_jax.fixers.difix.config import DifixConfig, LossWeights, UNetConfig, VaeConfig, published, tiny  # noqa: E402
from ff_jax.fixers.difix.fixer import init_params, make_fixer  # noqa: E402
from ff_jax.fixers.difix.losses import loss  # noqa: E402

__all__ = [
    "DifixConfig",
    "LossWeights",
    "UNetConfig",
    "VaeConfig",
    "init_params",
    "loss",
    "make_fixer",
    "published",
    "tiny",
]
