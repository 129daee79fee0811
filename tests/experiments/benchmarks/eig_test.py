"""The benchmark of EIG beside training, on a scene that a CPU trains on at once."""

import json

import pytest

from tests import programs

pytestmark = pytest.mark.slow

TIMES = {"training step", "render", "fisher pass", "exact map", "trace map", "posterior"}


def test_times_shares_and_memory_of_a_scene(tmp_path):
    done = programs.run(
        "experiments.benchmarks.eig", "--scenes=200_48x32", "--calls=1", f"--out={tmp_path / 'figures.json'}"
    )
    assert done.returncode == 0, done.stderr[-3000:]
    device, memory, scene = done.stdout.splitlines()
    memory, scene = json.loads(memory), json.loads(scene)
    assert device.startswith("cpu")
    assert json.loads((tmp_path / "figures.json").read_text()) == memory | {"scenes": [scene]}
    # 55 numbers of geometry and 1 to 136 of color; 100 and 1 to 256: of four bytes each
    assert memory["bytes_per_gaussian"]["0"] == {"accumulator": 4 * (55 + 1), "posterior": 4 * (100 + 1)}
    assert memory["bytes_per_gaussian"]["3"] == {"accumulator": 4 * (55 + 136), "posterior": 4 * (100 + 256)}
    assert (scene["scene"], scene["gaussians"]) == ("200_48x32", 200) and scene["intersections"] > 0
    assert set(scene["ms"]) == set(scene["share"]) == TIMES
    for name in ("training step", "render", "posterior"):
        assert scene["ms"][name] > 0
        assert abs(scene["share"][name] - scene["ms"][name] / scene["ms"]["training step"]) < 0.01


def test_unknown_scenes_are_one_sentence():
    done = programs.run("experiments.benchmarks.eig", "--scenes=many")
    assert (
        done.returncode and "invalid --scenes=many: expected some of" in done.stderr and "Traceback" not in done.stderr
    )
