"""What a newcomer may do: odd names, odd images, full disks, files that vanish, settings of other versions."""

import json
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from experiments.studies.measures.robustness.kills import ROOT
from experiments.studies.measures.robustness.outcomes import (
    HANG,
    REPAIRED,
    RUNS,
    SENTENCE,
    SILENT,
    TRACEBACK,
    Case,
    is_sentence,
    last_line,
)  # fmt: skip
from experiments.sweeps.definition import Sweep, run_specs
from experiments.sweeps.settings import check_settings
from ff_jax.data.folder import write_folder
from ff_jax.data.lazy_arrays import read_image, read_mask
from ff_jax.data.loader import load_image
from ff_jax.data.open import open_log
from ff_jax.data.validate import find_problems
from ff_jax.export.html import write_page
from ff_jax.export.image_bytes import save_png
from ff_jax.export.records import Report
from ff_jax.fixers import weights
from ff_jax.fixers.pair_files import load
from ff_jax.pipeline.config import FuseConfig, to_dict
from ff_jax.pipeline.fuse import read_config
from ff_jax.runtime import checkpoint
from ff_jax.runtime.run_facts import check_settings as check_run_settings
from ff_jax.runtime.run_facts import write_run_facts
from ff_jax.runtime.run_lock import lock_run
from ff_jax.runtime.run_log import Logger, read_metrics
from ff_jax.runtime.weight_files import read_arrays

ANY = (RUNS, SENTENCE)
PATHS = ("ünïcode", "火车", "🚗", "two words", "100%", "a#b", "a&b=c", "-dash", "a'b\"c", ".hidden", "x" * 200, "a;b|c")
_FILE_LIMIT = 1000  # bytes
_MAX_PROGRAM = 300.0  # seconds

Edit = Callable[[dict], Any]


def cases(good: Path) -> Iterator[Case]:
    """Give the odd uses of a good scene folder, and of what runs write, that need no program of their own."""
    for parts in (_places(good), _documents(good), _scenes(good), _images(), _disks(good), _runs(good), _sweeps()):
        yield from parts


def _opened(path: Path) -> None:
    log = open_log(str(path))
    for frame in log.frames:
        load_image(frame)


