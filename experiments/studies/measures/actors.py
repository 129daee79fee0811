"""What the study of moving actors measures, on streets whose truth is known."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import jaxlie
import numpy as np
from jaxtyping import Float, UInt8

from ff_jax.data.loader import load_image, load_mask
from ff_jax.data.scene_data import Box, Frame, SceneData, moving_tracks
from ff_jax.data.synthetic import World, edits
from ff_jax.evaluation.shifted_views import ENOUGH
from ff_jax.export.figures import contact_sheet
from ff_jax.metrics.image import psnr
from ff_jax.pipeline.config import FuseConfig
from ff_jax.pipeline.initialize import key_times, make_feed, start_run
from ff_jax.pipeline.phases import is_begun, run_phase
from ff_jax.render.renderer import RenderSettings
from ff_jax.render.rigid import in_float32
from ff_jax.scene import Scene, edit, render_scene
from ff_jax.scene.exposure import Between
from ff_jax.scene.tracks import make_tracks
from ff_jax.train.batches import Feed, view_of
from ff_jax.train.loop import count_needed, fitted

SLOTS = {"static": 0, "actors": 1500}  # Gaussians per actor
EDITS = ("removed", "moved 3 m")


class Trained(NamedTuple):
    """A reconstruction of a log."""

    scene: Scene
    feed: Feed
    settings: RenderSettings
    degree: int

    def picture(
        self, frame: Frame, scene: Scene | None = None, *, exposure: int | Between = 0
    ) -> Float[np.ndarray, "H W 3"]:
        """Return what the camera of a frame sees, in [0, 1]; of another scene if one is given."""
        scene = scene or self.scene
        view = view_of(frame, exposure)
        settings = fitted(self.settings, count_needed(scene, [view], self.settings))
        return np.clip(np.asarray(_render(scene, view, settings, jnp.int32(self.degree))), 0, 1)


@partial(jax.jit, static_argnames=("settings",))
def _render(scene, view, settings, degree):
    return render_scene(scene, view, settings, degree).rgb


def trained(log: SceneData, config: FuseConfig, folder: Path) -> Trained:
    """Reconstruct a log from its frames of split "train"; a finished one in `folder` is read."""
    feed = make_feed(log, tuple(f for f in log.frames if f.split == "train"), config)
    run, recipe = start_run(log, feed, config, pool=0, steps=config.steps, shapes_only=is_begun(folder))
    run, recipe = run_phase(folder, folder.name.replace("_", " "), run, recipe, config.steps, feed, config)
    degree = min(config.steps // recipe.recon.sh_every, recipe.recon.sh_degree)
    return Trained(run.state.scene, feed, recipe.settings, degree)


def held_out(run: Trained, log: SceneData) -> dict[str, float]:
    """Return the PSNR (dB) of the held-out frames: of the whole image, and where something moves."""
    whole, moving = [], []
    for frame in (f for f in log.frames if f.split == "test"):
        seen, truth, mask = run.picture(frame), load_image(frame), load_mask(frame, "dynamic") > 0.5
        whole.append(float(psnr(seen, truth)))
        if mask.sum() >= ENOUGH:
            moving.append(float(psnr(seen, truth, jnp.asarray(mask))))
    return {"whole": float(np.mean(whole)), "moving": float(np.mean(moving)) if moving else float("nan")}


@in_float32
def jittered(log: SceneData, metres: float, degrees: float, rng: np.random.Generator) -> SceneData:
    """Return the log with every box of what moves off by random errors of this length (root mean square)."""
    moving = moving_tracks(log)

    def wrong(box: Box) -> Box:
        pose, turn = box.world_from_object.copy(), rng.normal(0, np.deg2rad(degrees) / np.sqrt(3), 3)
        pose[:3, 3] += rng.normal(0, metres / np.sqrt(3), 3)
        pose[:3, :3] = pose[:3, :3] @ np.asarray(jaxlie.SO3.exp(jnp.asarray(turn, jnp.float32)).as_matrix())
        return dataclasses.replace(box, world_from_object=pose)

    return dataclasses.replace(log, boxes=tuple(wrong(b) if b.track_id in moving else b for b in log.boxes))


@in_float32
def recovered(run: Trained, wrong: SceneData, log: SceneData) -> dict[str, float]:
    """Return the error of the boxes as given in `wrong` and as learnt (root mean square over actors and key times).

    An actor's Gaussians may sit anywhere in its frame, so the part of the error that is constant in the object
    frame does not matter and is left out.
    """
    tracks, params = run.scene.tracks, run.scene.params.actors
    truth, given = (make_tracks(scene, run.feed.actors, key_times(run.feed.frames), 0) for scene in (log, wrong))
    back = jaxlie.SO3(truth.quats).inverse()
    turned = (jaxlie.SO3(tracks.quats) @ jaxlie.SO3.exp(params.turns)).wxyz
    figures = {}
    for name, positions, quats in (
        ("before", given.positions, given.quats),
        ("after", tracks.positions + params.moves, turned),
    ):
        figures[f"metres_{name}"] = _spread(back.apply(positions - truth.positions), truth.present)
        figures[f"degrees_{name}"] = np.rad2deg(_spread((back @ jaxlie.SO3(quats)).log(), truth.present)).item()
    return figures


def _spread(errors: Float[jax.Array, "A T 3"], present) -> float:
    """Return the root mean square length of errors about each actor's mean."""
    squared = []
    for error, there in zip(np.asarray(errors), np.asarray(present), strict=True):
        own = error[there]
        squared.extend(np.sum((own - own.mean(0)) ** 2, -1))
    return float(np.sqrt(np.mean(squared)))


