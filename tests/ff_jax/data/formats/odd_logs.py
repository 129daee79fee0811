"""Logs as people have them: small COLMAP and Nerfstudio folders, whose images tell which pose belongs to them."""

import json
import os
import shutil
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from tests.random_inputs import seeded_rng

COUNT, WIDTH, HEIGHT, FOCAL = 6, 48, 32, 40.0
STEP = 0.5  # units between two images
LEVEL = 30  # difference of the gray levels of two images
NAMES = tuple(f"{i:04d}.png" for i in range(COUNT))


def write_picture(path: Path, number: int, factor: float = 1.0, mode: str = "RGB", **options: Any) -> None:
    """Write the image of a pose in one gray level."""
    path.parent.mkdir(parents=True, exist_ok=True)
    size = round(WIDTH * factor), round(HEIGHT * factor)
    picture = Image.new("RGB", size, (LEVEL * number + 20,) * 3)
    (picture.quantize(8) if mode == "P" else picture.convert(mode)).save(path, **options)


def write_pictures(folder: Path, names: Sequence[str] = NAMES, **options: Any) -> None:
    """Write the images of all poses."""
    for number, name in enumerate(names):
        write_picture(folder / name, number, **options)


def colmap_text(
    folder: Path,
    names: Sequence[str] = NAMES,
    *,
    newline: str = "\n",
    encoding: str = "utf-8",
    separator: str = " ",
    points: bool = True,
) -> None:
    """Write a text model whose cameras look along z and move along x."""
    folder.mkdir(parents=True, exist_ok=True)
    words = ["1", "PINHOLE", WIDTH, HEIGHT, FOCAL, FOCAL, WIDTH / 2, HEIGHT / 2]
    files = {"cameras": [words]}
    files["images"] = []
    for number, name in enumerate(names):
        files["images"] += [[number + 1, 1, 0, 0, 0, -STEP * number, 0, 0, 1, name], []]
    xyz = seeded_rng().uniform((-3, -2, 4), (6, 2, 9), (40, 3))
    files["points3D"] = [[i + 1, *row, 9, 99, 199, 0.5, 1, 0] for i, row in enumerate(xyz.tolist())] if points else []
    for stem, rows in files.items():
        text = newline.join(["# a comment", *(separator.join(map(str, row)) for row in rows), ""])
        (folder / f"{stem}.txt").write_bytes(text.encode(encoding))


def frame_of(number: int, name: str) -> dict:
    """Make the record of an image of Nerfstudio."""
    matrix = np.diag([1.0, -1, -1, 1])
    matrix[0, 3] = STEP * number
    return {"file_path": name, "transform_matrix": matrix.tolist()}


def nerfstudio(folder: Path, names: Sequence[str] = NAMES, prefix: str = "images/", **content: Any) -> dict:
    """Write transforms.json, and return its content."""
    folder.mkdir(parents=True, exist_ok=True)
    head = {"camera_model": "OPENCV", "fl_x": FOCAL, "fl_y": FOCAL, "cx": WIDTH / 2, "cy": HEIGHT / 2}
    head |= {"w": WIDTH, "h": HEIGHT, "frames": [frame_of(i, prefix + name) for i, name in enumerate(names)]}
    head = {key: value for key, value in (head | content).items() if value is not None}
    (folder / "transforms.json").write_text(json.dumps(head))
    return head


def plain_colmap(
    folder: Path, names: Sequence[str] = NAMES, files: Sequence[str] | None = None, **options: Any
) -> Path:
    """Write a COLMAP folder; `files` are the names on the disk."""
    colmap_text(folder / "sparse" / "0", names, **options)
    write_pictures(folder / "images", names if files is None else files)
    return folder


def plain_nerfstudio(folder: Path, names: Sequence[str] = NAMES, **options: Any) -> Path:
    """Write a folder of Nerfstudio."""
    nerfstudio(folder, names, **options)
    write_pictures(folder / "images", names)
    return folder


class Case(NamedTuple):
    """One odd log: how it is written, and what is right."""

    write: Callable[[Path], str | Path]  # returns the source
    frames: tuple[int, ...] = tuple(range(COUNT))  # numbers of the poses that are read
    factor: float = 1.0  # of the image size
    error: str = ""  # pattern of the sentence
    warning: str = ""  # pattern of a line


CASES: dict[str, Case] = {}


def case(**right: Any) -> Callable[[Callable[[Path], str | Path]], Callable]:
    """Register a case under the name of its function."""

    def register(write: Callable[[Path], str | Path]) -> Callable:
        CASES[write.__name__] = Case(write, **right)
        return write

    return register


