"""Messages about memory that does not suffice."""

import jax.numpy as jnp
import pytest

from ff_jax.train.memory import as_size, explain, is_out_of_memory, wanted_bytes


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("RESOURCE_EXHAUSTED: Out of memory while trying to allocate 1073741824 bytes.", 1 << 30),
        ("RESOURCE_EXHAUSTED: Out of memory while trying to allocate 74.5GiB.", round(74.5 * (1 << 30))),
        ("RESOURCE_EXHAUSTED: Out of memory allocating 12 bytes.", 12),
        ("Unable to allocate 3.5 MiB for an array", 7 << 19),
        ("RESOURCE_EXHAUSTED: something else", None),
    ],
)
def test_the_size_is_found(text, count):
    assert wanted_bytes(text) == count


def test_sizes_are_readable():
    assert [as_size(n) for n in (7, 1 << 10, 3 << 29, 5 << 40)] == ["7 bytes", "1 KiB", "1.5 GiB", "5 TiB"]


def test_a_real_failure_names_the_buffer_what_is_held_and_what_to_lower():
    held = jnp.zeros((1 << 21, 3))
    with pytest.raises(Exception, match="RESOURCE_EXHAUSTED") as caught:
        jnp.zeros((1 << 50,)).block_until_ready()
    assert is_out_of_memory(caught.value) and not is_out_of_memory(ValueError("no"))
    sentence = explain(caught.value)
    assert sentence.startswith("a buffer of 4.1e+03 TiB did not fit into the memory of ")
    assert f"float32[{len(held)},3] 24 MiB" in sentence and "lower recon.budget" in sentence and "\n" not in sentence
