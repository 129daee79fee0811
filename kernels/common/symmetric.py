"""Packed symmetric matrices: the upper triangle, row by row."""

import numpy as np
from jax import Array
from jaxtyping import Float


def pack_symmetric(matrix: Float[Array, "*n d d"]) -> Float[Array, "*n packed"]:
    """Pack symmetric matrices into their row-major upper triangles, d (d + 1) / 2 numbers each."""
    rows, columns = np.triu_indices(matrix.shape[-1])
    return matrix[..., rows, columns]


def unpack_symmetric(packed: Float[Array, "*n packed"], size: int) -> Float[Array, "*n size size"]:
    """Unpack row-major upper triangles into full symmetric matrices."""
    index = np.zeros((size, size), np.int32)
    rows, columns = np.triu_indices(size)
    index[rows, columns] = index[columns, rows] = np.arange(len(rows))
    return packed[..., index]
