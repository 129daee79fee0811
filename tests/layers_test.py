"""The order of the packages: imports go down the table only, and each package uses what the one below exports."""

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# From the top: a package may import the layers below its own, and itself.
LAYERS = (
    ("experiments",),
    ("ff_jax.viewer", "ff_jax.simulation"),
    ("ff_jax.pipeline",),
    ("ff_jax.evaluation", "ff_jax.fixers"),
    ("ff_jax.eig",),
    ("ff_jax.train",),
    ("ff_jax.metrics", "ff_jax.export", "ff_jax.scene"),
    ("ff_jax.data",),
    ("ff_jax.render",),
    ("kernels", "ff_jax.runtime"),
)
LEVEL = {name: level for level, layer in enumerate(LAYERS) for name in layer}
KERNEL_IMPORTS = {"jax", "numpy", "jaxtyping", "kernels"}
EVERYDAY = {"convert", "edit", "evaluate", "fuse", "prepare", "reconstruct", "render", "serve", "view"}


def modules(package: str) -> list[Path]:
    """List the modules of a top-level package."""
    paths = sorted((ROOT / package).rglob("*.py"))
    assert paths, package
    return paths


def imports(path: Path) -> Iterator[str]:
    """List the dotted names of all modules that a file imports, wherever in the file."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def package_of(name: str) -> str:
    """Return the package in the table that a dotted name belongs to."""
    parts = name.split(".")
    return ".".join(parts[:2]) if parts[0] == "ff_jax" else parts[0]


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


@pytest.mark.parametrize("top", ["ff_jax", "kernels", "experiments"])
def test_imports_go_down_the_table(top):
    for path in modules(top):
        package = package_of(module_name(path))
        if package == "ff_jax.__init__":  # the index of the public names imports at first use
            continue
        for name in imports(path):
            other = package_of(name)
            if other in LEVEL and other != package:
                assert LEVEL[other] > LEVEL[package], f"{path.relative_to(ROOT)} imports {name}"


def test_every_package_is_in_the_table():
    packages = {f"ff_jax.{path.parent.name}" for path in (ROOT / "ff_jax").glob("*/__init__.py")}
    assert packages == {name for name in LEVEL if name.startswith("ff_jax.")}
    assert [path.name for path in (ROOT / "ff_jax").glob("*.py")] == ["__init__.py"]  # no loose modules


def test_experiments_show_the_everyday_commands():
    assert {path.stem for path in (ROOT / "experiments").glob("*.py")} == EVERYDAY | {"__init__", "__main__"}


def test_ff_jax_imports_only_what_kernels_exports():
    import kernels

    for path in modules("ff_jax"):
        for name in imports(path):
            if name.split(".")[0] == "kernels":
                exported = name.removeprefix("kernels.")
                assert exported in kernels.__all__, f"{path.relative_to(ROOT)} imports {name}"


def test_kernels_import_only_jax_and_numpy():
    for path in modules("kernels"):
        foreign = {name.split(".")[0] for name in imports(path)} - KERNEL_IMPORTS - set(sys.stdlib_module_names)
        assert not foreign, f"{path.relative_to(ROOT)} imports {sorted(foreign)}"


def test_ff_jax_reads_no_flags_and_no_environment():
    for path in modules("ff_jax"):
        assert not {name.split(".")[0] for name in imports(path)} & {"absl", "ml_collections"}, path
        assert not re.search(r"os\.environ|getenv", path.read_text()), f"{path} reads the environment"


def test_no_distribution_is_called_kernels():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["name"] == "faithfusion-jax"


def test_tests_mirror_the_packages():
    for path in (ROOT / "tests").rglob("*_test.py"):
        folder = path.parent.relative_to(ROOT / "tests")
        assert folder == Path() or (ROOT / folder).is_dir(), f"{path.relative_to(ROOT)} tests no package"
