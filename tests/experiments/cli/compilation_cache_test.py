"""The cache of compiled programs: where it is, and how it is turned off."""

import jax
import pytest

from experiments.cli.compilation_cache import MAX_BYTES, MIN_SECONDS, keep_programs


@pytest.fixture
def cache(monkeypatch, tmp_path):
    """The folder of a user's cache; the settings of JAX are restored afterwards."""
    names = "jax_compilation_cache_dir", "jax_compilation_cache_max_size", "jax_enable_compilation_cache"
    names = *names, "jax_persistent_cache_min_compile_time_secs"
    before = {name: getattr(jax.config, name) for name in names}
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    jax.config.update("jax_compilation_cache_dir", None)
    yield tmp_path / "faithfusion"
    for name, value in before.items():
        jax.config.update(name, value)


def test_programs_are_stored_in_the_cache_folder_of_the_user(cache):
    keep_programs()
    (folder,) = cache.iterdir()
    assert jax.config.jax_compilation_cache_dir == str(folder) and jax.__version__ in folder.name
    assert jax.config.jax_compilation_cache_max_size == MAX_BYTES
    assert jax.config.jax_persistent_cache_min_compile_time_secs == MIN_SECONDS < 0.1
    keep_programs()  # of another run
    assert list(cache.iterdir()) == [folder]


def test_the_settings_of_jax_win(cache, tmp_path):
    jax.config.update("jax_enable_compilation_cache", False)
    keep_programs()
    assert jax.config.jax_compilation_cache_dir is None and not cache.exists()
    jax.config.update("jax_enable_compilation_cache", True)
    jax.config.update("jax_compilation_cache_dir", str(tmp_path / "own"))
    keep_programs()
    assert jax.config.jax_compilation_cache_dir == str(tmp_path / "own") and not cache.exists()


def test_a_folder_that_cannot_be_made_is_not_used(cache):
    cache.write_text("a file")
    keep_programs()
    assert jax.config.jax_compilation_cache_dir is None
