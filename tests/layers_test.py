"""Dependencies point one way: kernels <- ff_jax <- experiments; only experiments knows flags and the environment."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
KERNEL_IMPORTS = {"jax", "numpy", "jaxtyping", "kernels"}


def imports(path: Path) -> set[str]:
    """Return the dotted names of all modules that a file imports."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module or "")
    return names


def tops(path: Path) -> set[str]:
    return {name.split(".")[0] for name in imports(path)}


def modules(package: str) -> list[Path]:
    found = sorted((ROOT / package).rglob("*.py"))
    assert found, package
    return found


def test_kernels_import_only_jax_and_numpy():
    import sys

    for path in modules("kernels"):
        foreign = tops(path) - KERNEL_IMPORTS - set(sys.stdlib_module_names)
        assert not foreign, f"{path.relative_to(ROOT)} imports {sorted(foreign)}"


def test_ff_jax_does_not_know_experiments_or_flags():
    for path in modules("ff_jax"):
        assert not tops(path) & {"experiments", "absl", "ml_collections"}, path
        assert not re.search(r"os\.environ|getenv", path.read_text()), f"{path} reads the environment"


def test_no_distribution_metadata():
    assert "[project]" not in (ROOT / "pyproject.toml").read_text()


def test_test_files_have_names_of_their_own():
    """Files of one name in folders that are no packages cannot be collected together."""
    names = [path.name for path in (ROOT / "tests").rglob("*_test.py") if not (path.parent / "__init__.py").exists()]
    assert len(names) == len(set(names)), sorted(name for name in set(names) if names.count(name) > 1)
