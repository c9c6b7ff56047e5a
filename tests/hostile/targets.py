"""Every parser of strangers' bytes as a function of (folder, bytes), with inputs to begin from.

`benchmarks/fuzz.py` feeds them mutated bytes for as long as it is asked to; `test_seeds.py` what
that has found. A parser may say no by a `Pseudo3dError`; anything else that it raises is a fault.
"""

import asyncio
import json
import struct
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from pseudo3d.errors import Pseudo3dError

Run = Callable[[Path, bytes], object]
_NAMES = ("ucf101", "hmdb51", "kinetics", "activitynet", "sports1m")


@dataclass(frozen=True)
class Target:
    """A parser: how to call it, and what it takes."""

    run: Run
    seeds: Callable[[Path], Sequence[bytes]]


def _written(folder: Path, name: str, data: bytes) -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


@cache
def _film(folder: Path, suffix: str = ".mp4") -> Path:
    """A few small frames, written once for each folder."""
    import torch

    from pseudo3d.data.writer import write_video

    path = folder / f"film{suffix}"
    if not path.exists():
        noise = torch.Generator().manual_seed(0)
        clip = torch.randint(0, 255, (3, 6, 32, 48), dtype=torch.uint8, generator=noise)
        write_video(path.with_suffix(".mp4"), clip, fps=8)
    return path


def _as(folder: Path, kind: str, codec: str) -> bytes:
    """The film in another container."""
    import av

    out = BytesIO()
    with av.open(str(_film(folder))) as source, av.open(out, "w", format=kind) as sink:
        stream = sink.add_stream(codec, rate=8)
        stream.width, stream.height, stream.pix_fmt = 48, 32, "yuv420p"
        if codec == "mjpeg":
            stream.pix_fmt = "yuvj420p"
        for frame in source.decode(video=0):
            sink.mux(stream.encode(frame.reformat(format=stream.pix_fmt)))
        sink.mux(stream.encode())
    return out.getvalue()


# Lists of videos.


def manifest(folder: Path, data: bytes) -> object:
    """A CSV of labeled videos."""
    from pseudo3d.data.manifest import read_manifest

    _film(folder)
    return read_manifest(_written(folder, "m.csv", data))


def _manifests(folder: Path) -> list[bytes]:
    return [
        b"path,label\nfilm.mp4,a\n./film.mp4,b\n",
        b"path,label,group,split,start,end\nfilm.mp4,a,g,train,0,1\nfilm.mp4,b,g,train,1,2.5\n",
        b'\xef\xbb\xbfpath;label\n"film.mp4","a,b"\n',
    ]


def scans(folder: Path, data: bytes) -> object:
    """A CSV of scans."""
    from pseudo3d.data.scans.manifest import read_scans

    _written(folder, "s.nii", b"")
    return read_scans(_written(folder, "s.csv", data))


def _scans(folder: Path) -> list[bytes]:
    return [
        b"path,label,group,split\ns.nii,a,p1,train\n./s.nii,b,p2,test\n",
        b"path,array,index,value\ns.nii,x,0,1.5\ns.nii,x,1,2\n",
        b"path,mask\ns.nii,s.nii\n",
    ]


def spans(folder: Path, data: bytes) -> object:
    """Labeled spans: a CSV, or ActivityNet's JSON."""
    from pseudo3d.data.annotation_files import read_annotations, read_found

    name = "t.json" if data.lstrip()[:1] in (b"{", b"[") else "t.csv"
    _film(folder)
    path = _written(folder, name, data)
    read_found(path)
    return read_annotations(path)


def _spans(folder: Path) -> list[bytes]:
    note = {"segment": [0.5, 2], "label": "a", "score": 0.5}
    return [
        b"path,label,start,end,split,group,score\nfilm.mp4,a,0,1,train,g,0.5\nfilm.mp4,,,,,,\n",
        json.dumps({"database": {"film": {"subset": "training", "annotations": [note]}}}).encode(),
        json.dumps({"results": {"film": [note, note]}}).encode(),
    ]


