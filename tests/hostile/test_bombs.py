"""Small files that promise huge things: refused in words, at once, in little memory.

All of it happens in one process that may take 500 MiB: what takes more is an error about memory,
which no test here accepts.
"""

import gzip
import json
import struct
import zipfile
import zlib
from io import BytesIO

import numpy as np
import pytest

from hostile.targets import TARGETS, _dicom, _npz, _ours
from hostile.test_seeds import HERE
from pseudo3d.data.isolation.isolated import Isolated, Limits

MIB = 2**20


@pytest.fixture(scope="module")
def parse():
    """Have a parser read bytes in a process of its own; gives what it refuses them with."""
    limits = Limits(seconds=60, memory_bytes=500 * MIB)
    with pytest.MonkeyPatch.context() as patch, Isolated(limits) as reader:
        patch.setenv("PYTHONPATH", str(HERE.parent))

        def run(target, data):
            return reader.call("hostile.tasks:parse", target=target, data=data)

        yield run
        assert reader.replaced == 0


def npy(shape, descr="<f4", data=b""):
    text = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}}}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode() + data


def packed(files):
    """A zip; of a pair, the number says how many zeros follow the bytes."""
    out = BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, data in files.items():
            with archive.open(name, "w", force_zip64=True) as file:
                if isinstance(data, bytes):
                    file.write(data)
                    continue
                head, count = data
                file.write(head)
                for _ in range(count // MIB):
                    file.write(bytes(MIB))
    return out.getvalue()


def test_archives_that_unpack_to_far_more_than_they_are(parse):
    bomb = packed({"a.npy": (npy((1030 * MIB,), "u1"), 1030 * MIB)})
    assert len(bomb) < 5 * MIB
    assert "times as many" in parse("numpy", bomb)
    for target, name in (("mxnet", "net.params"), ("arrays", "train_images.npy")):
        small = packed({name: bytes(1234)})
        assert small.count(struct.pack("<I", 1234)) == 2
        bomb = small.replace(struct.pack("<I", 1234), struct.pack("<I", 2**32 - 2))  # says so only
        assert "times as many" in parse(target, bomb)


def test_arrays_that_promise_more_than_there_is(parse):
    for shape in ((2**40,), (2**20, 2**20, 2**20), (0, 2**62), (-1, 5)):
        for name in ("features", "numpy", "arrays"):
            data = packed({f"{n}.npy": npy(shape) for n in ("paths", "features", "about")})
            assert parse(name, data)
    assert "no array" in parse("arrays", npy((2**20, 2**10, 2**10), "<f8"))


def test_headers_of_safetensors_that_lie(parse, tmp_path):
    entry = {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}
    for text, length in (
        (json.dumps({"a": entry}), None),
        (json.dumps({"a": {**entry, "data_offsets": [-4, 0]}}), None),
        ("{}", 2**62),
        ("{}", 2**31),
        ("{" * 50_000, None),
        ('{"__metadata__": {"pseudo3d": ' + "[" * 10_000 + "}}", None),
    ):
        data = struct.pack("<Q", len(text) if length is None else length) + text.encode()
        assert "damaged" in parse("safetensors", data)
    assert parse("safetensors", _ours(tmp_path)[0]) == ""


@pytest.mark.parametrize(
    "change",
    [
        {"config": {"widths": [10**6] * 4}},
        {"config": {"depths": [10**9] * 4}},
        {"config": {"num_classes": 10**12}},
        {"config": {"num_classes": -5}},
        {"config": {"stem_kernel": [999, 9999, 9999]}},
        {"self_test": {"seed": 1, "shape": [1, 3, 10**4, 10**4, 10**4], "logits": [0.0]}},
        {"self_test": {"seed": 1, "shape": [1, 3, -8, 8, 8], "logits": [0.0]}},
        {"self_test": {"seed": 1, "shape": "x", "logits": None}},
        {"config": 7},
        {"name": "../../etc"},
    ],
)
def test_checkpoints_that_describe_something_else_than_they_hold(parse, tmp_path, change):
    from safetensors.torch import load, save

    data = _ours(tmp_path)[0]
    length = int.from_bytes(data[:8], "little")
    card = json.loads(json.loads(data[8 : 8 + length])["__metadata__"]["pseudo3d"])
    for key, value in change.items():
        card[key] = {**card[key], **value} if isinstance(value, dict) else value
    assert parse("safetensors", save(load(data), {"pseudo3d": json.dumps(card)}))


def test_nested_json_and_long_numbers(parse):
    deep = b"[" * 100_000 + b"]" * 100_000
    for kind in (b"c", b"a", b"s", b"r"):
        assert parse("notes", kind + deep)
        assert parse("notes", kind + b'{"rule": ' + b"9" * 10_000 + b"}")
    assert parse("spans", b'{"database": ' + deep + b"}")
    assert parse("socket", deep + b"\0")
    assert parse("shards", b" " * 79 + b'"a": ' + deep + b"}")


def test_tables_with_zeros_huge_cells_and_endless_lines(parse):
    for target in ("manifest", "scans", "spans", "features"):
        head = b"path,label,start,end\n"
        for line in (b"a\0b,c,1,2\n", b'"' + b"x" * 300_000, b"," * 100_000, b"\xff\xfe\0\0"):
            assert parse(target, head + line), (target, line[:20])
        assert parse(target, head + b"x" * 5000 + b",a,0,1\n" + b"y" * 300 + b".mp4,b,0,1\n") or (
            target == "features"
        )


def test_lists_that_unpack_to_gigabytes(parse):
    once = zlib.compressobj(1, wbits=31)
    bomb = b"".join(once.compress(bytes(MIB)) for _ in range(280)) + once.flush()
    assert len(bomb) < 2 * MIB
    assert "times as many" in parse("lists", bomb)


def nifti(*shape, kind=16, bits=32):
    head = bytearray(352)
    struct.pack_into("<i", head, 0, 348)
    struct.pack_into("<8h", head, 40, len(shape), *shape, *[1] * (7 - len(shape)))
    struct.pack_into("<hh", head, 70, kind, bits)
    struct.pack_into("<8f", head, 76, *[1.0] * 8)
    struct.pack_into("<f", head, 108, 352.0)
    struct.pack_into("<f", head, 112, 1.0)
    head[344:348] = b"n+1\0"
    return bytes(head)


@pytest.mark.parametrize(
    ("shape", "told"),
    [
        ((32767,) * 3, "promises"), ((2000,) * 3, "promises"), ((32767,) * 7, "axes"),
        ((-5, 3, 3), ""), ((0, 3, 3), "voxels"),
    ],
)  # fmt: skip
def test_scans_of_absurd_size(parse, shape, told):
    for data in (nifti(*shape), gzip.compress(nifti(*shape) + bytes(1000), mtime=0)):
        found = parse("nifti", data)
        assert found
        assert told in found


def test_other_scans_of_absurd_size(parse):
    sizes = b"NDims = 3\nDimSize = 99999 99999 99999\nElementType = MET_SHORT\n"
    mha = b"ObjectType = Image\n" + sizes + b"ElementDataFile = LOCAL\n" + bytes(100)
    assert "cannot be read" in parse("itk", mha)
    nrrd = b"NRRD0004\ntype: short\ndimension: 3\nsizes: 99999 99999 99999\nencoding: raw\n\n"
    assert "cannot be read" in parse("itk", nrrd + bytes(100))


def test_dicom_that_nests_or_is_of_absurd_size(parse, tmp_path):
    import pydicom
    from pydicom.dataset import Dataset

    data = pydicom.dcmread(BytesIO(_dicom(tmp_path)[0]))
    for rows in (65535, 0):
        data.Rows = data.Columns = rows
        out = BytesIO()
        pydicom.dcmwrite(out, data)
        assert parse("dicom", out.getvalue())
    data.Rows, data.Columns = 2, 3
    inner = Dataset()
    inner.PatientID = "x"
    whole = BytesIO()
    pydicom.dcmwrite(whole, data)
    item = struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF)
    opened = struct.pack("<HH2sHI", 0x0040, 0xA730, b"SQ", 0, 0xFFFFFFFF) + item
    raw, depth = whole.getvalue(), 20_000
    at = raw.index(struct.pack("<HH", 0x7FE0, 0x0010))
    assert parse("dicom", raw[:at] + opened * depth + raw[at:])


