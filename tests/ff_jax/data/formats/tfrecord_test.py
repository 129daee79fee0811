import pytest

from experiments.studies.measures.robustness.writers import protobuf
from ff_jax.data.formats import tfrecord
from tests.random_inputs import seeded_rng


def test_checksums_equal_the_definition():
    rng = seeded_rng()
    assert tfrecord.crc32c(b"123456789") == 0xE3069283  # the check value of CRC-32C
    for length in [*range(20), *rng.integers(20, 3000, 20)]:
        data = rng.bytes(int(length))
        assert tfrecord.crc32c(data) == protobuf.crc32c(data)


def test_records_are_found_and_read(tmp_path):
    rng, path = seeded_rng(), tmp_path / "a.tfrecord"
    records = [rng.bytes(int(n)) for n in rng.integers(0, 900, 5)]
    path.write_bytes(protobuf.tfrecord(records))
    assert [tfrecord.read_record(path, *span) for span in tfrecord.index_records(path)] == records


def test_cut_off_and_damaged_files_give_one_sentence(tmp_path):
    rng, path = seeded_rng(), tmp_path / "a.tfrecord"
    whole = protobuf.tfrecord([rng.bytes(50), rng.bytes(60)])
    cases = {
        whole[:-10]: r"a\.tfrecord: ends in record 1, 10 byte\(s\) too early; download",
        whole[:70]: "ends in the header at byte 66; download",
        b"": "is empty; download",
        whole[:3] + b"\x01" + whole[4:]: "no TFRecord header at byte 0",
        b"something else entirely": "no TFRecord header at byte 0",
    }
    for data, message in cases.items():
        path.write_bytes(data)
        with pytest.raises(ValueError, match=message):
            tfrecord.index_records(path)
    flipped = bytearray(whole)
    flipped[20 + rng.integers(0, 30)] ^= 1 << rng.integers(0, 8)
    path.write_bytes(flipped)
    with pytest.raises(ValueError, match="record at byte 12 has a wrong checksum"):
        tfrecord.read_record(path, *tfrecord.index_records(path)[0])
    with pytest.raises(ValueError, match=r"b\.tfrecord: no such file"):
        tfrecord.index_records(tmp_path / "b.tfrecord")
