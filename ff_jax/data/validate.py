"""Validate scene data, in memory or in a folder, and report all problems at once."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ff_jax.data import validate_rules as rules
from ff_jax.data.folder import first_problem, parse
from ff_jax.data.lazy_arrays import ImageFile
from ff_jax.data.normalize import normalize
from ff_jax.data.scene_data import Frame, SceneData
from ff_jax.data.similarity import is_similarity
from ff_jax.data.units import find_unit_problem
from ff_jax.data.validate_frame import file_problems, frame_problems
from ff_jax.data.validate_objects import box_problems, lane_problems, return_problems, sparse_problems, sweep_problems

MAX_TIME = 1e6  # seconds: larger times are dates, and float32 does not resolve them


def validate(scene: SceneData | Path, *, decode: bool = False) -> SceneData:
    """Validate a scene or a scene folder, and return the scene.

    Args:
        scene: the scene, or the path of its folder.
        decode: also decode every image, mask and sweep (slow: reads the whole log). Without it only the headers of
            the files on disk are read.

    Raises:
        ValueError: the scene has problems: one line for each, with its place, the value and the remedy.
    """
    where = str(scene) if isinstance(scene, Path) else repr(scene.name)
    data, problems = parse(scene) if isinstance(scene, Path) else (scene, [])
    if data is not None:
        data = normalize(data) if isinstance(scene, Path) else data
        problems += find_problems(data, decode=decode)
    if problems or data is None:
        raise ValueError(f"{len(problems)} problem(s) in {where}:\n- " + "\n- ".join(problems))
    return data


def check(scene: SceneData, source: str, *, files: bool = True) -> SceneData:
    """Validate a scene before it is used, without decoding its files, and return it.

    Args:
        scene: the scene.
        source: where it is from, for the message.
        files: whether the headers of its files are read.

    Raises:
        ValueError: the scene has problems: the first one in one sentence, with the number of the others.
    """
    problems = find_problems(scene, files=files)
    if problems:
        raise ValueError(f"{source}: {first_problem(problems)}")
    return scene


def find_problems(scene: SceneData, *, decode: bool = False, files: bool = True) -> list[str]:
    """List the problems of a scene, one line each; see `validate` and `check`."""
    problems = [*_timeline(scene), *_duplicates(scene)]
    with np.errstate(invalid="ignore"):  # infinite times are named by `_times`
        step = float(np.median(np.diff(scene.times))) if len(scene.times) > 1 else np.inf
    for number, frame in enumerate(scene.frames):
        camera = frame.camera if frame.camera.isprintable() else repr(frame.camera)
        where = f"frame {number} ({camera}, time index {frame.time_index}, {frame.image.name})"
        problems += [f"{where}: {text}." for text in frame_problems(scene, frame, step)]
        problems += [f"{where}: {text}." for text in (file_problems(frame, decode=decode) if files else ())]
    for number, sweep in enumerate(scene.sweeps):
        where = f"sweep {number} (time index {sweep.time_index}, {sweep.points.name})"
        problems += [f"{where}: {text}." for text in sweep_problems(scene, sweep)]
        problems += [f"{where}: {text}." for text in (return_problems(sweep, decode=decode) if files else ())]
    for number, box in enumerate(scene.boxes):
        where = f"box {number} (track {box.track_id!r}, time index {box.time_index})"
        problems += [f"{where}: {text}." for text in box_problems(scene, box)]
    for number, lane in enumerate(scene.lanes):
        problems += [f"lane {number}: {text}." for text in lane_problems(lane.kind, lane.points)]
    problems += [f"sparse points: {text}." for text in sparse_problems(scene)]
    unit = find_unit_problem(scene)  # first: it may be the cause of others
    return [f"unit of length: {unit}.", *problems] if unit else problems


def _timeline(scene: SceneData) -> Iterator[str]:
    yield from _times(scene)
    if len(scene.world_from_ego) != len(scene.times):
        counts = f"{len(scene.world_from_ego)} poses for {len(scene.times)} times"
        yield f"world_from_ego has {counts}; expected one per time."
    for index, pose in enumerate(scene.world_from_ego):
        yield from (f"world_from_ego[{index}]: {text}." for text in rules.rigid("the pose", pose))
    if not is_similarity(scene.world_from_files):
        yield f"world_from_files = {scene.world_from_files.tolist()} is no similarity; remove the entry."
    farthest = np.abs(scene.world_from_ego[:, :3, 3]).max(initial=0)
    if farthest > rules.MAX_FROM_ORIGIN:
        yield (
            f"world_from_ego reaches {farthest:.0f} m from the origin; start the world at the first pose, in meters, "
            "or use a part of the log."
        )
    if not scene.frames:
        yield "frames: there are none; add at least one."
    elif all(frame.split != "train" for frame in scene.frames):
        yield "frames: none has the split 'train'; add at least one."


def _times(scene: SceneData) -> Iterator[str]:
    if len(scene.times) == 0:
        yield "times: there are none; add at least one."
    for index in np.flatnonzero(~(np.diff(scene.times) > 0)):
        before, after = scene.times[index], scene.times[index + 1]
        yield f"times[{index + 1}] = {after} does not follow {before}; make the times increase strictly."
    bad = np.flatnonzero(~(np.abs(scene.times) <= MAX_TIME))
    if len(bad):
        value = scene.times[bad[0]]
        what = f"beyond {MAX_TIME:g} s" if np.isfinite(value) else "not finite"
        yield f"times[{bad[0]}] = {value} is {what}; use seconds from the start."


def _duplicates(scene: SceneData) -> Iterator[str]:
    keyed = [
        *((_frame_key(f), f.image.name) for f in scene.frames),
        *((f"image file {f.image.path}", _frame_key(f)) for f in scene.frames if isinstance(f.image, ImageFile)),
        *((f"box of track {b.track_id!r} at time index {b.time_index}", "") for b in scene.boxes),
        *((f"sweep of {s.sensor!r} at time index {s.time_index}", s.points.name) for s in scene.sweeps),
    ]
    first: dict[str, str] = {}
    for key, name in keyed:
        if key in first:
            places = f" ({first[key]}, {name})" if name else ""
            yield f"duplicate {key}{places}; keep one of them."
        first.setdefault(key, name)


def _frame_key(frame: Frame) -> str:
    """Describe a frame by the values that must be unique; test cameras may have several poses at one time."""
    key = f"{frame.split} frame of camera {frame.camera!r} at time index {frame.time_index}"
    return key if frame.split == "train" else f"{key} at {np.round(frame.world_from_camera[:3, 3], 3).tolist()}"
