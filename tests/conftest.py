"""Shared test settings: shapes of every annotated function are checked at run time, in tests only."""

import gc
import os
import re
import secrets
from contextlib import contextmanager
from pathlib import Path

import jax
import pytest
from jaxtyping import install_import_hook

import tests.type_checks  # noqa: F401  the import hook asks for it
from tests import random_inputs
from tests.compiling import ONE_PART

# Kept between sessions: a key holds the program, the flags and the version, so that no entry is ever out of date.
CACHE = Path(__file__).parents[1] / ".cache" / "jax_tests"

install_import_hook(["kernels", "ff_jax"], "tests.type_checks.check")


# The longest files come first: a worker that began one of them last would leave the other one idle.
LONG = {
    "experiments/benchmarks/fixers_test.py",
    "experiments/commands_test.py",
    "experiments/fixers/train_processes_test.py",
    "experiments/fuse_test.py",
    "experiments/notebook_test.py",
    "experiments/studies/measures/uncertainty_maps_test.py",
    "experiments/sweeps/run_test.py",
    "ff_jax/fixers/difix/model_test.py",
    "ff_jax/fixers/eigent/trainer_test.py",
    "ff_jax/fixers/training/devices_test.py",
    "ff_jax/render/multi_device_test.py",
}
ALL_SLOW = re.compile(r"^pytestmark = .*\bpytest\.mark\.slow\b", re.MULTILINE)


def pytest_ignore_collect(collection_path, config):
    """Do not import the files of the marker `slow` for the fast tier: importing all takes a fifth of its time."""
    if config.option.markexpr == "not slow" and collection_path.name.endswith("_test.py"):
        return bool(ALL_SLOW.search(collection_path.read_text())) or None
    return None


@pytest.hookimpl(tryfirst=True)  # before tests are selected by markers
def pytest_collection_modifyitems(items):
    """Put the longest files first; without a GPU, skip `gpu` tests and compile quickly."""
    folder = Path(__file__).parent
    places = {item: item.path.relative_to(folder).as_posix() for item in items}
    items.sort(key=lambda item: places[item] not in LONG)
    if jax.default_backend() == "gpu":
        return
    compile_quickly()
    for item in items:
        if "gpu" in item.keywords:
            item.add_marker(pytest.mark.skip(reason="needs an NVIDIA GPU"))


@pytest.fixture(scope="session")
def assets() -> Path:
    """Return the folder with the real data sets, or skip: set FF_ASSETS to the folder that holds data/."""
    root = Path(os.environ.get("FF_ASSETS", Path(__file__).parents[1] / ".." / "shared")).resolve()
    if not (root / "data").is_dir():
        pytest.skip(f"no real data at {root}: set FF_ASSETS to the folder that holds data/")
    return root


def pytest_addoption(parser):
    parser.addoption("--seed", default="0", help="Seed of the random inputs of the tests: a number, or 'random'.")


def pytest_configure(config):
    """Set what all workers and child processes share, before they start: the seed and the compilation cache."""
    if config.getoption("seed") == "random":
        config.option.seed = str(secrets.randbelow(10**9))
    os.environ[random_inputs.SEED] = str(int(config.option.seed))
    if not hasattr(config, "workerinput"):
        share_compilations(str(CACHE / jax.__version__))
        # Workers and child processes import the same sources: what Python compiles is kept, even if it was not to be.
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
        generate_code_faster()
        forget_lines()
    else:
        # Writing a program down takes half as long as compiling it, and few but the largest are asked for twice here.
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
    # Programs of hundreds of tests stay in memory; looking through them for garbage again and again takes long.
    gc.freeze()
    gc.set_threshold(100_000, 20, 1000)


def share_compilations(folder: str) -> None:
    """Compile no program twice in a session: compiling takes most of the time of most tests.

    An entry that another process has not finished writing is compiled again, with a warning.
    """
    settings = {
        "jax_compilation_cache_dir": folder,
        "jax_persistent_cache_min_compile_time_secs": 0,
        "jax_persistent_cache_min_entry_size_bytes": 0,
    }
    for name, value in settings.items():
        os.environ[name.upper()] = str(value)
        jax.config.update(name, value)


def generate_code_faster() -> None:
    """Let XLA compile each program for CPUs in one part, not in 32: that takes a fifth less of the two cores' time.

    Its older code generator, where it still has it, takes a third less again. Programs that tests start with XLA flags
    of their own add those to these. Flags that are given win.
    """
    older = "--xla_cpu_use_fusion_emitters=false" if jax.__version_info__ < (0, 11) else ""
    os.environ["XLA_FLAGS"] = f"{ONE_PART} {older} {os.environ.get('XLA_FLAGS', '')}"


def forget_lines() -> None:
    """Leave out of compiled programs which lines of Python their operations come from: no test asks for it."""
    settings = {"jax_include_full_tracebacks_in_locations": False, "jax_traceback_in_locations_limit": 0}
    for name, value in settings.items():
        os.environ[name.upper()] = str(int(value))
        jax.config.update(name, value)


def pytest_sessionfinish():
    """Let pytest's last searches for garbage find nothing to look at: thousands of programs are still in memory."""
    gc.freeze()


QUICK = "jax_disable_most_optimizations"


def compile_quickly() -> None:
    """Leave out most of XLA's optimizations, in child processes too: most compile longer than they run."""
    os.environ[QUICK.upper()] = "1"
    jax.config.update(QUICK, True)


@contextmanager
def _optimized():
    quick = os.environ.pop(QUICK.upper(), None)
    jax.config.update(QUICK, False)
    yield
    if quick:
        compile_quickly()


@pytest.fixture
def optimized():
    """Compile as usual, where what the compiler makes of the numbers is the point."""
    with _optimized():
        yield


@pytest.fixture(scope="module")
def optimized_module():
    """Compile a whole module's programs as usual: they run for longer than they compile."""
    with _optimized():
        yield


def pytest_report_header(config):
    return f"random inputs: --seed={config.getoption('seed')}"
