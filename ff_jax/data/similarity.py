"""Similarities of 3D space (a scale, a rotation and a translation) as 4x4 matrices, and their fit to points."""

import numpy as np
from jaxtyping import Bool, Float

TOLERANCE = 1e-3  # largest entry of R^T R - I; calibrations printed with four digits pass
EXACT = 1e-3  # residual, as a share of the extent of the points, that never makes a point wrong

Array = np.ndarray


def is_similarity(matrix: Float[Array, "..."]) -> bool:
    """Test whether a matrix is a 4x4 similarity: s R, a translation, and the last row 0 0 0 1, with s > 0."""
    if matrix.shape != (4, 4) or not np.isfinite(matrix).all() or (matrix[3] != (0, 0, 0, 1)).any():
        return False
    determinant = np.linalg.det(matrix[:3, :3])
    if not determinant > 0:
        return False
    rotation = matrix[:3, :3] / np.cbrt(determinant)
    return bool(np.abs(rotation.T @ rotation - np.eye(3)).max() <= TOLERANCE)


def split_similarity(matrix: Float[Array, "4 4"]) -> tuple[float, Float[Array, "3 3"], Float[Array, "3"]]:
    """Split a similarity into its scale, rotation and translation."""
    scale = float(np.cbrt(np.linalg.det(matrix[:3, :3])))
    return scale, matrix[:3, :3] / scale, matrix[:3, 3]


def fit_similarity(source: Float[Array, "N 3"], target: Float[Array, "N 3"]) -> Float[Array, "4 4"]:
    """Fit the similarity that maps points to others in the least squares (Umeyama 1991, IEEE PAMI 13(4)).

    Args:
        source: at least three points; if all are in one place, the scale is 0.
        target: where they should be.
    """
    centers = source.mean(0), target.mean(0)
    a, b = source - centers[0], target - centers[1]
    u, values, vt = np.linalg.svd(b.T @ a / len(a))
    signs = np.array([1.0, 1.0, np.sign(np.linalg.det(u) * np.linalg.det(vt))])
    rotation = u * signs @ vt
    scale = float((values * signs).sum() / max(np.square(a).sum(1).mean(), 1e-300))
    result = np.eye(4)
    result[:3, :3] = scale * rotation
    result[:3, 3] = centers[1] - scale * rotation @ centers[0]
    return result


def robust_similarity(
    source: Float[Array, "N 3"], target: Float[Array, "N 3"], rng: np.random.Generator, *, trials: int = 300
) -> tuple[Float[Array, "4 4"], Bool[Array, "N"]]:
    """Fit a similarity to points of which up to nearly half may be wrong (least median of squares, Rousseeuw 1984).

    Args:
        source: at least three points.
        target: where they should be.
        rng: draws the samples of three points.
        trials: number of samples.

    Returns:
        The similarity, and which points it was finally fitted to: those within 2.5 robust standard deviations.
    """
    best, smallest = None, np.inf
    for _ in range(trials):
        rows = rng.choice(len(source), 3, replace=False)
        if np.ptp(source[rows], axis=0).max() == 0:
            continue
        matrix = fit_similarity(source[rows], target[rows])
        median = np.median(residuals(matrix, source, target))
        if median < smallest:
            best, smallest = matrix, median
    if best is None:
        best = fit_similarity(source, target)
    # 1.4826 makes the median a standard deviation of normal errors, and the factor corrects for few points.
    bound = 2.5 * 1.4826 * (1 + 5 / max(len(source) - 3, 1)) * smallest
    bound = max(bound, EXACT * float(np.linalg.norm(np.ptp(target, axis=0))))
    inside = residuals(best, source, target) <= bound
    if inside.sum() < 3:
        return best, inside
    return fit_similarity(source[inside], target[inside]), inside


def residuals(
    matrix: Float[Array, "4 4"], source: Float[Array, "N 3"], target: Float[Array, "N 3"]
) -> Float[Array, "N"]:
    """Compute the distances of the mapped points from their targets."""
    return np.linalg.norm(source @ matrix[:3, :3].T + matrix[:3, 3] - target, axis=1)
