"""Messages about memory that does not suffice."""

import jax.numpy as jnp
import pytest

from ff_jax.runtime.out_of_memory import explain, is_out_of_memory


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("RESOURCE_EXHAUSTED: Out of memory while trying to allocate 1073741824 bytes.", "1073741824 bytes"),
        ("RESOURCE_EXHAUSTED: Out of memory while trying to allocate 74.5GiB.", "74.5 GiB"),
        ("RESOURCE_EXHAUSTED: Out of memory allocating 12 bytes.", "12 bytes"),
        ("Unable to allocate 3.5 MiB for an array", "3.5 MiB"),
        ("RESOURCE_EXHAUSTED: Attempting to allocate 8.00M. That was not possible.", "8.00 M"),
        ("RESOURCE_EXHAUSTED: Error loading program: Attempting to reserve 29.5G at the bottom", "29.5 G"),
        ("RESOURCE_EXHAUSTED: something else", None),
    ],
)
def test_the_size_is_found(text, size):
    amount = f" ({size})" if size else ""
    assert explain(MemoryError(text), "lower --batch") == f"out of memory on this machine{amount}: lower --batch."


def test_a_real_failure_names_the_size_and_what_to_lower():
    with pytest.raises(Exception, match="RESOURCE_EXHAUSTED") as caught:
        jnp.zeros((1 << 50,)).block_until_ready()
    assert is_out_of_memory(caught.value) and not is_out_of_memory(ValueError("no"))
    sentence = explain(caught.value)
    assert sentence.startswith("out of memory on ") and f"({1 << 52} bytes)" in sentence
    assert "lower recon.budget" in sentence and "\n" not in sentence
