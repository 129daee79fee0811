"""The README's commands are the ones that exist, and CI runs the README's test command."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def test_every_module_and_file_in_the_readme_exists():
    modules = set(re.findall(r"-m (experiments\.\w+)", README))
    assert "experiments.fuse" in modules
    for module in modules:  # read, not imported: every entry point defines flags of its own
        path = ROOT / (module.replace(".", "/") + ".py")
        names = {node.name for node in ast.parse(path.read_text()).body if isinstance(node, ast.FunctionDef)}
        assert "main" in names, module
    for path in re.findall(r"`((?:ff_jax|kernels|experiments|docs)/[\w/]+\.py)`", README):
        assert (ROOT / path).is_file(), path
    for path in re.findall(r"\]\((docs/[\w/.]+)\)", README):
        assert (ROOT / path).is_file(), path


def test_two_commands_set_up_everything():
    lines = [line for line in README.splitlines() if line.startswith("python3 -m venv")]
    assert len(lines) == 2
    assert all("-r requirements-cpu.txt" in line for line in lines)
    assert lines[0].endswith("-m experiments.fuse --workdir=runs/demo")
    assert lines[1].endswith("-m pytest") and "-r requirements-test.txt" in lines[1]


def test_ci_runs_the_test_command_of_the_readme():
    script = (ROOT / ".ci" / "run").read_text()
    pattern = re.search(r"grep -m1 -E '(.+)' README\.md", script).group(1)
    found = [line for line in README.splitlines() if re.search(pattern, line)]
    assert found and found[0].endswith("-m pytest")


def test_requirements_differ_in_cuda_only():
    lines = [
        [line for line in (ROOT / name).read_text().splitlines() if line and not line.startswith("#")]
        for name in ("requirements.txt", "requirements-cpu.txt")
    ]
    assert [line.replace("jax[cuda12]", "jax") for line in lines[0]] == lines[1]
    asked = "jax flax optax orbax-checkpoint jaxtyping diffusers tensorflow-datasets chex absl-py".split()
    named = {re.match(r"[\w-]+", line).group(0) for line in lines[1]}
    assert set(asked) <= named
