import numpy as np
import pytest

from experiments.studies.measures.robustness.writers.protobuf import encode, varint
from ff_jax.data.formats.protobuf_wire import Field, decode
from tests.random_inputs import seeded_rng

INNER = {1: Field("x", "double"), 15: Field("label", "string")}
TABLE = {
    1: Field("count", "int"),
    2: Field("counts", "int", True),
    3: Field("values", "double", True),
    4: Field("floats", "float", True),
    5: Field("inner", INNER),
    6: Field("many", INNER, True),
    7: Field("blob", "span"),
    2000: Field("ratio", "float"),
}


@pytest.mark.parametrize("packed", [False, True])
def test_what_is_encoded_is_decoded(packed):
    rng = seeded_rng()
    message = {
        "count": int(rng.integers(-(2**62), 2**62)),
        "counts": [int(n) for n in rng.integers(-(2**40), 2**40, 5)],
        "values": rng.normal(size=4),
        "floats": rng.normal(size=3).astype(np.float32),
        "inner": {"x": rng.normal(), "label": "Straße"},
        "many": [{"x": rng.normal(), "label": str(i)} for i in range(3)],
        "blob": rng.bytes(300),
        "ratio": float(np.float32(rng.normal())),
    }
    data = encode(message, TABLE, packed)
    actual = decode(data, TABLE)
    start, stop = actual.pop("blob")
    assert data[start:stop] == message.pop("blob")
    for key in ("values", "floats"):
        np.testing.assert_array_equal(actual.pop(key), message.pop(key))
    assert actual == message
    # Fields that the table does not list are skipped.
    assert decode(data, {1: TABLE[1]}) == {"count": message["count"]}


def test_packed_and_single_numbers_of_one_field_are_joined():
    table = {3: Field("values", "double", True)}
    data = encode({"values": [1.0, 2.0]}, table, True) + encode({"values": [3.0]}, table)
    assert decode(data, table)["values"].tolist() == [1, 2, 3]
    absent = decode(b"", TABLE)
    assert absent["count"] is None and absent["many"] == [] and absent["values"].shape == (0,)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\x08\xff", "does not end"),
        (varint(7 << 3 | 2) + varint(9) + b"abc", "is longer than its message"),
        (b"\x0b", "wire type 3"),
        (varint(1 << 3 | 1) + bytes(8), "'count' is of another type"),
        (varint(3 << 3 | 2) + varint(7) + bytes(7), "'values' is of another type"),
        (varint(5 << 3) + b"\x01", "'inner' is of another type"),
    ],
)
def test_other_bytes_are_refused(data, message):
    with pytest.raises(ValueError, match=message):
        decode(data, TABLE)
