"""Write the page of a run that shows its scene in a browser."""

from collections.abc import Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Float, Int

from ff_jax.data.recording import Recording
from ff_jax.data.scene_data import Frame
from ff_jax.eig.information import Precision
from ff_jax.eig.posterior import Posterior
from ff_jax.eig.scene_posterior import view_precision
from ff_jax.eig.view_selection import gaussian_eig
from ff_jax.evaluation.renderers import EigRenderer
from ff_jax.evaluation.shifted_views import Target, evenly_spaced
from ff_jax.export.formats.splats import dc_from_rgb
from ff_jax.export.scene_page import FirstView, ScenePage, largest, write_scene_page
from ff_jax.pipeline.run import Run
from ff_jax.render.gaussians import GaussianArrays, on_host
from ff_jax.render.similarity import basis
from ff_jax.runtime.progress import progress
from ff_jax.scene import SceneModel, View, compose
from ff_jax.scene.exposure import apply_exposure
from ff_jax.scene.scene import exposure_of
from ff_jax.scene.sky import sky_color
from ff_jax.train.batches import view_of
from kernels import SH_BAND

NUM_VIEWS = 12  # at most this many views give the EIG of a Gaussian
NUM_FRAMES = 48  # at most this many recorded frames give the colors
SKY_SIZE = 64, 128  # pixels of the panorama
_OUTSIDE = 1e6  # meters: a camera that has a Gaussian in its image comes before all others

Array = np.ndarray


def front_frame(recording: Recording) -> Frame:
    """Find the first recorded frame of the camera that looks ahead: of all at the first time, the one most along x."""
    start = min(frame.time_index for frame in recording.frames)
    ahead = recording.log.world_from_ego[start][:3, 0]
    frames = [frame for frame in recording.frames if frame.time_index == start]
    return max(frames, key=lambda frame: float(frame.world_from_camera[:3, 2] @ ahead))


def write_browser_scene(
    path: Path, version: tuple[str, Run], scene: EigRenderer, targets: Sequence[Target]
) -> Path | None:
    """Write the page of a scene in its colors and colored by EIG; without Gaussians or scored views there is none.

    The first view is that of `front_frame`, and actors are where they are at its time.

    Args:
        path: of the page.
        version: its name and its run.
        scene: the same scene, with its posterior.
        targets: the scored views, of which at most `NUM_VIEWS` give the EIG of a Gaussian.

    Returns:
        The path, or None if there is no page.
    """
    name, run = version
    frame = front_frame(run.recording)
    view = view_of(frame, frame.exposure_id)
    gaussians, rows = _gaussians_at(scene.model, view, run.recording.frames)
    if not gaussians.count or not targets:
        return None
    kept = largest(gaussians)
    chosen = evenly_spaced(list(targets), NUM_VIEWS)
    page = ScenePage(
        title=run.log.name,
        version=name,
        gaussians=GaussianArrays(*(values[kept] for values in gaussians)),
        eig=largest_eig(scene, [target.view for target in chosen], rows[kept], run.batches.batch(0).image.dtype),
        count=gaussians.count,
        eig_meaning=_describe_eig(chosen, run.log.unit),
        view=FirstView(frame.camera, frame.time, frame.K, frame.world_from_camera, frame.width, frame.height),
        sky=_sky(scene.model, view),
        has_actors=scene.models_actors,
    )
    write_scene_page(path, page)
    return path


def largest_eig(
    scene: EigRenderer, views: Sequence[View], rows: Int[Array, "n"], image_dtype: DTypeLike = jnp.uint8
) -> Float[Array, "n"]:
    """Compute for Gaussians, by row, the largest EIG (nats) about each of them that one of the views has.

    `image_dtype` is that of the recorded images, whose program is used (`view_precision`).
    """
    model, posterior = scene.model, scene.posterior.posterior
    prior = Posterior(posterior.geometry[rows], posterior.color[rows], posterior.background)
    result = jnp.zeros(len(rows))
    for view in progress(views, "EIG of the Gaussians"):
        of_view = view_precision(model, view, scene.posterior.noise, image_dtype)
        of_rows = Precision(of_view.geometry[rows], of_view.color[rows], of_view.background)
        result = jnp.maximum(result, _compiled_eig(of_rows, prior))
    return np.asarray(result)