def test_pictures_and_videos_of_absurd_size(parse, tmp_path):
    head = struct.pack(">IIBBBBB", 16384, 16384, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + b"IHDR" + head + struct.pack(">I", zlib.crc32(b"IHDR" + head))
    png = b"\x89PNG\r\n\x1a\n" + chunk + struct.pack(">I", 0) + b"IDAT" + bytes(8)
    assert "16384 x 16384 pixels" in parse("picture", png)
    gif = b"GIF89a" + struct.pack("<HHBBB", 65535, 65535, 0x80, 0, 0) + bytes(6)
    gif += b"," + struct.pack("<HHHHB", 0, 0, 65535, 65535, 0) + b"\x02\x02\x4c\x01\x00;"
    for target in ("video", "index", "film"):
        assert parse(target, gif) or target == "index"
    motion = TARGETS["video"].seeds(tmp_path)[1]  # JPEG after JPEG
    for side in (16_000, 65_000):
        said = struct.pack(">BHH", 8, 32, 48)
        assert said in motion
        large = motion.replace(said, struct.pack(">BHH", 8, side, side))
        assert parse("video", large)
        assert parse("film", large)


def test_a_video_of_one_line_is_not_scaled_up_to_gigabytes(parse):
    gif = b"GIF89a" + struct.pack("<HHBBB", 60000, 1, 0x80, 0, 0) + bytes([9] * 6)
    gif += b"," + struct.pack("<HHHHB", 0, 0, 60000, 1, 0)
    gif += b"\x02" + b"\x02\x84\x01" + b"\x00;"
    assert "scaled up to" in parse("video", gif)


def test_messages_that_promise_huge_arrays(parse):
    for shape in ([2**50], [2**31] * 8, [0, -1], [1] * 100, [10**400]):
        told = {"value": {"array": ["<f8", shape]}}
        assert parse("wire", json.dumps(told).encode() + b"\0" + bytes(64))
    assert parse("wire", b'{"value": {"bytes": 99999999999}}\0')


def test_true_arrays_pass(parse):
    """What all of the above must not cost."""
    masks = _npz(True, volume=np.zeros((64, 256, 256), np.uint8))  # packs a thousandfold
    assert len(masks) < 100_000
    assert parse("arrays", masks) == ""


def test_a_part_that_says_it_is_larger_than_its_archive(parse):
    small = packed({"net.params": bytes(1234)})
    entry = small.rindex(b"PK\x01\x02")  # bytes 20 to 24: packed size
    lies = small[: entry + 20] + struct.pack("<I", 2**31) + small[entry + 24 :]
    assert "larger than the archive" in parse("mxnet", lies)