@case()
def suffixes_in_upper_case(folder):
    return plain_colmap(folder, [f"IMG_{i}.JPG" for i in range(COUNT)])


@case()
def other_case_on_the_disk(folder):
    return plain_colmap(folder, [f"IMG_{i}.JPG" for i in range(COUNT)], [f"img_{i}.jpg" for i in range(COUNT)])


@case(warning="6 images have another suffix")
def other_suffix_on_the_disk(folder):
    return plain_colmap(folder, NAMES, [name.replace(".png", ".jpg") for name in NAMES])


@case()
def mixed_suffixes(folder):
    return plain_colmap(folder, ["0.jpeg", "1.JPG", "2.png", "3.PNG", "4.webp", "5.jpg"])


@case()
def spaces_and_unicode(folder):
    return plain_colmap(folder / "Mein Film (1)", [f"Straße ü {i} 街.png" for i in range(COUNT)])


@case()
def nested_folders(folder):
    return plain_colmap(folder, [f"rig/cam front/{i:04d}.png" for i in range(COUNT)])


@case()
def windows_lines(folder):
    return plain_colmap(folder, newline="\r\n", encoding="utf-8-sig")


@case()
def tabs(folder):
    return plain_colmap(folder, separator="\t")


@case()
def latin_names(folder):
    return plain_colmap(folder, [f"café_{i}.png" for i in range(COUNT)], encoding="latin-1")


@case(warning="largest")
def several_models(folder):
    colmap_text(folder / "sparse" / "0", NAMES[:2])
    colmap_text(folder / "sparse" / "1", NAMES)
    colmap_text(folder / "sparse" / "2", NAMES[:3])
    write_pictures(folder / "images")
    return folder


@case()
def model_number_one(folder):
    colmap_text(folder / "sparse" / "1", NAMES)
    write_pictures(folder / "images")
    return folder


@case()
def the_folder_of_the_model(folder):
    return plain_colmap(folder) / "sparse" / "0"


@case()
def the_folder_sparse(folder):
    return plain_colmap(folder) / "sparse"


@case()
def model_under_colmap(folder):
    colmap_text(folder / "colmap" / "sparse" / "0")
    write_pictures(folder / "images")
    return folder


@case()
def rigs_and_frames(folder):
    import pycolmap

    plain_colmap(folder, points=False)
    model = pycolmap.Reconstruction(str(folder / "sparse" / "0"))
    shutil.rmtree(folder / "sparse")
    (folder / "sparse" / "0").mkdir(parents=True)
    model.write_binary(str(folder / "sparse" / "0"))
    assert (folder / "sparse" / "0" / "rigs.bin").is_file() and (folder / "sparse" / "0" / "frames.bin").is_file()
    return folder


@case(error="without poses: find them")
def only_a_database(folder):
    write_pictures(folder / "images")
    sqlite3.connect(folder / "database.db").close()
    (folder / "database.db").write_bytes(b"SQLite format 3\0")
    return folder


@case(factor=0.5, warning="scaled by 0.5")
def downscaled_in_place(folder):
    plain_colmap(folder)
    shutil.rmtree(folder / "images")
    write_pictures(folder / "images", factor=0.5)
    return folder


@case(factor=0.5, warning="images_2")
def only_downscaled_copies(folder):
    plain_colmap(folder)
    shutil.rmtree(folder / "images")
    write_pictures(folder / "images_2", factor=0.5)
    write_pictures(folder / "images_4", factor=0.25)
    return folder


@case()
def downscaled_copies_beside(folder):
    plain_colmap(folder)
    write_pictures(folder / "images_2", factor=0.5)
    return folder


@case(error=r"0000\.png.*32x48")
def turned_images(folder):
    plain_colmap(folder)
    for number, name in enumerate(NAMES):
        Image.new("RGB", (HEIGHT, WIDTH), (LEVEL * number + 20,) * 3).save(folder / "images" / name)
    return folder


@case()
def links_inside(folder):
    plain_colmap(folder)
    (folder / "images").rename(folder / "originals")
    (folder / "images").mkdir()
    for name in NAMES:
        (folder / "images" / name).symlink_to(Path("..") / "originals" / name)
    return folder


@case(error=r"leads to .*copy the file into the folder")
def links_outside(folder):
    plain_colmap(folder / "log")
    (folder / "log" / "images").rename(folder / "elsewhere")
    (folder / "log" / "images").symlink_to(folder / "elsewhere")
    return folder / "log"


@case()
def turned_by_a_tag(folder):
    names = [f"{i}.jpg" for i in range(COUNT)]
    plain_colmap(folder, names)
    exif = Image.Exif()
    exif[0x0112] = 6  # COLMAP does not turn images either
    write_pictures(folder / "images", names, exif=exif)
    return folder