@cache
def _copy(folder: Path, name: str) -> tuple[Path, Path]:
    """A miniature benchmark, and its first list."""
    from pseudo3d.protocols.miniature import write_miniature

    root = write_miniature(name, folder / name)
    kinds = (".txt", ".csv", ".json", ".gz", ".mat")
    lists = sorted(p for p in root.rglob("*") if p.suffix in kinds and "label" not in p.stem)
    return root, lists[0]


def benchmarks(folder: Path, data: bytes) -> object:
    """The lists of a benchmark; the first byte says which."""
    from pseudo3d.protocols import get

    name = _NAMES[data[0] % len(_NAMES)] if data else _NAMES[0]
    root, path = _copy(folder, name)
    path.write_bytes(data[1:])
    return get(name).read(root)


def _benchmarks(folder: Path) -> list[bytes]:
    return [bytes([i]) + _copy(folder, n)[1].read_bytes()[:2000] for i, n in enumerate(_NAMES)]


def lists(folder: Path, data: bytes) -> object:
    """Train and test lists as C3D and TSN have them."""
    from pseudo3d.protocols import get

    _film(folder)
    _written(folder, "test.txt", data)
    return get("lists", train="test.txt").read(folder)


def _lists(folder: Path) -> list[bytes]:
    return [b"film.mp4 12 0\nother x.mp4 9 1\n", b"film/ 1 0\nfilm/ 9 0\n", b"film.mp4 3\n"]


def mat(folder: Path, data: bytes) -> object:
    """ASLAN's pairs in a MATLAB file."""
    from pseudo3d.protocols.aslan import Aslan

    _written(folder, "View2.mat", data)
    return Aslan().pairs(folder)


def _mat(folder: Path) -> list[bytes]:
    from scipy.io import savemat

    found = []
    for squeezed in (False, True):
        out = BytesIO()
        pairs = np.ones((2, 5, 3))
        savemat(out, {"action_splits_pairs": pairs, "c": {"a": "x"}}, do_compression=squeezed)
        found.append(out.getvalue())
    return found


# JSON.


def _card(text: str) -> object:
    from pseudo3d.weights import build

    return build(Path("card.safetensors"), ({}, text), None, None)


def notes(folder: Path, data: bytes) -> object:
    """JSON beside and inside of files; the first byte says which."""
    from pseudo3d.engine.segments import read_rule
    from pseudo3d.runtime.artifact import Spec
    from pseudo3d.runtime.streaming.exported import StreamSpec

    kind, text = data[:1], data[1:].decode("utf-8", "replace")
    if kind == b"c":
        return _card(text)
    if kind == b"a":
        return Spec.from_json(text)
    if kind == b"s":
        return StreamSpec.from_json(text)
    return read_rule(_written(folder, "rule.json", data[1:]))


def _notes(folder: Path) -> list[bytes]:
    from pseudo3d.recycle.files import read_file

    text = read_file(_weights(folder))[1] or ""
    spec = {"artifact": 1, "card": json.loads(text), "clip": [3, 4, 16, 16], "precision": "fp32"}
    rule = {"rule": {"threshold": 0.5, "background": ["pause"], "smooth": 1}}
    return [
        b"c" + text.encode(),
        b"a" + json.dumps(spec).encode(),
        b"s" + json.dumps({"stream": 1, "card": spec["card"], "chunk": [1], "fills": []}).encode(),
        b"r" + json.dumps(rule).encode(),
    ]


# Checkpoints.


@cache
def _weights(folder: Path) -> Path:
    """A file of ours, small."""
    import torch

    from pseudo3d.models import create_model
    from pseudo3d.weights import save

    torch.manual_seed(0)
    net = create_model("p3d_nano", num_classes=2, widths=(4, 4, 4, 4), stem_width=4)
    path = folder / "seed.safetensors"
    save(net, path, classes=("a", "b"))
    return path