def _copy(good: Path, path: Path, edit: Edit | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    shutil.copytree(good, path)
    if edit is not None:
        content = json.loads((path / "scene.json").read_text())
        edit(content)
        (path / "scene.json").write_text(json.dumps(content))
    return path


def _places(good: Path) -> Iterator[Case]:
    """Logs and runs at odd places."""
    for name in PATHS:
        yield Case(f"log at {name[:20]!r}", lambda folder, n=name: _opened(_copy(good, folder / n)), (), (RUNS,))
        yield Case(f"run at {name[:20]!r}", lambda folder, n=name: _begin_run(folder / n / "run"), (), (RUNS,))
    yield Case("log at a question mark", lambda folder: _opened(_copy(good, folder / "what?now")), ("what",))
    yield Case("log in a file", lambda folder: open_log(str(good / "scene.json" / "log")) and None, ("scene.json",))
    yield Case("log called nothing", lambda _: open_log("") and None, ())
    yield Case("log of 5000 letters", lambda _: open_log("x" * 5000) and None, ())
    yield Case("log with a null byte", lambda _: open_log("a\0b") and None, ())
    for place in ("/proc/run", "/dev/null/run", f"{'x' * 300}/run"):
        yield Case(f"run at {place[:20]}", lambda folder, p=place: _begin_run(folder / p), (place[:20],))
    yield Case("two runs in one folder", _begin_twice, ("run",))
    yield Case("a lock with odd text", _begin_beside_odd_lock, ("run",))


def _begin_run(folder: Path) -> None:
    with lock_run(folder):
        write_run_facts(folder, to_dict(FuseConfig()))
        with Logger(folder) as log:
            log.log(1, {"loss": 1.0})


def _begin_twice(folder: Path) -> None:
    with lock_run(folder / "run"):
        _begin_run(folder / "run")


def _begin_beside_odd_lock(folder: Path) -> None:
    with lock_run(folder / "run"):
        (folder / "run" / ".lock").write_bytes(b"\x1b[31m\n\xff\x00" * 100)
        _begin_run(folder / "run")


def _documents(good: Path) -> Iterator[Case]:
    """Texts of JSON files that other programs write, or that are ambiguous."""
    text = (good / "scene.json").read_text()
    content = json.loads(text)
    frames = json.dumps(content["frames"][:1])
    texts = {
        "with a BOM": ("\ufeff" + text, (RUNS,)),
        "with other line ends": (json.dumps(content, indent=1).replace("\n", "\r\n"), (RUNS,)),
        "in reverse order": (json.dumps(dict(reversed(content.items()))), (RUNS,)),
        "with unknown entries": (json.dumps(content | {"comment": "x"}), (RUNS,)),
        "with frames twice": (text.rstrip()[:-1] + f', "frames": {frames}}}', (SENTENCE,)),
        "with a name twice": ('{"name": "other", ' + text.lstrip()[1:], (SENTENCE,)),
        "with a comment": ("// a log\n" + text, (SENTENCE,)),
        "with a comma too much": (text.rstrip()[:-1] + ",}", (SENTENCE,)),
        "with half a character": (text.replace('"name": "', '"name": "\\ud800', 1), ANY),
        "with half a character in a file name": (text.replace('"image": "', '"image": "\\ud800', 1), (SENTENCE,)),
        "nested 900 deep": ('{"a": ' + "[" * 900 + "]" * 900 + ", " + text.lstrip()[1:], ANY),
    }
    for name, (changed, allowed) in texts.items():
        yield Case(f"scene.json {name}", partial(_open_text, good, changed.encode()), ("log",), allowed)
    yield Case("scene.json in UTF-16", partial(_open_text, good, text.encode("utf-16")), ("log",))
    yield Case("scene.json in Latin-1", partial(_open_text, good, '{"name": "\xe4"'.encode("latin-1")), ("log",))


def _open_text(good: Path, data: bytes, folder: Path) -> None:
    log = _copy(good, folder / "log")
    (log / "scene.json").write_bytes(data)
    _opened(log)


def _scenes(good: Path) -> Iterator[Case]:
    """Scenes at the edge of what is possible."""

    def each(key: str, row: int, column: int, value: float) -> Edit:
        def edit(content: dict) -> None:
            for frame in content["frames"]:
                frame[key][row][column] = value

        return edit

    def keep(count: int) -> Edit:
        def edit(content: dict) -> None:
            content["frames"] = [f for f in content["frames"] if f["time_index"] < count]
            content["times"], content["world_from_ego"] = content["times"][:count], content["world_from_ego"][:count]
            for key in ("sweeps", "boxes"):
                content[key] = [entry for entry in content[key] if entry["time_index"] < count]

        return edit

    edits: dict[str, tuple[Edit, tuple[str, ...]]] = {
        "negative zero as skew": (each("K", 0, 1, -0.0), (RUNS,)),
        "negative zero in the last row": (each("world_from_camera", 3, 0, -0.0), (RUNS,)),
        "a huge focal length": (each("K", 0, 0, 1e15), (SENTENCE,)),
        "a tiny focal length": (each("K", 1, 1, 5e-324), (SENTENCE,)),
        "the principal point on the edge": (each("K", 0, 2, 0.0), (SENTENCE,)),
        "a translation of 1e300": (each("world_from_camera", 0, 3, 1e300), (SENTENCE,)),
        "one time step": (keep(1), ANY),
        "two time steps": (keep(2), (RUNS,)),
        "a number as text": (each("K", 0, 0, "60"), (SENTENCE,)),  # type: ignore[arg-type]
        "true as a number": (lambda c: c["frames"][1].update(time_index=True), (SENTENCE,)),
        "true as a width": (lambda c: c["frames"][1].update(width=True), (SENTENCE,)),
        "a time of 1e-320": (lambda c: c["times"].__setitem__(0, 1e-320), ANY),
        "a camera called like a path": (lambda c: c["frames"][1].update(camera="../x"), ANY),
        "an entry that is null": (lambda c: c.update(boxes=None), (SENTENCE,)),
        "an entry that is a text": (lambda c: c.update(lanes="none"), (SENTENCE,)),
    }
    for name, (edit, allowed) in edits.items():
        yield Case(f"a scene with {name}", lambda f, e=edit: _opened(_copy(good, f / "log", e)), ("log",), allowed)
    yield Case("images that vanish after opening", partial(_open_vanishing, good), ("log",))
    yield Case("sweeps that vanish after opening", partial(_open_vanishing_sweeps, good), ("log",))
    yield Case("a log that was changed after opening", partial(_open_changing, good), ("log",))


def _open_vanishing(good: Path, folder: Path) -> None:
    log = open_log(str(_copy(good, folder / "log")))
    for path in (folder / "log").rglob("*.png"):
        path.unlink()
    for frame in log.frames:
        load_image(frame)


def _open_vanishing_sweeps(good: Path, folder: Path) -> None:
    log = open_log(str(_copy(good, folder / "log")))
    for path in (folder / "log").rglob("*.npz"):
        path.unlink()
    for sweep in log.sweeps:
        sweep.load_world()


def _open_changing(good: Path, folder: Path) -> None:
    log = open_log(str(_copy(good, folder / "log")))
    path = log.frames[1].image.path
    assert path is not None
    Image.new("RGB", (5, 5)).save(path)
    for frame in log.frames:
        load_image(frame)


def _images() -> Iterator[Case]:
    """Pictures of every mode and depth: they are decoded to the colors that they show, or refused."""
    gray = np.linspace(0, 255, 48, dtype=np.uint8).reshape(6, 8)
    rgb = np.stack([gray, gray[::-1], gray[:, ::-1]], -1)
    unit, deep = gray / 255, (gray.astype(np.uint16) * 257)
    opaque = np.full_like(gray, 255)
    pictures: dict[str, tuple[Any, np.ndarray, str]] = {
        "L": (Image.fromarray(gray), unit, ".png"),
        "LA": (Image.merge("LA", [Image.fromarray(gray), Image.fromarray(opaque)]), unit, ".png"),
        "RGB": (Image.fromarray(rgb), rgb / 255, ".png"),
        "RGBA": (Image.fromarray(np.dstack([rgb, opaque])), rgb / 255, ".png"),
        "transparent": (Image.fromarray(np.dstack([rgb, 0 * opaque])), rgb / 255, ".png"),
        "P": (Image.fromarray(gray).convert("P"), unit, ".png"),
        "1": (Image.fromarray(gray > 127), (gray > 127).astype(float), ".png"),
        "I;16": (Image.fromarray(deep), unit, ".png"),
        "I;16 TIFF": (Image.fromarray(deep), unit, ".tiff"),
        "I": (Image.fromarray(deep.astype(np.int32)), unit, ".tiff"),
        "I beyond 16 bits": (Image.fromarray(deep.astype(np.int32) * 1000), unit, ".tiff"),
        "I negative": (Image.fromarray(-deep.astype(np.int32)), unit, ".tiff"),
        "F of 0 to 1": (Image.fromarray(unit.astype(np.float32)), unit, ".tiff"),
        "F of 0 to 255": (Image.fromarray(gray.astype(np.float32)), unit, ".tiff"),
        "F with NaN": (Image.fromarray(np.full((6, 8), np.nan, np.float32)), unit, ".tiff"),
        "CMYK": (Image.fromarray(rgb).convert("CMYK"), rgb / 255, ".tiff"),
        "LAB": (Image.merge("LAB", [Image.fromarray(gray)] * 3), rgb / 255, ".tiff"),
        "HSV as TIFF of RGB": (Image.fromarray(rgb).convert("HSV").convert("RGB"), rgb / 255, ".tiff"),
        "BMP": (Image.fromarray(rgb), rgb / 255, ".bmp"),
        "PPM": (Image.fromarray(rgb), rgb / 255, ".ppm"),
        "GIF called PNG": (Image.fromarray(gray), unit, "gif"),
        "WebP called PNG": (Image.fromarray(rgb), rgb / 255, "webp"),
    }
    for name, (picture, colors, suffix) in pictures.items():
        action = partial(_decode, picture, colors, suffix)
        yield Case(f"a picture of mode {name}", action, ("picture",), ANY)
    yield Case("a picture without pixels", _decode_nothing, ("picture",))


def _decode(picture: Any, colors: np.ndarray, suffix: str, folder: Path) -> str | None:
    """Decode a picture as image and mask; SILENT if the colors are others than those that it shows."""
    path = folder / f"picture{suffix if suffix.startswith('.') else '.png'}"
    options = {"lossless": True} if suffix == "webp" else {}
    picture.save(path, format=None if suffix.startswith(".") else suffix, **options)
    found, mask = read_image(path), read_mask(path)
    expected = colors if colors.ndim == 3 else np.repeat(colors[..., None], 3, -1)
    is_same = found.shape == expected.shape and np.allclose(found, expected, atol=0.02)
    return None if is_same and np.allclose(mask, expected[..., 0], atol=0.02) else SILENT


def _decode_nothing(folder: Path) -> None:
    (folder / "picture.ppm").write_bytes(b"P6 0 0 255\n")
    read_image(folder / "picture.ppm")


@contextmanager
def _full_disk() -> Iterator[None]:
    """Let files of this process grow to `_FILE_LIMIT` bytes only."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (_FILE_LIMIT, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def _disks(good: Path) -> Iterator[Case]:
    """Everything that runs write, when files may not grow."""
    noise = np.random.default_rng(0).random((64, 64, 3))

    def lines(folder: Path) -> None:
        with Logger(folder) as log:
            for step in range(1000):
                log.log(step, {"loss": 0.123456789})

    writers: dict[str, Callable[[Path], Any]] = {
        "a picture": lambda folder: save_png(folder / "out.png", noise),
        "a page": lambda folder: write_page(folder / "out.html", Report("x" * 5000)),
        "weights": lambda folder: weights.save(folder / "out.safetensors", {"a": np.ones(5000, np.float32)}),
        "metrics": lines,
        "a checkpoint": lambda folder: checkpoint.save(folder / "steps", 1, {"a": noise}, {}),
        "a scene": lambda folder: write_folder(open_log(str(good)), folder / "out"),
        "settings": lambda folder: write_run_facts(folder, to_dict(FuseConfig()) | {"long": "x" * 5000}),
    }
    for name, write in writers.items():
        yield Case(f"a full disk: {name}", partial(_write_to_full_disk, write), ("ulimit",))


def _write_to_full_disk(write: Callable[[Path], Any], folder: Path) -> None:
    with _full_disk():
        write(folder)


def _runs(good: Path) -> Iterator[Case]:
    """Files of runs that another version or another program wrote."""
    settings = to_dict(FuseConfig())
    configs: dict[str, tuple[Any, tuple[str, ...]]] = {
        "of today": (settings, (RUNS,)),
        "with a setting of another version": (settings | {"magic": 1}, (SENTENCE,)),
        "with a group of another version": (settings | {"recon": settings["recon"] | {"magic": 1}}, (SENTENCE,)),
        "with a setting of another type": (settings | {"recon": 5}, (SENTENCE,)),
        "with a text for a number": (settings | {"steps": "100"}, (SENTENCE,)),
        "with a list for a number": (settings | {"steps": [100]}, (SENTENCE,)),
        "with null": (settings | {"steps": None}, (SENTENCE,)),
        "that is a list": ([settings], (SENTENCE,)),
        "that is empty": ("", (SENTENCE,)),
    }
    for name, (content, allowed) in configs.items():
        yield Case(f"config.json {name}", partial(_read_config, content), ("config.json",), allowed)
    doubled = json.dumps(settings)[:-1] + ', "steps": 7}'
    yield Case("config.json with a setting twice", partial(_read_config, doubled), ("config.json",))
    for name in ("007", "١٢", "5", "-3", "1e3", " 4", "99999999999999999999999"):
        yield Case(f"a checkpoint called {name!r}", partial(_save_beside, name, True), (), (RUNS, REPAIRED))
        yield Case(f"a file called {name!r}", partial(_save_beside, name, False), (), (RUNS, REPAIRED))
    for line in (
        '{"step": 99999999999999999999, "loss": 1}',
        '{"step": -5}',
        '{"step": 1.5}',
        "[]",
        "\x00",
        "9" * 9999,
    ):
        yield Case(f"metrics.jsonl of {line[:20]!r}", partial(_continue_log, line), ("metrics",), ANY)
    for text in ("[]", '{"history": 5}', '{"history": [1, null]}', '{"history": {}}', "x"):
        yield Case(f"env.json of {text}", partial(_continue_run, text), ("env.json",), ANY)
    arrays = {"half": np.ones(3, np.float16), "text": np.array("x"), "object": np.array([None])}
    for name, array in arrays.items():
        yield Case(f"weights of type {name}", partial(_read_weights, array), ("net.npz",), ANY)
    yield Case("pairs without arrays", partial(_read_pairs, {}), ("street",))
    yield Case("pairs of text", partial(_read_pairs, {"render": np.array("x")}), ("street",))
    yield Case(
        "a scene in a scene's place", lambda folder: write_folder(open_log(str(good)), good) and None, ("exists",)
    )
    yield Case(
        "a good scene has no problems", lambda _: SILENT if find_problems(open_log(str(good))) else None, (), (RUNS,)
    )


def _read_config(content: Any, folder: Path) -> None:
    (folder / "config.json").write_text(content if isinstance(content, str) else json.dumps(content))
    read_config(folder)


def _save_beside(name: str, is_folder: bool, folder: Path) -> str:
    """Save and restore steps beside an entry that looks like another one."""
    folder = folder / "steps"
    folder.mkdir()
    (folder / name).mkdir() if is_folder else (folder / name).write_text("x")
    for step in (1, 2):
        state = {"a": np.full(3, float(step))}
        checkpoint.save(folder, step, state, {"step": step})
    found, _, step = checkpoint.restore(folder, state)
    return RUNS if step == 2 and found["a"][0] == 2.0 else SILENT


def _continue_log(line: str, folder: Path) -> str | None:
    (folder / "metrics.jsonl").write_text(line + "\n" + '{"step": 2, "loss": 0.5}\n')
    with Logger(folder, resume_step=2) as log:
        log.log(3, {"loss": 0.25})
    steps = [record["step"] for record in read_metrics(folder / "metrics.jsonl")]
    return None if steps[-2:] == [2, 3] else SILENT


def _continue_run(text: str, folder: Path) -> None:
    (folder / "env.json").write_text(text)
    (folder / "config.json").write_text("{}")
    check_run_settings(folder, {}, resume=True)
    write_run_facts(folder, {})


def _read_weights(array: np.ndarray, folder: Path) -> str | None:
    np.savez(folder / "net.npz", a=array)
    found = read_arrays(folder / "net.npz")["a"]
    return None if found.dtype == array.dtype and (found == array).all() else SILENT


def _read_pairs(arrays: dict[str, np.ndarray], folder: Path) -> None:
    np.savez(folder / "street-00000.npz", **arrays)  # type: ignore[arg-type]
    load([folder / "street-00000.npz"])


def _sweeps() -> Iterator[Case]:
    """Settings that no run of a sweep has."""
    bases: list[dict[str, Any]] = [
        {"stepps": 5}, {"recon.budgett": 5}, {"recon": 5}, {"recon.budget.more": 5}, {"": 5}, {"steps": ""},
        {"steps": "1e400"}, {"steps": "__import__('os')"}, {"schedule.sides": "(1"}, {"fixer": 5}, {"config": ""},
        {"evaluate.shifts": "('a',)"}, {"steps": float("nan")}, {"steps": None}, {"data": {}},
    ]  # fmt: skip
    for base in bases:
        yield Case(f"a sweep of {base}", partial(_check_sweep, base), ())


def _check_sweep(base: dict[str, Any], _: Path) -> None:
    check_settings(run_specs(Sweep(title="s", metrics={}, base=base)), "experiments.fuse")


def programs() -> Iterator[Case]:
    """Files of settings that are no Python, or do something else, as a user passes them to the programs."""
    texts = {
        "with a wrong syntax": "def get_config(:",
        "that raises an error": "raise RuntimeError('mine')",
        "without its function": "x = 1",
        "that returns nothing": "def get_config(): pass\ndef get_sweep(): pass",
        "that imports what is missing": "import nothing_of_this_name",
    }
    for name, text in texts.items():
        for module in ("experiments.fuse", "experiments.sweeps.run"):
            action = partial(_run_with_config, module, text)
            yield Case(f"{module} --config of a file {name}", action, (), (SENTENCE,), _MAX_PROGRAM)


def _run_with_config(module: str, text: str, folder: Path) -> str:
    (folder / "mine.py").write_text(text)
    flags = [f"--config={folder / 'mine.py'}", f"--workdir={folder / 'run'}"]
    try:
        done = subprocess.run(
            [sys.executable, "-m", module, *flags], cwd=ROOT, capture_output=True, text=True, timeout=_MAX_PROGRAM,
            env=os.environ | {"JAX_PLATFORMS": "cpu"},
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return HANG
    if done.returncode == 0:
        return RUNS
    is_one = is_sentence(last_line(done.stderr), ("mine.py",)) and "Traceback" not in done.stderr
    return SENTENCE if is_one else TRACEBACK