@case()
def modes_of_png(folder):
    plain_colmap(folder)
    for number, (name, mode) in enumerate(zip(NAMES, ("L", "RGBA", "P", "LA", "RGB", "I;16"), strict=True)):
        if mode == "I;16":
            values = np.full((HEIGHT, WIDTH), (LEVEL * number + 20) * 257, np.uint16)
            Image.fromarray(values).save(folder / "images" / name)
        else:
            write_picture(folder / "images" / name, number, mode=mode)
    return folder


@case(error=r"0003\.png")
def a_cut_image(folder):
    plain_colmap(folder)
    write_picture(folder / "images" / NAMES[3], 3)
    data = (folder / "images" / NAMES[3]).read_bytes()
    (folder / "images" / NAMES[3]).write_bytes(data[:20])
    return folder


@case()
def no_points(folder):
    return plain_colmap(folder, points=False)


@case()
def files_of_the_system(folder):
    plain_colmap(folder)
    for name in (".DS_Store", "Thumbs.db", "._0000.png"):
        (folder / "images" / name).write_bytes(b"\0\1")
        (folder / "sparse" / name).write_bytes(b"\0\1")
    return folder


@case()
def lenses_of_their_own(folder):
    content = nerfstudio(folder, fl_x=None, fl_y=None, cx=None, cy=None, w=None, h=None)
    lens = {"fl_x": FOCAL, "fl_y": FOCAL, "cx": WIDTH / 2, "cy": HEIGHT / 2, "w": WIDTH, "h": HEIGHT}
    content["frames"] = [frame | lens for frame in content["frames"]]
    (folder / "transforms.json").write_text(json.dumps(content))
    write_pictures(folder / "images")
    return folder


@case()
def an_applied_transform(folder):
    rows = [[0.0, 1, 0, 0], [1, 0, 0, 0], [0, 0, -1, 0]]
    return plain_nerfstudio(folder, applied_transform=rows, applied_scale=1.0)


@case()
def no_such_points(folder):
    return plain_nerfstudio(folder, ply_file_path="sparse_pc.ply")


@case(factor=0.5, warning="images_2")
def nerfstudio_downscaled(folder):
    nerfstudio(folder)
    write_pictures(folder / "images_2", factor=0.5)
    return folder


@case()
def paths_of_another_machine(folder):
    return plain_nerfstudio(folder, prefix="/home/someone/data/scene/images/")


@case()
def paths_of_another_windows(folder):
    return plain_nerfstudio(folder, prefix="C:\\Users\\someone\\scene\\images\\")


@case()
def paths_with_the_folder_itself(folder):
    return plain_nerfstudio(folder / "scene", prefix="scene/images/")


@case()
def the_file_itself(folder):
    return plain_nerfstudio(folder) / "transforms.json"


@case()
def numbers_as_text(folder):
    return plain_nerfstudio(folder, fl_x=str(FOCAL), w=str(WIDTH))


@case()
def angles_without_suffixes(folder):
    names = [f"r_{i}" for i in range(COUNT)]
    angle = 2 * float(np.arctan(WIDTH / 2 / FOCAL))
    empty = dict.fromkeys(("fl_x", "fl_y", "cx", "cy", "w", "h", "camera_model"))
    nerfstudio(folder, names, "./images/", camera_angle_x=angle, aabb_scale=16, **empty)
    write_pictures(folder / "images", [f"{name}.png" for name in names])
    return folder


@case()
def a_matrix_of_three_rows(folder):
    content = nerfstudio(folder)
    for frame in content["frames"]:
        frame["transform_matrix"] = frame["transform_matrix"][:3]
    (folder / "transforms.json").write_text(json.dumps(content))
    write_pictures(folder / "images")
    return folder


@case(frames=(0, 1, 3, 4, 5), warning="1 of 6 images")
def one_image_less(folder):
    plain_nerfstudio(folder)
    os.remove(folder / "images" / NAMES[2])
    return folder


@case(error=r"is not a log, but .*log/scenes/first is one \(COLMAP model\); use that")
def a_folder_above_logs(folder):
    plain_colmap(folder / "scenes" / "first")
    plain_colmap(folder / "scenes" / "second")
    return folder


@case(error=r"log/images is not a log, but .*log is one \(Nerfstudio data set\); use that")
def the_folder_of_the_images(folder):
    return plain_nerfstudio(folder) / "images"


@case(error="no such file or folder")
def a_folder_that_is_not_there(folder):
    return folder / "nowhere"