def checkpoint(folder: Path, data: bytes) -> object:
    """Any checkpoint, by its content."""
    from pseudo3d.weights import load

    return load(_written(folder, "w.pth", data))


def _ours(folder: Path) -> list[bytes]:
    import torch
    from safetensors.torch import save

    from pseudo3d.recycle.files import METADATA_KEY, read_file

    state, text = read_file(_weights(folder))
    plain = save({"conv1.weight": torch.zeros(2, 3, 1, 3, 3)}, {"format": "pt"})
    return [save(state, {METADATA_KEY: text or ""}), plain]  # unsealed: what is behind is met


def _torch(folder: Path) -> list[bytes]:
    import torch

    found = []
    state = {
        "state_dict": {"module.conv1.weight": torch.zeros(2, 3, 1, 3, 3), "bn.n": torch.ones(1)}
    }
    for new in (True, False):
        out = BytesIO()
        torch.save(state, out, _use_new_zipfile_serialization=new)
        found.append(out.getvalue())
    return found


def _varint(value: int) -> bytes:
    out = b""
    while value > 127:
        out, value = out + bytes([value & 127 | 128]), value >> 7
    return out + bytes([value])


def _part(number: int, data: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(data)) + data


def _caffe(folder: Path) -> list[bytes]:
    blob = _part(7, _part(1, b"\x02\x03")) + _part(5, np.ones(6, "<f4").tobytes())
    old = b"\x08\x02\x10\x03" + _part(5, np.ones(6, "<f4").tobytes())
    layer = _part(1, b"conv1") + _part(2, b"Convolution")
    return [_part(1, b"net") + _part(100, layer + _part(7, b)) for b in (blob, old)]


def _mxnet(folder: Path) -> list[bytes]:
    array = struct.pack("<IiIqqiii", 0xF993FAC9, 0, 2, 2, 3, 1, 0, 0) + np.ones(6, "<f4").tobytes()
    name = b"arg:conv0_weight"
    whole = struct.pack("<QQQ", 0x112, 0, 1) + array + struct.pack("<QQ", 1, len(name)) + name
    out = BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("net.params", whole)
    return [whole, out.getvalue()]


# Arrays and scans.


def _npz(compressed: bool = False, **arrays: Any) -> bytes:
    out = BytesIO()
    (np.savez_compressed if compressed else np.savez)(out, **arrays)
    return out.getvalue()


def _numpy(folder: Path) -> list[bytes]:
    return [_npz(a=np.zeros((2, 3), np.float32)), _npz(True, b=np.zeros(5, np.float64))]


def features(folder: Path, data: bytes) -> object:
    """Features of another program or of ours: .npz or .csv."""
    from pseudo3d.features.fusion import read_table

    return read_table(_written(folder, "f.npz" if data[:2] == b"PK" else "f.csv", data))


def _features(folder: Path) -> list[bytes]:
    from pseudo3d.features.featureset import FeatureSet

    path = folder / "seed.npz"
    FeatureSet(
        layers={"pool5": np.ones((2, 3), np.float32)},
        paths=("a.mp4", "b.mp4"),
        labels=("x", None),
        groups=(None, None),
        splits=(None, None),
        meta={"views": 1},
    ).save(path)
    table = _npz(paths=np.array(["a", "b"]), features=np.ones((2, 3)))
    return [path.read_bytes(), table, b"path,0,1\na.mp4,1,2\nb.mp4,3,4\n"]


def arrays(folder: Path, data: bytes) -> object:
    """Scans of numpy: .npy, or an .npz, stacks among them."""
    from pseudo3d.data.scans.manifest import read_scans

    if data[:2] != b"PK":
        return scan(folder, data)
    path = _written(folder, "s.npz", data)
    try:
        read_scans(path)
    except Pseudo3dError:
        return _read(path)
    return _read(path, index=0)


