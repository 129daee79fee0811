"""The figures about the structure of a checkout, on a tree of five files."""

import subprocess
import sys
from pathlib import Path

from experiments.tools.structure import WALK, measure

FILES = {
    "ff_jax/__init__.py": "",
    "ff_jax/loose.py": '"""Return."""',
    "ff_jax/pipeline/fuse.py": """
from ff_jax.data import reader
from ff_jax.train.loop import train as run_training

def fuse(log):
    reader.read(log)
    more(log)
    run_training(log)

def more(log: object) -> object:
    "Return it."
    return log
""",
    "ff_jax/data/reader.py": """
def read(a, b, c, d, e, f, g, *, h=1, i=2):
    from ff_jax.train.loop import Loop
    return Loop().turn(a)

class Row: ...
""",
    "ff_jax/train/loop.py": """
from ff_jax.data import reader

class Loop:
    def turn(self, x): return x

class Row:
    pass

train = lambda log: reader.Row(log)
""",
}


def write(root: Path) -> Path:
    for name, text in FILES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def test_what_is_counted(tmp_path):
    rows, lists = measure(write(tmp_path))
    assert rows["loose modules in ff_jax/"] == 1 and rows["loose modules in experiments/"] == 0
    assert lists["imports upwards"] == ["ff_jax.data.reader -> ff_jax.train.loop"]
    assert lists["pairs of folders that import each other"] == ["ff_jax/data <-> ff_jax/train"]
    assert lists["functions with more than eight parameters"] == ["ff_jax.data.reader.read (9)"]
    assert lists["class names used twice"] == ["Row (2)"]
    assert rows["annotated arguments"] == "8.3%"  # one of twelve
    assert rows["lambdas bound to names"] == 1 and rows['docstrings that begin with "Return"'] == 2
    assert rows["lines in ff_jax/: not blank, all"] == "20, 29"


def test_the_walk_enters_each_function_once_and_counts_returns(tmp_path):
    rows, lists = measure(write(tmp_path))
    # fuse, read (data), Loop, Loop.turn (train), more (pipeline): train had not been visited before, pipeline had.
    assert [rows[f"walk from fuse(): {name}"] for name in WALK] == [5, 3, 1, 1]
    assert lists["climbs back into on the walk from fuse()"] == ["ff_jax.pipeline.fuse (1)"]
    (tmp_path / "ff_jax" / "pipeline" / "fuse.py").unlink()
    assert measure(tmp_path)[0]["walk from fuse(): climbs"] == "n/a"


def test_two_checkouts_are_two_columns(tmp_path):
    script = Path(__file__).parents[3] / "experiments" / "tools" / "structure.py"
    command = [sys.executable, script, f"--base={write(tmp_path)}", f"--root={tmp_path}", "--list"]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert output.startswith("| | before | after |\n|---|---:|---:|\n| loose modules in ff_jax/ | 1 | 1 |\n")
    assert "class names used twice:\n    Row (2)" in output
