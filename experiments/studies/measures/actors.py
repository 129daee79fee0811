"""Measures of the study of moving actors: held-out frames, recovered boxes, and edits against ground truth."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import jax
import jax.numpy as jnp
import jaxlie
import numpy as np
from jaxtyping import Bool, Float, UInt8

from experiments.studies.measures.reconstruction import render_frame
from experiments.studies.measures.tables import seed_table
from ff_jax.data.loader import load_image, load_mask
from ff_jax.data.scene_data import Box, Frame, SceneData, moving_tracks
from ff_jax.data.synthetic import Street, edits
from ff_jax.evaluation.shifted_views import MIN_MOVING_PIXELS
from ff_jax.export.figures import contact_sheet
from ff_jax.metrics.image import psnr
from ff_jax.pipeline.run import Run
from ff_jax.render.rigid import in_float32
from ff_jax.scene import edit
from ff_jax.scene.tracks import make_tracks

SLOTS = {"static": 0, "actors": 1500}  # Gaussians per actor
EDITS = ("removed", "moved 3 m")

Image = Float[np.ndarray, "H W 3"]


def held_out_frames(log: SceneData) -> list[Frame]:
    """Select the held-out frames of a log."""
    return [frame for frame in log.frames if frame.split == "test"]


def held_out_psnr(run: Run, log: SceneData) -> dict[str, float]:
    """Measure the PSNR (dB) of the held-out frames: over the whole image, and over moving objects."""
    whole, moving = [], []
    for frame in held_out_frames(log):
        image, truth, mask = render_frame(run, frame), load_image(frame), load_mask(frame, "dynamic") > 0.5
        whole.append(float(psnr(image, truth)))
        if mask.sum() >= MIN_MOVING_PIXELS:
            moving.append(float(psnr(image, truth, jnp.asarray(mask))))
    return {"whole": float(np.mean(whole)), "moving": _mean(moving)}


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if values else float("nan")


@in_float32
def perturb_boxes(log: SceneData, meters: float, degrees: float, rng: np.random.Generator) -> SceneData:
    """Add random errors of this size (root mean square) to the boxes of moving objects."""
    moving = moving_tracks(log)

    def perturb(box: Box) -> Box:
        pose, turn = box.world_from_object.copy(), rng.normal(0, np.deg2rad(degrees) / np.sqrt(3), 3)
        pose[:3, 3] += rng.normal(0, meters / np.sqrt(3), 3)
        pose[:3, :3] = pose[:3, :3] @ np.asarray(jaxlie.SO3.exp(jnp.asarray(turn, jnp.float32)).as_matrix())
        return dataclasses.replace(box, world_from_object=pose)

    return dataclasses.replace(log, boxes=tuple(perturb(b) if b.track_id in moving else b for b in log.boxes))


@in_float32
def box_errors(run: Run, wrong: SceneData, log: SceneData) -> dict[str, float]:
    """Measure the errors of the boxes of `wrong` and of the refined ones (root mean square over actors and times).

    The constant part of an error in the object frame is left out: an actor's Gaussians may have any offset in it.
    """
    scene, recording = run.state.train.scene, run.recording
    tracks, params = scene.tracks, scene.params.actors
    truth, start = (make_tracks(log, recording.actors, recording.time_indices, 0) for log in (log, wrong))
    back = jaxlie.SO3(truth.quats).inverse()
    refined_quats = (jaxlie.SO3(tracks.quats) @ jaxlie.SO3.exp(params.turns)).wxyz
    figures = {}
    for name, positions, quats in (
        ("before", start.positions, start.quats),
        ("after", tracks.positions + params.moves, refined_quats),
    ):
        figures[f"meters_{name}"] = _rms_about_mean(back.apply(positions - truth.positions), truth.present)
        angles = (back @ jaxlie.SO3(quats)).log()
        figures[f"degrees_{name}"] = np.rad2deg(_rms_about_mean(angles, truth.present)).item()
    return figures


def _rms_about_mean(errors: Float[jax.Array, "A T 3"], present: Bool[jax.Array, "A T"]) -> float:
    """Compute the root mean square of errors about each actor's mean, over the times at which it is present."""
    squared = []
    for error, is_present in zip(np.asarray(errors), np.asarray(present), strict=True):
        own = error[is_present]
        squared.extend(np.sum((own - own.mean(0)) ** 2, -1))
    return float(np.sqrt(np.mean(squared)))


