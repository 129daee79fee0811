"""Per-Gaussian Fisher sums of a view and the per-pixel expected information gain map."""

from kernels.fisher.api import accumulate, eig_map
from kernels.fisher.footprint_jacobian import Geometry

__all__ = ["Geometry", "accumulate", "eig_map"]
