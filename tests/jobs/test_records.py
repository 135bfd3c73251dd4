"""Records as bytes: a round trip is exact, and damage anywhere costs no more than what follows it."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fcn_onnx.jobs.records import Record, encode, header, read

KINDS = st.one_of(hnp.integer_dtypes(), hnp.floating_dtypes(), hnp.boolean_dtypes(), hnp.unicode_string_dtypes())
ARRAYS = KINDS.flatmap(lambda kind: hnp.arrays(kind, hnp.array_shapes(min_dims=0, min_side=0, max_side=4)))
RECORDS = st.builds(
    Record,
    st.lists(st.text(), max_size=3).map(tuple),
    st.dictionaries(st.text(max_size=5), ARRAYS, max_size=3),
)


def same(a: Record, b: Record) -> bool:
    return (
        a.done == b.done
        and a.arrays.keys() == b.arrays.keys()
        and all(
            (x.dtype, x.shape, x.tobytes()) == (y.dtype, y.shape, y.tobytes())
            for x, y in ((np.asarray(a.arrays[name]), b.arrays[name]) for name in a.arrays)
        )
    )


@given(st.text(), st.lists(RECORDS, max_size=4))
def test_a_round_trip_is_exact(job: str, records: list[Record]) -> None:
    written = header(job) + b"".join(map(encode, records))
    found = read(io.BytesIO(written))
    assert (found.job, found.size_bytes, found.damaged) == (job, len(written), False)
    assert len(found.records) == len(records)
    assert all(same(a, b) for a, b in zip(records, found.records, strict=True))


ROWS = [Record((f"{i}.jpg",), {"counts": np.arange(i, i + 6).reshape(2, 3), "ms": np.array(0.1 * i)}) for i in range(4)]
WRITTEN = header("job") + b"".join(map(encode, ROWS))


def ends() -> list[int]:
    """Where the header and each record end."""
    sizes = [len(header("job")), *(len(encode(row)) for row in ROWS)]
    return [sum(sizes[: i + 1]) for i in range(len(sizes))]


def test_a_file_cut_anywhere_gives_what_is_whole_before() -> None:
    for length in range(len(WRITTEN)):
        found = read(io.BytesIO(WRITTEN[:length]))
        whole = [end for end in ends() if end <= length]
        assert len(found.records) == max(0, len(whole) - 1)
        assert found.size_bytes == (whole[-1] if whole else 0)
        assert found.damaged == (length not in ends())


@pytest.mark.parametrize("bit", range(8))
def test_a_flipped_bit_anywhere_gives_what_is_whole_before(bit: int) -> None:
    for position in range(len(WRITTEN)):
        damaged = bytearray(WRITTEN)
        damaged[position] ^= 1 << bit
        found = read(io.BytesIO(damaged))
        whole = [end for end in ends() if end <= position]
        assert found.damaged
        assert found.job == ("job" if whole else None)
        assert len(found.records) == max(0, len(whole) - 1)
        assert all(same(a, b) for a, b in zip(ROWS, found.records, strict=False))
