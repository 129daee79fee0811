"""Per-Gaussian Fisher information of a view, and the per-pixel expected information gain (EIG) map."""

from kernels.fisher.api import eig_map, fisher_information

__all__ = ["eig_map", "fisher_information"]
