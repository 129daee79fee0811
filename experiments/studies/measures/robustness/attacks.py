"""Attacks by files: names and links that lead elsewhere, bombs, special files, code, and prepared run folders.

An attack succeeds if a foreign file is read or changed, if code runs, or if the limits of time and memory are exceeded.
"""

import gzip
import json
import os
import pickle
import shutil
import socket
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from experiments.studies.measures.robustness.bombs import MAX_MAKING, bombs, read_bomb
from experiments.studies.measures.robustness.file_formats import Format, colmap_model, formats, transforms
from experiments.studies.measures.robustness.outcomes import ATTACK, RUNS, SENTENCE, Case
from experiments.studies.measures.robustness.writers.pandas_pickle import Call
from ff_jax.data.folder import write_folder
from ff_jax.data.formats.pandas_pickle import read_table
from ff_jax.data.loader import load_image, load_mask
from ff_jax.data.open import open_log
from ff_jax.data.scene_data import SceneData
from ff_jax.export.html import write_page
from ff_jax.export.records import Curve, MetricsRow, Report, Series
from ff_jax.export.tables import Table
from ff_jax.runtime.atomic_files import atomic_write
from ff_jax.runtime.run_lock import lock_run
from ff_jax.runtime.run_log import Logger

SECRET = "secret.png"  # a file beside the log, that no log may name
FILES_OF_A_RUN = (".lock", "metrics.jsonl", "config.json", "recon/checkpoints/1")


def cases(good: Path, make_scene: Callable[[Path], SceneData]) -> Iterator[Case]:
    """Give all attacks.

    Args:
        good: a scene folder.
        make_scene: makes a small scene.
    """
    for name, lead in _leading_out(good).items():
        yield Case(f"log: {name}", partial(_open_leading_out, lead), ("log",))
    for name, bomb in bombs():
        yield Case(f"bomb: {name}", partial(read_bomb, bomb), ("bomb",), bomb.allowed, MAX_MAKING)
    for name, form in formats(make_scene).items():
        for kind, put in SPECIAL.items():
            yield Case(f"{name} is a {kind}", partial(_read_special, form, put), (), (SENTENCE,))
    yield Case("a pickle that runs code", _run_pickled_code, ("table",))
    for name, prepare in _run_folders().items():
        yield Case(f"run folder: {name}", partial(_write_into, prepare), (), (RUNS, SENTENCE))
    yield Case("names that are HTML", _render_names, (), (RUNS,))
    yield Case("names that are paths", partial(_convert_named, good), (), (RUNS, SENTENCE))


def _load_all(source: str) -> None:
    log = open_log(source)
    for frame in log.frames:
        load_image(frame)
        for kind in frame.masks:
            load_mask(frame, kind)
    for sweep in log.sweeps:
        sweep.load()


def _open_leading_out(lead: Callable[[Path, Path], object], folder: Path) -> str:
    """Make a log that names a file beside it, and open it; whoever opens it has read that file."""
    Image.fromarray(np.full((40, 64, 3), 77, np.uint8)).save(folder / SECRET)
    log = folder / "log"
    lead(log, folder / SECRET)
    _load_all(str(log))
    return ATTACK


OUTSIDE: dict[str, Callable[[Path, Path], str]] = {  # names of a file outside of a log
    "parent": lambda log, secret: f"../{secret.name}",
    "absolute": lambda log, secret: str(secret),
    "detour": lambda log, secret: f"images/../../{secret.name}",
    "backslash": lambda log, secret: f"..\\{secret.name}",
}


def _colmap_naming(rename: Callable[[Path, Path], str], log: Path, secret: Path) -> None:
    log.mkdir()
    path = colmap_model(log, True) / "images.txt"
    path.write_text(path.read_text().replace("front/b.png", rename(log, secret)))


def _nerfstudio_naming(key: str, rename: Callable[[Path, Path], str], log: Path, secret: Path) -> None:
    log.mkdir()
    path = transforms(log)
    content = json.loads(path.read_text())
    owner = content["frames"][0] if key != "ply_file_path" else content
    owner[key] = rename(log, secret)
    path.write_text(json.dumps(content))


def _leading_out(good: Path) -> dict[str, Callable[[Path, Path], object]]:
    """List the ways in which logs name a file outside."""

    def scene(edit: Callable[[dict, Path, Path], object]) -> Callable[[Path, Path], None]:
        def make(log: Path, secret: Path) -> None:
            shutil.copytree(good, log)
            content = json.loads((log / "scene.json").read_text())
            edit(content, log, secret)
            (log / "scene.json").write_text(json.dumps(content))

        return make

    def link(path: Path, target: Path) -> None:
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        path.symlink_to(target)

    def move_out(name: str, log: Path, secret: Path) -> None:
        shutil.move(log / name, secret.with_name("moved"))
        (log / name).symlink_to(secret.with_name("moved"))

    def into_linked_folder(content: dict, log: Path, secret: Path) -> None:
        (log / "pictures").symlink_to(secret.parent)
        content["frames"][1]["image"] = f"pictures/{secret.name}"

    def loop(log: Path, name: str) -> None:
        link(log / name, log / f"{name}2")
        (log / f"{name}2").symlink_to(log / name)

    ways: dict[str, Any] = {}
    for name, rename in OUTSIDE.items():
        ways |= {
            f"image by {name}": scene(lambda c, log, s, r=rename: c["frames"][1].update(image=r(log, s))),
            f"mask by {name}": scene(lambda c, log, s, r=rename: c["frames"][1].update(masks={"sky": r(log, s)})),
            f"sweep by {name}": scene(lambda c, log, s, r=rename: c["sweeps"][1].update(file=r(log, s))),
            f"points by {name}": scene(lambda c, log, s, r=rename: c.update(points=r(log, s))),
            f"COLMAP image by {name}": partial(_colmap_naming, rename),
        }
        for key in ("file_path", "mask_path", "ply_file_path"):
            ways[f"Nerfstudio {key} by {name}"] = partial(_nerfstudio_naming, key, rename)
    return ways | {
        "image is a link": scene(lambda c, log, s: link(log / c["frames"][1]["image"], s)),
        "sweep is a link": scene(lambda c, log, s: move_out(c["sweeps"][1]["file"], log, s)),
        "a folder is a link": scene(into_linked_folder),
        "links in a circle": scene(lambda c, log, s: loop(log, c["frames"][1]["image"])),
        "link to a device": scene(lambda c, log, s: link(log / c["frames"][1]["image"], Path("/dev/zero"))),
    }


