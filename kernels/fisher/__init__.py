"""Per-Gaussian Fisher sums of a view and the per-pixel expected information gain map."""

from kernels.fisher.api import accumulate, eig_map

__all__ = ["accumulate", "eig_map"]
