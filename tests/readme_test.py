"""Commands, files and snippets of the README and of docs/ are ones that exist and run; CI runs the test command."""

import ast
import re
from pathlib import Path

import pytest

from ff_jax.config import FuseConfig, to_dict

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
COMMAND = re.compile(r"python3? -m (experiments(?:\.\w+)+)((?:(?:\s|\\\n)+\[?--?[^\s`]+)*)")
PROCESSES = {"coordinator", "processes", "process"}
each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def parse(module: str) -> ast.Module:
    # Read, not imported: every entry point defines flags of its own.
    return ast.parse((ROOT / (module.replace(".", "/") + ".py")).read_text())


def flags_of(module: str) -> set[str]:
    """Return the names of the flags that an entry point defines."""
    calls = [node for node in ast.walk(parse(module)) if isinstance(node, ast.Call)]
    called = {call.func.attr: call for call in calls if isinstance(call.func, ast.Attribute)}
    defined = [call for call in calls if getattr(call.func, "attr", "").startswith("DEFINE_")]
    names = {call.args[0].value for call in defined}
    names |= {"no" + call.args[0].value for call in defined if call.func.attr == "DEFINE_bool"}
    names |= PROCESSES if {"process_flags", "one_process_flags"} & set(called) else set()
    return names | ({"config"} if "config_flag" in called else set())


@each_page
def test_every_module_and_flag_exists(page):
    settings = to_dict(FuseConfig())
    commands = COMMAND.findall(page.read_text())
    assert commands or page.name not in ("README.md", "tpu.md", "benchmarks.md")
    for module, arguments in commands:
        names = {node.name for node in parse(module).body if isinstance(node, ast.FunctionDef)}
        assert "main" in names, module
        for name in re.findall(r"--([\w.]+)", arguments):
            if name.startswith("config.") and name != "config.name":  # the README's word for any of them
                inner = settings
                for part in name.split(".")[1:]:
                    assert part in inner, name
                    inner = inner[part]
            else:
                assert name.split(".")[0] in flags_of(module) | {"help"}, (module, name)


@each_page
def test_every_file_exists(page):
    text = page.read_text()
    for path in re.findall(r"(?<![\w/])((?:ff_jax|kernels|experiments|docs|tests)/[\w/]+\.(?:py|md|ipynb))", text):
        assert (ROOT / path).is_file(), path
    for link in re.findall(r"\]\(([\w/.-]+)(?:#[\w-]+)?\)", text):
        assert (page.parent / link).exists(), link


@each_page
def test_every_function_in_the_docs_exists(page):
    for module, name in re.findall(r"`(ff_jax(?:\.[a-z_]+)+)\.(\w+)`", page.read_text()):
        place = ROOT / module.replace(".", "/")
        file = place.with_suffix(".py") if place.with_suffix(".py").is_file() else place / "__init__.py"
        assert file.is_file() and (re.search(rf"\b{name}\b", file.read_text()) or (place / f"{name}.py").is_file())


def snippets(*pages: Path) -> list[str]:
    return [text for page in pages for text in re.findall(r"```python\n(.*?)```", page.read_text(), re.S)]


@pytest.mark.parametrize("snippet", snippets(ROOT / "docs" / "extending.md"))
def test_snippets_run(snippet):
    exec(compile(snippet, "snippet", "exec"), {"__name__": "snippet"})


@pytest.mark.parametrize("snippet", snippets(*PAGES))
def test_what_snippets_import_exists(snippet):
    """Those of other pages need weights or a log."""
    imports = [node for node in ast.parse(snippet).body if isinstance(node, ast.Import | ast.ImportFrom)]
    exec(compile(ast.Module(imports, []), "snippet", "exec"), {})


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