_compiled_eig = jax.jit(gaussian_eig)


def _gaussians_at(model: SceneModel, view: View, frames: Sequence[Frame]) -> tuple[GaussianArrays, Int[Array, "n"]]:
    """Collect the Gaussians at the time of a view, with their `recorded_colors` at its exposure, and their rows."""
    world = jax.jit(compose)(model.scene, view.time)
    rows = np.flatnonzero(world.alive)
    gaussians = GaussianArrays(*(values[rows] for values in on_host(world.gaussians)))
    axes = None if world.sh_axes is None else np.asarray(world.sh_axes)[rows]
    rgb = recorded_colors(gaussians, axes, frames, int(model.sh_degree))
    rgb = np.asarray(apply_exposure(jnp.asarray(rgb, jnp.float32), exposure_of(model.scene.params, view)))
    return gaussians._replace(sh=dc_from_rgb(rgb)[:, None]), rows


def recorded_colors(
    gaussians: GaussianArrays, axes: Float[Array, "N 3 3"] | None, frames: Sequence[Frame], degree: int
) -> Float[Array, "N 3"]:
    """Compute the color in which the nearest of the recorded cameras sees each Gaussian, before exposure.

    Args:
        gaussians: in the world.
        axes: as `WorldGaussians.sh_axes`.
        frames: the recorded frames; of many, `NUM_FRAMES` are enough.
        degree: the highest color band that is active.
    """
    directions = gaussians.means - nearest_centers(gaussians.means, evenly_spaced(list(frames), NUM_FRAMES))
    directions /= np.maximum(np.linalg.norm(directions, axis=1, keepdims=True), 1e-9)
    if axes is not None:
        directions = np.einsum("nij,ni->nj", axes, directions)
    bands = np.array(SH_BAND[: gaussians.sh.shape[1]])
    Y = basis(directions)[:, : len(bands)] * (bands <= degree)
    return np.maximum(0.5 + np.einsum("nk,nkc->nc", Y, gaussians.sh), 0.0)


def nearest_centers(means: Float[Array, "N 3"], frames: Sequence[Frame]) -> Float[Array, "N 3"]:
    """Find for each position (world) the center of the nearest camera that has it in its image, or else the nearest."""
    best, centers = np.full(len(means), np.inf), np.zeros_like(means, np.float64)
    for frame in frames:
        center, axes = frame.world_from_camera[:3, 3], frame.world_from_camera[:3, :3]
        x, y, z = frame.K @ ((means - center) @ axes).T
        is_inside = (z > 0) & (0 <= x) & (x <= frame.width * z) & (0 <= y) & (y <= frame.height * z)
        distance = np.linalg.norm(means - center, axis=1) + np.where(is_inside, 0.0, _OUTSIDE)
        nearer = distance < best
        best[nearer], centers[nearer] = distance[nearer], center
    return centers


def _sky(model: SceneModel, view: View) -> Float[Array, "h w 3"]:
    """Compute the panorama of the sky (`ScenePage.sky`) at the exposure of a view."""
    height, width = SKY_SIZE
    up = np.pi * (0.5 - (np.arange(height) + 0.5) / height)[:, None]
    angle = 2 * np.pi * ((np.arange(width) + 0.5) / width - 0.5)
    directions = [np.cos(up) * np.cos(angle), np.cos(up) * np.sin(angle), np.broadcast_to(np.sin(up), SKY_SIZE)]
    colors = sky_color(model.scene.params.sky, jnp.asarray(np.stack(directions, -1), jnp.float32))
    return np.asarray(apply_exposure(colors, exposure_of(model.scene.params, view)))


def _describe_eig(targets: Sequence[Target], unit: str) -> str:
    """Say in one sentence what the EIG of a Gaussian is."""
    farthest = max(abs(target.shift) for target in targets)
    where = f"up to {farthest:g} {unit} beside the recorded path" if farthest else "on the recorded path"
    images = f"one of {len(targets)} images {where}" if len(targets) > 1 else f"an image {where}"
    return f"the nats that {images} would add to what the recorded images say about it, at most."
