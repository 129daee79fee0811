"""Messages about memory that does not suffice."""

import jax.numpy as jnp
import pytest

from ff_jax.runtime.out_of_memory import as_size, explain, is_out_of_memory, largest_buffer, wanted_bytes

LISTED = """RESOURCE_EXHAUSTED: Out of memory while trying to allocate 9.00GiB.
BufferAssignment stats:
             parameter allocation:    6.00MiB
Peak buffers:
\tBuffer 1:
\t\tSize: 768.00MiB
\t\tEntry Parameter Subshape: f32[4096,128]
\t\t==========================

\tBuffer 2:
\t\tSize: 2.50GiB
\t\tOperator: op_name="jit(step)/rasterize/sort[dimension=0 is_stable=True]" source_file="a.py" source_line=6
\t\tXLA Label: sort
\t\tShape: (u32[67108864], s32[67108864])
\t\t==========================
"""


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("RESOURCE_EXHAUSTED: Out of memory while trying to allocate 1073741824 bytes.", 1 << 30),
        ("RESOURCE_EXHAUSTED: Out of memory while trying to allocate 74.5GiB.", round(74.5 * (1 << 30))),
        ("RESOURCE_EXHAUSTED: Out of memory allocating 12 bytes.", 12),
        ("Unable to allocate 3.5 MiB for an array", 7 << 19),
        ("RESOURCE_EXHAUSTED: Attempting to allocate 8.00M. That was not possible.", 8 << 20),
        ("RESOURCE_EXHAUSTED: Error loading program: Attempting to reserve 29.5G at the bottom", 59 << 29),
        ("RESOURCE_EXHAUSTED: something else", None),
    ],
)
def test_the_size_is_found(text, count):
    assert wanted_bytes(text) == count


def test_the_largest_of_the_buffers_that_are_listed_is_named():
    assert largest_buffer(LISTED) == "(u32[67108864], s32[67108864]) of jit(step)/rasterize/sort, 2.5 GiB"
    assert largest_buffer(LISTED.partition("\tBuffer 2")[0]) == "f32[4096,128] of the arguments, 768 MiB"
    assert largest_buffer("RESOURCE_EXHAUSTED: Out of memory allocating 12 bytes.") is None
    sentence = explain(MemoryError(LISTED), "lower --batch")
    assert sentence.startswith("a buffer of 9 GiB (in it, or beside it, (u32[") and sentence.endswith(
        ": lower --batch."
    )


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
