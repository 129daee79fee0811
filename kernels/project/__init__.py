"""EWA projection of Gaussians to an image plane."""

from kernels.project.api import Projected, project
from kernels.project.spherical_harmonics import sh_basis, sh_color

__all__ = ["Projected", "project", "sh_basis", "sh_color"]
