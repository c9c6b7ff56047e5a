"""A file of ours notices any turned bit, and files of others are read as ever."""

import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import SafetensorError
from safetensors.torch import load as plain_load
from safetensors.torch import save as plain_save

from pseudo3d.errors import WeightsError
from pseudo3d.recycle.files import METADATA_KEY, _read_safetensors, read_file
from pseudo3d.recycle.seal import KEY, sealed

TENSORS = {"a.weight": torch.arange(6.0).reshape(2, 3), "b": torch.tensor([True, False])}
TEXT = json.dumps({"name": "net", KEY: "0" * 64})  # looks like a digest, inside a string
DATA = sealed(TENSORS, {METADATA_KEY: TEXT})
HEADER = 8 + int.from_bytes(DATA[:8], "little")


def flipped(bit):
    torn = bytearray(DATA)
    torn[bit // 8] ^= 1 << bit % 8
    return bytes(torn)


def read(tmp_path, data):
    (tmp_path / "net.safetensors").write_bytes(data)
    return read_file(tmp_path / "net.safetensors")


def test_a_sealed_file_is_an_ordinary_one(tmp_path):
    state, text = read(tmp_path, DATA)
    assert text == TEXT
    for found in (state, plain_load(DATA)):
        assert {k: v.tolist() for k, v in found.items()} == {
            k: v.tolist() for k, v in TENSORS.items()
        }


def test_every_bit_of_the_header_counts():
    passed = []
    for bit in range(8 * HEADER):
        try:
            _read_safetensors(flipped(bit))
        except (SafetensorError, ValueError, TypeError):
            continue
        passed.append(bit)
    assert passed == []


@settings(max_examples=60, deadline=None)
@given(st.integers(8 * HEADER, 8 * len(DATA) - 1))
def test_every_bit_of_the_values_counts(tmp_path_factory, bit):
    with pytest.raises(WeightsError, match=r"does not match its sha256.*Get the file again"):
        read(tmp_path_factory.getbasetemp(), flipped(bit))


def test_files_without_a_digest_are_read(tmp_path):
    state, text = read(tmp_path, plain_save(TENSORS, {METADATA_KEY: TEXT}))
    assert text == TEXT
    assert state["b"].tolist() == [True, False]


def test_hashes_of_others_are_theirs(tmp_path):
    state, text = read(tmp_path, plain_save(TENSORS, {"sshs_model_hash": "ab" * 32}))
    assert text is None
    assert set(state) == set(TENSORS)


def test_the_same_content_gives_the_same_bytes():
    assert {sealed(TENSORS, {METADATA_KEY: TEXT}) for _ in range(8)} == {DATA}
