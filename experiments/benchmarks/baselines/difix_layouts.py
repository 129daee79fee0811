"""Sizes at which the image fixer is timed beside PyTorch."""

from ff_jax.fixers.difix.config import DifixConfig, UNetConfig, VaeConfig, published

LAYOUTS = {
    "published": published(),
    "tiny": DifixConfig(
        unet=UNetConfig(channels=(32, 64), heads=(2, 4), layers=1, context=24, tokens=5),
        vae=VaeConfig(channels=(16, 32), layers=1, groups=8),
        size=(64, 64),
        tile=(64, 64),
        overlap=8,
    ),
}
