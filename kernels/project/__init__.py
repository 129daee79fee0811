"""EWA projection of Gaussians to an image plane."""

from kernels.project.api import project

__all__ = ["project"]