def street_edit(name: str, track: str) -> Callable[[Street], Street]:
    """Make the edit of a street for a name of `EDITS`."""
    if name == "removed":
        return lambda street: edits.remove_vehicle(street, int(track))
    return lambda street: edits.move_vehicle(street, int(track), np.array([3.0, 0.0, 0.0]))


def compare_edits(
    run: Run, log: SceneData, make_log: Callable[[Callable[[Street], Street]], SceneData]
) -> tuple[dict[str, dict[str, float]], list[list[Image]]]:
    """Edit the actor that is nearest to the cameras, and compare with the street after the same edit.

    Args:
        run: a reconstruction with actors.
        log: the log it was made from.
        make_log: makes the log of the street after an edit.

    Returns:
        For each edit the PSNR (dB) over the held-out frames, of the whole image and of the pixels that the edit
        changed in the ground truth; and rows of images: edited scene, edited street.
    """
    actor = nearest_actor(run.recording.actors, log)
    scene = run.state.train.scene
    scenes = {
        "removed": edit.remove(scene, actor),
        "moved 3 m": edit.move(scene, actor, np.array([3.0, 0.0, 0.0])),
    }
    figures, images = {}, []
    for name, edited in scenes.items():
        truth = make_log(street_edit(name, run.recording.actors[actor]))
        rows = [
            (render_frame(run, frame, edited), load_image(changed), load_image(frame))
            for frame, changed in zip(log.frames, truth.frames, strict=True)
            if frame.split == "test"
        ]
        masks = [np.abs(changed - before).max(-1) > 0.02 for _, changed, before in rows]
        inside = [
            psnr(image, changed, jnp.asarray(mask))
            for (image, changed, _), mask in zip(rows, masks, strict=True)
            if mask.sum() >= MIN_MOVING_PIXELS
        ]
        whole = float(np.mean([psnr(image, changed) for image, changed, _ in rows]))
        figures[name] = {"whole": whole, "changed": _mean(inside)}
        largest = int(np.argmax([mask.sum() for mask in masks]))
        images.append(list(rows[largest][:2]))
    return figures, images


def nearest_actor(actors: Sequence[str], log: SceneData) -> int:
    """Find the index of the actor that comes nearest to a camera of the held-out frames."""
    camera_at = {frame.time_index: frame.world_from_camera[:3, 3] for frame in held_out_frames(log)}

    def distance(name: str) -> float:
        boxes = [box for box in log.boxes if box.track_id == name and box.time_index in camera_at]
        gaps = (np.linalg.norm(box.world_from_object[:3, 3] - camera_at[box.time_index]) for box in boxes)
        return min(gaps, default=np.inf)

    return int(np.argmin([distance(name) for name in actors]))


def held_out_sheet(runs: Mapping[str, Run], log: SceneData) -> UInt8[np.ndarray, "H W 3"]:
    """Draw the held-out frames of each reconstruction beside the ground truth."""
    frames = held_out_frames(log)
    rows = [[*(render_frame(run, frame) for run in runs.values()), load_image(frame)] for frame in frames]
    return contact_sheet(rows, (*runs, "truth"), [f"t = {frame.time:.1f} s" for frame in frames])


def table(rows: Mapping[int, Mapping[str, Mapping[str, float]]]) -> str:
    """Format the figures of all streets as Markdown, with mean and standard deviation."""
    columns: Sequence[tuple[str, str, str]] = (
        ("static: moving", "static", "moving"),
        ("actors: moving", "actors", "moving"),
        ("static: whole", "static", "whole"),
        ("actors: whole", "actors", "whole"),
        ("boxes off, m", "wrong_boxes", "meters_before"),
        ("recovered, m", "wrong_boxes", "meters_after"),
        ("boxes off, deg", "wrong_boxes", "degrees_before"),
        ("recovered, deg", "wrong_boxes", "degrees_after"),
        ("wrong boxes: moving", "wrong_boxes", "moving"),
        ("removed: changed / whole", "removed", "changed"),
        ("", "removed", "whole"),
        ("moved: changed / whole", "moved 3 m", "changed"),
        ("", "moved 3 m", "whole"),
    )
    titles = [title for title, _, _ in columns]
    return seed_table(titles, {seed: [row[a][b] for _, a, b in columns] for seed, row in rows.items()}, 2)