def _arrays(folder: Path) -> list[bytes]:
    out = BytesIO()
    np.save(out, np.ones((3, 4, 5), np.int16))
    stack = {"train_images": np.ones((2, 4, 4, 4), np.uint8), "train_labels": np.array([[0], [1]])}
    volume = {"volume": np.ones((4, 4, 4)), "affine": np.eye(4), "spacing": np.ones(3)}
    return [out.getvalue(), _npz(**stack), _npz(True, **volume)]


def _read(path: Path, **how: Any) -> object:
    from pseudo3d.data.scans.read import read_scan

    return read_scan(path, **how)


def scan(folder: Path, data: bytes) -> object:
    """A scan of any kind, by its content."""
    packed = data[:2] == b"\x1f\x8b"
    return _read(_written(folder, "s.nii.gz" if packed else "s.nii", data))


def _nifti(folder: Path) -> list[bytes]:
    import nibabel as nib

    found = []
    for made in (nib.Nifti1Image, nib.Nifti2Image):
        image = made(np.arange(24, dtype=np.int16).reshape(2, 3, 4), np.diag([1, 2, 3, 1.0]))
        found.append(image.to_bytes())
    import gzip

    return [*found, gzip.compress(found[0], mtime=0)]


def _itk(folder: Path) -> list[bytes]:
    import SimpleITK as sitk

    found = []
    image = sitk.GetImageFromArray(np.arange(24, dtype=np.int16).reshape(2, 3, 4))
    for name in ("a.nrrd", "a.mha"):
        for squeezed in (False, True):
            sitk.WriteImage(image, str(folder / name), squeezed)
            found.append((folder / name).read_bytes())
    return found


def itk(folder: Path, data: bytes) -> object:
    """NRRD or MHA."""
    return _read(_written(folder, "s.nrrd", data))


def dicom(folder: Path, data: bytes) -> object:
    """One DICOM file, alone in its folder."""
    from pseudo3d.data.scans.dicom import list_series

    home = folder / "series"
    home.mkdir(exist_ok=True)
    path = _written(home, "a.dcm", data)
    list_series(home)
    try:
        return _read(path)
    except Pseudo3dError:
        return _read(home)


def _dicom(folder: Path) -> list[bytes]:
    import pydicom
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import CTImageStorage, EnhancedCTImageStorage, ExplicitVRLittleEndian

    found = []
    for frames in (0, 2):
        data = Dataset()
        data.file_meta = FileMetaDataset()
        data.file_meta.MediaStorageSOPClassUID = (
            EnhancedCTImageStorage if frames else CTImageStorage
        )
        data.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
        data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        data.SOPClassUID = data.file_meta.MediaStorageSOPClassUID
        data.SOPInstanceUID, data.SeriesInstanceUID = "1.2.3", "1.2"
        data.Modality, data.Rows, data.Columns, data.SamplesPerPixel = "CT", 2, 3, 1
        data.PhotometricInterpretation = "MONOCHROME2"
        data.BitsAllocated = data.BitsStored = 16
        data.HighBit, data.PixelRepresentation = 15, 1
        _place(data, frames)
        data.PixelData = np.arange(6 * max(frames, 1), dtype="<i2").tobytes()
        out = BytesIO()
        pydicom.dcmwrite(out, data, enforce_file_format=True)
        found.append(out.getvalue())
    return found


def _place(data: Any, frames: int) -> None:
    """Where the image, or each of its frames, lies."""
    from pydicom.dataset import Dataset

    if not frames:
        data.ImagePositionPatient, data.ImageOrientationPatient = [0, 0, 1], [1, 0, 0, 0, 1, 0]
        data.PixelSpacing, data.SliceThickness = [1, 1], 1
        data.RescaleSlope, data.RescaleIntercept = 1, -1024
        return
    data.NumberOfFrames = frames
    parts = []
    for i in range(frames):
        one, place, turn, sides = Dataset(), Dataset(), Dataset(), Dataset()
        place.ImagePositionPatient, turn.ImageOrientationPatient = [0, 0, i], [1, 0, 0, 0, 1, 0]
        sides.PixelSpacing = [1, 1]
        one.PlanePositionSequence, one.PlaneOrientationSequence = [place], [turn]
        one.PixelMeasuresSequence = [sides]
        parts.append(one)
    data.PerFrameFunctionalGroupsSequence = parts


