"""Structural similarity map of two images, differentiable in both modes."""

from kernels.ssim.api import ssim

__all__ = ["ssim"]
