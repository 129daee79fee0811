"""Sizes at which the image fixer and its PyTorch baseline are timed."""

from ff_jax.fixers.difix.config import DifixConfig, ImageVaeConfig, UNetConfig, published

LAYOUTS = {
    "published": published(),
    "tiny": DifixConfig(
        unet=UNetConfig(channels=(32, 64), heads=(2, 4), layers=1, context=24, tokens=5),
        vae=ImageVaeConfig(channels=(16, 32), layers=1, groups=8),
        size=(64, 64),
        tile=(64, 64),
        overlap=8,
    ),
}