# Videos.


def video(folder: Path, data: bytes) -> object:
    """Frames of a file, whole and a span of it; its survey."""
    from pseudo3d.data.survey import survey
    from pseudo3d.data.video import read_video

    path = _written(folder, "v.mp4", data)
    list(survey([path]))
    read_video(path, size=24)
    return read_video(path, start=0.3, size=16)


def index(folder: Path, data: bytes) -> object:
    """Single frames by number, found by the packets' time stamps."""
    import torch

    from pseudo3d.data.pick import file_frames, index_file

    path = _written(folder, "v.mp4", data)
    found = index_file(path)
    frames = None if found is None else file_frames(path, found, size=16)
    return None if frames is None else frames.take(torch.tensor([0, len(frames.times) - 1]))


def _videos(folder: Path) -> list[bytes]:
    others = [("matroska", "mjpeg"), ("avi", "mpeg4"), ("mpegts", "mpeg4")]
    return [_film(folder).read_bytes(), *(_as(folder, kind, codec) for kind, codec in others)]


# What comes over the network.


def upload(folder: Path, data: bytes) -> object:
    """The body of a request: multipart/form-data, in pieces."""
    from python_multipart.exceptions import FormParserError

    from pseudo3d.serve.problems import Problem
    from pseudo3d.serve.upload import _Sink

    kind, _, body = data.partition(b"\n")
    sink = _Sink(kind.decode("latin-1"), folder, 1 << 16, Problem("too_large", "too large"))
    try:
        for start in range(0, len(body), 37):
            sink.feed(body[start : start + 37])
        sink.end()
        found = sink.result()
    except FormParserError as err:  # as the service says it
        raise Pseudo3dError(str(err)) from err
    finally:
        sink.close()
    if found.path.parent != folder:
        raise AssertionError(f"{found.path} is not in {folder}")
    return found


def _uploads(folder: Path) -> list[bytes]:
    head = b'Content-Disposition: form-data; name="file"; filename="../a b.mp4"\r\n'
    body = b"--xyz\r\n" + head + b"Content-Type: video/mp4\r\n\r\n12345\r\n--xyz--\r\n"
    return [b"multipart/form-data; boundary=xyz\n" + body]


def film(folder: Path, data: bytes) -> object:
    """An uploaded video, as the service's decoder cuts it."""
    from pseudo3d.data.preprocess import Preprocessing
    from pseudo3d.engine.windows import Windows
    from pseudo3d.serve.cutting import Cutting, cut
    from pseudo3d.serve.settings import Limits

    pre = Preprocessing(frames=4, resize=18, size=(16, 16), mean=(0.4,) * 3, std=(0.3,) * 3)
    how = Cutting(pre=pre, plan=Windows(), trained=(1.0, 2.0), limits=Limits(pixels=10**6))
    return list(cut(_written(folder, "upload.mp4", data), how))


def picture(folder: Path, data: bytes) -> object:
    """A camera's frame."""
    from pseudo3d.serve.pictures import Pictures
    from pseudo3d.serve.settings import Limits
    from pseudo3d.serve.wire import Message

    return list(Pictures({"limits": Limits().__dict__}).messages(Message({}, data)))


def _pictures(folder: Path) -> list[bytes]:
    from PIL import Image

    found = []
    for kind in ("JPEG", "PNG", "WEBP"):
        out = BytesIO()
        exif = Image.Exif()
        exif[274] = 6
        Image.new("RGB", (8, 6), (10, 200, 30)).save(out, kind, exif=exif)
        found.append(out.getvalue())
    return found