def _link_to_zeros(path: Path) -> None:
    path.symlink_to("/dev/zero")


def _bind_socket(path: Path) -> None:
    before = Path.cwd()
    os.chdir(path.parent)  # names of sockets are short
    try:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(path.name)
    finally:
        os.chdir(before)


SPECIAL: dict[str, Callable[[Path], object]] = {
    "FIFO": os.mkfifo,
    "folder": os.mkdir,
    "socket": _bind_socket,
    "link to /dev/zero": _link_to_zeros,
    "link to itself": lambda path: path.symlink_to(path),
}


def _read_special(form: Format, put: Callable[[Path], object], folder: Path) -> str | None:
    """Replace a valid file by something that is no file, and read it."""
    try:
        path = form.make(folder)
    except ImportError as error:
        raise ValueError(f"an optional package is missing: {error}") from error
    path.unlink()
    put(path)
    found = form.read(path)
    # A log of runs without lines, and points that are optional, are missing as if there were no file.
    return SENTENCE if found == [] or getattr(found, "points", 0) is None else RUNS


def _run_pickled_code(folder: Path) -> str | None:
    call = Call()
    call.reduced = (os.mkdir, (str(folder / "made"),))
    (folder / "table.pkl.gz").write_bytes(gzip.compress(pickle.dumps(call)))
    try:
        read_table(folder / "table.pkl.gz")
    finally:
        made = (folder / "made").exists()
        if made:
            (folder / "made").rmdir()
    return ATTACK if made else RUNS


def _run_folders() -> dict[str, Callable[[Path, Path], object]]:
    """List the ways in which a run folder from elsewhere leads to a file of the user's."""

    def linked(name: str) -> Callable[[Path, Path], None]:
        def make(run: Path, target: Path) -> None:
            (run / name).parent.mkdir(parents=True, exist_ok=True)
            (run / name).symlink_to(target)

        return make

    def linked_folder(name: str) -> Callable[[Path, Path], None]:
        return lambda run, target: (run / name).symlink_to(target.parent)

    return {
        **{
            f"{name} is a link": linked(name)
            for name in (".lock", "metrics.jsonl", "config.json", "recon/checkpoints/1")
        },
        **{f"{name}/ is a link": linked_folder(name) for name in ("recon", "results", "tensorboard")},
        ".lock is another name of the file": lambda run, target: os.link(target, run / ".lock"),
        "metrics.jsonl is another name of the file": lambda run, target: os.link(target, run / "metrics.jsonl"),
        ".lock is a FIFO": lambda run, target: os.mkfifo(run / ".lock"),
        ".lock is a folder": lambda run, target: (run / ".lock").mkdir(),
        "the folder is a link": lambda run, target: run.rmdir() or run.symlink_to(target.parent),
    }


def _write_into(prepare: Callable[[Path, Path], object], folder: Path) -> str | None:
    """Write what a run writes into a prepared folder; the file of the user's must stay as it was."""
    user, run = folder / "user", folder / "run"
    user.mkdir()
    run.mkdir()
    target = user / "thesis.txt"
    target.write_text("precious")
    prepare(run, target)
    try:
        with lock_run(run):
            for name in ("config.json", "results/metrics.json"):
                with atomic_write(run / name) as temporary:
                    temporary.write_text("{}")
            with Logger(run) as log:
                log.log(1, {"loss": 1.0})
    finally:
        is_link = run.is_symlink()  # then the folder itself was named by the user
        changed = target.read_text() != "precious" or (len(list(user.iterdir())) > 1 and not is_link)
    return ATTACK if changed else RUNS


def _render_names(folder: Path) -> str | None:
    """Write a page whose texts are HTML."""
    evil = "<script>alert(1)</script>"
    curve = Curve(evil, evil, [Series(evil, [0, 1], [0.5, 1.0])])
    rows = [MetricsRow(3.0, {evil: 1.0}, {evil: 2.0})]
    tables = [Table(evil, (evil,), [(evil,)])]
    write_page(folder / "page.html", Report(evil, evil, {evil: evil}, rows, (), [curve], tables=tables))
    return ATTACK if evil in (folder / "page.html").read_text() else RUNS


def _convert_named(good: Path, folder: Path) -> str | None:
    """Write a scene whose cameras, sensors and tracks are called like paths; nothing may be written elsewhere."""
    shutil.copytree(good, folder / "log")
    content = json.loads((folder / "log" / "scene.json").read_text())
    for number, frame in enumerate(content["frames"]):
        frame["camera"] = f"../../evil{number}"
    for sweep in content["sweeps"]:
        sweep["sensor"] = "/tmp/../evil"
    (folder / "log" / "scene.json").write_text(json.dumps(content))
    try:
        write_folder(open_log(str(folder / "log")), folder / "out" / "copy")
    finally:
        places = {path.name for path in folder.iterdir()} | {path.name for path in (folder / "out").glob("*")}
    return ATTACK if places - {"log", "out", "copy"} else RUNS
