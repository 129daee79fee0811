import json

import numpy as np
from PIL import Image

from ff_jax.data.folder import read_folder, write_folder
from ff_jax.data.loader import load_mask
from tests import programs
from tests.ff_jax.data import tiny


def test_masks_are_added_and_drawn(tmp_path):
    source = write_folder(tiny.make_scene(tmp_path / "files"), tmp_path / "source")
    outlines, camera = tmp_path / "outlines.json", read_folder(source).cameras[0]
    outlines.write_text(json.dumps({camera: [[[0, 0.5], [1, 0.5], [1, 1], [0, 1]]]}))
    arguments = ("--sky=color", "--smooth", "--paths", f"--outlines={outlines}")
    made = programs.run("experiments.prepare", f"--source={source}", f"--out={tmp_path}/made", *arguments)
    assert made.returncode == 0, made.stderr
    scene = read_folder(tmp_path / "made")
    lower = [load_mask(frame, "valid")[8:].max() == 0 for frame in scene.frames]
    assert lower == [frame.camera == camera for frame in scene.frames]
    assert all("sky" in frame.masks and load_mask(frame, "sky").shape == (16, 24) for frame in scene.frames)
    assert np.asarray(Image.open(tmp_path / "made" / "preview.png")).std() > 10


def test_wrong_use_gets_one_sentence(tmp_path):
    source = write_folder(tiny.make_scene(tmp_path / "files"), tmp_path / "source")
    wrong = {
        (): "expected --sky, --ego, --outlines, --smooth, --paths or --points",
        ("--ego",): "3 frame(s)",
        ("--sky=/none.onnx",): "/none.onnx",
        ("--outlines=/none.json",): "/none.json",
    }
    calls = [[f"--source={source}", f"--out={tmp_path}/made", *arguments] for arguments in wrong]
    for done, sentence in zip(programs.run_each("experiments.prepare", calls), wrong.values(), strict=True):
        assert done.returncode != 0 and sentence in done.stderr and "Traceback" not in done.stderr, done