def socket(folder: Path, data: bytes) -> object:
    """The first message on a WebSocket, and a frame."""
    from types import SimpleNamespace

    from pseudo3d.serve.guard import Guard
    from pseudo3d.serve.metrics import Metrics
    from pseudo3d.serve.settings import Settings
    from pseudo3d.serve.sockets import Camera, _hello

    text, _, frame = data.partition(b"\0")

    async def receive() -> dict[str, Any]:
        return {"type": "websocket.receive", "text": text.decode("utf-8", "replace")}

    settings = Settings(weights=folder, token="right" * 4)
    there: Any = SimpleNamespace(headers={}, receive=receive)
    camera = Camera(there)
    guard = Guard(lambda *_: None, settings, Metrics())  # type: ignore[arg-type,return-value]
    asyncio.run(_hello(SimpleNamespace(settings=settings), guard, camera))  # type: ignore[arg-type]
    return camera.take(frame)


def _sockets(folder: Path) -> list[bytes]:
    return [b'{"top": 3, "token": "rightrightrightright"}\0' + struct.pack("<d", 1.5) + b"\x89PNG"]


def wire(folder: Path, data: bytes) -> object:
    """A message of a decoder that was taken over."""
    from pseudo3d.data.isolation.plain import unplain
    from pseudo3d.data.isolation.wire import facts_of

    text, _, rest = data.partition(b"\0")
    try:
        facts = facts_of(text)
    except ValueError as err:
        raise Pseudo3dError(str(err)) from err
    return unplain(facts.get("value"), rest)


def _wires(folder: Path) -> list[bytes]:
    from pseudo3d.data.isolation.plain import plain

    given = {"a": [1, 2.5, None, (Path("x"), b"12")], "frames": np.ones((2, 3), np.float32)}
    told, data = plain(given)
    return [json.dumps({"value": told}).encode() + b"\0" + data]


def shards(folder: Path, data: bytes) -> object:
    """The index of packed shards, its checksum made right, so that what is behind it is met."""
    import hashlib

    from pseudo3d.data.shards.layout import read_contents, unseal

    rest = data[79:]
    head = f'{{"sha256": "{hashlib.sha256(rest).hexdigest()}", '.encode()
    return read_contents(unseal(head + rest, "index.json"), "index.json")


def _shards(folder: Path) -> list[bytes]:
    from pseudo3d.data.shards.layout import Contents, Sample, Shard, seal, write_contents

    facts = {"label": "a", "group": None, "split": "train", "source": "x.mp4", "start": None}
    size = {"end": None, "frames": 3, "height": 8, "width": 9, "seconds": 1.5}
    one = Sample(key="a-1", offset=1024, length=77, sha256="0" * 64, **facts, **size)  # type: ignore[arg-type]
    shard = Shard(
        name="part-00001", bytes=4096, sha256="1" * 64, samples=(one,), unreadable={"y": "no"},
        shortened={},
    )  # fmt: skip
    whole = Contents(plan={}, listing="", classes=("a",), shards=(shard,), unreadable={})
    return [seal(write_contents(whole))]


TARGETS: dict[str, Target] = {
    "manifest": Target(manifest, _manifests),
    "scans": Target(scans, _scans),
    "spans": Target(spans, _spans),
    "lists": Target(lists, _lists),
    "benchmarks": Target(benchmarks, _benchmarks),
    "mat": Target(mat, _mat),
    "notes": Target(notes, _notes),
    "safetensors": Target(checkpoint, _ours),
    "torch": Target(checkpoint, _torch),
    "caffe": Target(checkpoint, _caffe),
    "mxnet": Target(checkpoint, _mxnet),
    "numpy": Target(checkpoint, _numpy),
    "features": Target(features, _features),
    "arrays": Target(arrays, _arrays),
    "nifti": Target(scan, _nifti),
    "itk": Target(itk, _itk),
    "dicom": Target(dicom, _dicom),
    "video": Target(video, _videos),
    "index": Target(index, _videos),
    "film": Target(film, _videos),
    "shards": Target(shards, _shards),
    "upload": Target(upload, _uploads),
    "socket": Target(socket, _sockets),
    "picture": Target(picture, _pictures),
    "wire": Target(wire, _wires),
}