def edits_of(name: str, track: str) -> Callable[[World], World]:
    """Return the edit of a street that has the name of one of `EDITS`."""
    if name == "removed":
        return lambda world: edits.without(world, int(track))
    return lambda world: edits.displaced(world, int(track), np.array([3.0, 0.0, 0.0]))


def compare_edits(
    run: Trained, log: SceneData, make: Callable[[Callable[[World], World]], SceneData]
) -> tuple[dict[str, dict[str, float]], list[list[Float[np.ndarray, "H W 3"]]]]:
    """Edit the actor that is seen largest, and compare with the street edited alike.

    Args:
        run: a reconstruction with actors.
        log: the log it was made from.
        make: returns the log of an edited street.

    Returns:
        Per edit the PSNR (dB) over the held-out frames, of the whole image and where the edit changed the truth;
        and rows of pictures: edited scene, edited street.
    """
    number = largest(run, log)
    scenes = {
        "removed": edit.remove(run.scene, number),
        "moved 3 m": edit.move(run.scene, number, np.array([3.0, 0.0, 0.0])),
    }
    figures, pictures = {}, []
    for name, scene in scenes.items():
        truth = make(edits_of(name, run.feed.actors[number]))
        rows = [
            (run.picture(frame, scene), load_image(changed), load_image(frame))
            for frame, changed in zip(log.frames, truth.frames, strict=True)
            if frame.split == "test"
        ]
        masks = [np.abs(changed - before).max(-1) > 0.02 for _, changed, before in rows]
        inside = [psnr(a, b, jnp.asarray(m)) for (a, b, _), m in zip(rows, masks, strict=True) if m.sum() >= ENOUGH]
        figures[name] = {
            "whole": float(np.mean([psnr(a, b) for a, b, _ in rows])),
            "changed": float(np.mean(inside)) if inside else float("nan"),
        }
        most = int(np.argmax([m.sum() for m in masks]))
        pictures.append(list(rows[most][:2]))
    return figures, pictures


def largest(run: Trained, log: SceneData) -> int:
    """Return the number of the actor whose box shows largest in the held-out frames, by nearness."""
    eye = {f.time_index: f.world_from_camera[:3, 3] for f in log.frames if f.split == "test"}
    near = lambda name: min(
        (np.linalg.norm(b.world_from_object[:3, 3] - eye[b.time_index]) for b in log.boxes
         if b.track_id == name and b.time_index in eye), default=np.inf,
    )  # fmt: skip
    return int(np.argmin([near(name) for name in run.feed.actors]))


def sheet(runs: Mapping[str, Trained], log: SceneData) -> UInt8[np.ndarray, "H W 3"]:
    """Return held-out frames of every reconstruction beside the truth."""
    frames = [f for f in log.frames if f.split == "test"]
    rows = [[*(run.picture(frame) for run in runs.values()), load_image(frame)] for frame in frames]
    return contact_sheet(rows, (*runs, "truth"), [f"t = {frame.time:.1f} s" for frame in frames])


def table(rows: Mapping[int, Mapping[str, Mapping[str, float]]]) -> str:
    """Return the figures of all streets as Markdown, with mean and spread."""
    columns: Sequence[tuple[str, str, str]] = (
        ("static: moving", "static", "moving"),
        ("actors: moving", "actors", "moving"),
        ("static: whole", "static", "whole"),
        ("actors: whole", "actors", "whole"),
        ("boxes off, m", "wrong_boxes", "metres_before"),
        ("found, m", "wrong_boxes", "metres_after"),
        ("boxes off, deg", "wrong_boxes", "degrees_before"),
        ("found, deg", "wrong_boxes", "degrees_after"),
        ("wrong boxes: moving", "wrong_boxes", "moving"),
        ("removed: changed / whole", "removed", "changed"),
        ("", "removed", "whole"),
        ("moved: changed / whole", "moved 3 m", "changed"),
        ("", "moved 3 m", "whole"),
    )
    values = np.array([[row[a][b] for _, a, b in columns] for row in rows.values()], float)
    line = lambda cells: "| " + " | ".join(cells) + " |"
    head = [line(["street", *(name for name, _, _ in columns)]), line(["---"] * (len(columns) + 1))]
    body = [line([str(seed), *(f"{v:.2f}" for v in row)]) for seed, row in zip(rows, values, strict=True)]
    spread = np.nanstd(values, 0, ddof=1) if len(values) > 1 else np.zeros(len(columns))
    last = line(["mean", *(f"{m:.2f} +- {s:.2f}" for m, s in zip(np.nanmean(values, 0), spread, strict=True))])
    return "\n".join([*head, *body, last])
