"""Our reader of MATLAB files against scipy's."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy.io import loadmat, savemat

from pseudo3d.errors import ManifestError
from pseudo3d.protocols.matfile import read_mat


@settings(max_examples=30, deadline=None)
@given(
    array=arrays.arrays(
        st.sampled_from(["f8", "f4", "i1", "u1", "i2", "u2", "i4", "u4", "i8"]),
        arrays.array_shapes(min_dims=2, max_dims=4, min_side=0, max_side=4),
    ),
    squeezed=st.booleans(),
)
def test_arrays_are_those_that_scipy_reads(tmp_path_factory, array, squeezed):
    path = tmp_path_factory.mktemp("mat") / "a.mat"
    others = {"before": "text", "s": {"x": 1}, "z": np.ones(2) * 1j}
    savemat(path, {**others, "wanted": array, "after": 2}, do_compression=squeezed)
    np.testing.assert_array_equal(read_mat(path, "wanted"), loadmat(path)["wanted"])


@pytest.mark.parametrize("name", ["text", "struct", "complex", "absent"])
def test_other_things_are_refused(tmp_path, name):
    path = tmp_path / "a.mat"
    savemat(path, {"text": "abc", "struct": {"x": 1}, "complex": np.ones(2) * 1j})
    with pytest.raises(ManifestError, match=f"wanted a MATLAB file with {name}"):
        read_mat(path, name)


def test_a_file_of_another_kind_is_refused(tmp_path):
    path = tmp_path / "a.mat"
    for data in (b"", b"x" * 200, b"\x89HDF\r\n\x1a\n" + bytes(200)):
        path.write_bytes(data)
        with pytest.raises(ManifestError, match="save it with -v7"):
            read_mat(path, "a")
