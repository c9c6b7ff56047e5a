"""A feature file gives back what was put in; parts, normalization and fusion as by hand."""

import sys
from dataclasses import replace
from importlib.util import find_spec

import numpy as np
import pytest

from pseudo3d.errors import ManifestError, Pseudo3dError
from pseudo3d.features.featureset import FeatureSet, normalized
from pseudo3d.features.fusion import fuse, read_table


@pytest.fixture(params=[False, True], ids=["videos", "clips"])
def features(request):
    """Four videos, one of them without a clip of its own order: 2, 1, 3 and 2 clips."""
    rng = np.random.default_rng(0)
    rows = {"pool5": rng.normal(size=(4, 6)), "res3.1": rng.normal(size=(4, 3))}
    clips = {}
    if request.param:
        clips = {
            "clip_layers": {k: rng.normal(size=(8, x.shape[1])) for k, x in rows.items()},
            "clip_video": np.array([0, 0, 1, 2, 2, 2, 3, 3]),
            "clip_times": np.arange(16.0).reshape(8, 2),
            "spans": ((None, None), (0.5, 2.0), (None, 3.0), (1.0, None)),
        }
    return FeatureSet(
        layers={name: x.astype(np.float32) for name, x in rows.items()},
        paths=("set/run/a.mp4", "set/jump/a.mp4", "set/run/b.é.avi", "set/run/c"),
        labels=("run", "jump", "run", None),
        groups=("ann", None, "bob", "bob"),
        splits=("train", "train", "test", None),
        meta={"weights": "w.safetensors", "missing": {"x.mp4": "broken"}},
        **clips,
    )


def same(one, two):
    for name in ("paths", "labels", "groups", "splits", "spans", "meta"):
        assert getattr(one, name) == getattr(two, name), name
    for name in ("clip_video", "clip_times"):
        assert np.array_equal(getattr(one, name), getattr(two, name)), name
    for name in ("layers", "clip_layers"):
        ours, theirs = getattr(one, name), getattr(two, name)
        assert (ours is None) == (theirs is None)
        assert list(ours or {}) == list(theirs or {})
        assert all(np.array_equal(ours[k], theirs[k]) for k in ours or {}), name


def test_a_file_gives_back_what_was_put_in(features, tmp_path):
    path = features.save(tmp_path / "new" / "f.npz")
    same(features, FeatureSet.load(path))
    with np.load(path) as plain:  # without us
        assert np.array_equal(plain["pool5"], features.layers["pool5"])
        assert plain["labels"].tolist() == ["run", "jump", "run", ""]
    assert [p.name for p in path.parent.iterdir()] == ["f.npz"]


@pytest.mark.skipif(find_spec("pyarrow") is None, reason="pyarrow is not installed")
def test_a_parquet_table_gives_back_what_was_put_in(features, tmp_path):
    import pyarrow.parquet

    path = features.save(tmp_path / "f.parquet")
    same(features, FeatureSet.load(path))
    rows = pyarrow.parquet.read_table(path).to_pylist()
    assert [row["label"] for row in rows] == list(features.labels)
    assert np.allclose(rows[2]["pool5"], features.layers["pool5"][2])
    if features.clip_layers is not None:
        assert np.allclose(rows[2]["clips.pool5"], features.clip_layers["pool5"][3:6])


def test_parquet_without_pyarrow_says_what_to_install(features, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ImportError, match=r"pyarrow .*pseudo3d\[eval\]"):
        features.save(tmp_path / "f.parquet")
    assert not list(tmp_path.iterdir())


def test_other_files_are_refused_with_their_name(features, tmp_path):
    path = tmp_path / "f.npz"
    with pytest.raises(Pseudo3dError, match="does not exist"):
        FeatureSet.load(path)
    np.savez(path, x=np.zeros(3))
    with pytest.raises(Pseudo3dError, match=r"f\.npz: damaged, or no file of"):
        FeatureSet.load(path)
    features.save(path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(Pseudo3dError, match=r"f\.npz: damaged"):
        FeatureSet.load(path)
    with pytest.raises(Pseudo3dError, match=r"unknown suffix '\.csv'"):
        features.save(tmp_path / "f.csv")


def test_rows_that_do_not_agree_are_refused(features):
    with pytest.raises(ValueError, match=r"4 paths, but rows of \{'labels': 3\}"):
        replace(features, labels=features.labels[:3])
    with pytest.raises(ValueError, match="clip_layers and clip_video"):
        replace(features, clip_layers={}, clip_video=None)


def test_parts_keep_their_clips(features):
    part = features.select([3, 0])
    assert part.paths == ("set/run/c", "set/run/a.mp4")
    assert np.array_equal(part.layers["res3.1"], features.layers["res3.1"][[3, 0]])
    if features.clip_layers is not None:
        assert part.clip_video.tolist() == [0, 0, 1, 1]
        assert np.array_equal(
            part.clip_layers["pool5"], features.clip_layers["pool5"][[6, 7, 0, 1]]
        )
        assert np.array_equal(part.clip_times, features.clip_times[[6, 7, 0, 1]])
        assert part.spans == ((1.0, None), (None, None))
    same(features.select(np.array([True, False, False, True])), features.select([0, 3]))
    assert features.split("train").paths == features.paths[:2]
    assert len(features.select([])) == 0
    with pytest.raises(ManifestError, match=r"'tran'. Did you mean train"):
        features.split("tran")
    with pytest.raises(ValueError, match="mask has 2 entries for 4"):
        features.select([True, False])


@pytest.mark.usefixtures("unchecked")
def test_normalization_is_that_of_plain_lines(features):
    x = features.layers["pool5"]
    root = np.where(x < 0, -np.sqrt(-np.minimum(x, 0)), np.sqrt(np.maximum(x, 0)))
    unit = root / np.sqrt((root**2).sum(1))[:, None]
    assert np.allclose(features.matrix("pool5", ("ssqrt", "l2")), unit, atol=1e-6)
    assert np.allclose(features.matrix("pool5", ("l2", "ssqrt")), unit) is False
    other = features.layers["res3.1"]
    both = np.concatenate([x, other], 1)
    assert np.array_equal(features.matrix(("pool5", "res3.1")), both)
    ones = features.matrix(("pool5", "res3.1"), ("l2",))
    assert np.allclose((ones**2).sum(1), 2)  # each layer by itself
    assert np.array_equal(normalized(np.zeros((2, 3)), ("ssqrt", "l2")), np.zeros((2, 3)))
    with pytest.raises(TypeError, match=r"'zscor'. Did you mean zscore"):
        features.matrix("pool5", ("zscor",))
    with pytest.raises(Pseudo3dError, match=r"'pool4'. Did you mean pool5"):
        features.matrix("pool4")
    with pytest.raises(Pseudo3dError, match=r"pool5, res3\.1 are there; name one"):
        features.layer()


def test_z_scores_take_the_training_rows_alone(features):
    x = features.layers["pool5"].copy()
    with pytest.raises(ValueError, match="training part"):
        features.matrix("pool5", ("zscore",))
    found = features.matrix("pool5", ("zscore",), train=[0, 1, 2])
    assert np.allclose(found, (x - x[:3].mean(0)) / x[:3].std(0), atol=1e-4)
    x[3] += 100  # what is tested changes nothing for the others
    again = replace(features, layers={"pool5": x})
    mask = np.array([True, True, True, False])
    assert np.array_equal(again.matrix("pool5", ("zscore",), train=mask)[:3], found[:3])
    flat = normalized(np.ones((3, 2)), ("zscore",), train=[0, 1])
    assert np.array_equal(flat, np.zeros((3, 2)))


@pytest.fixture
def whole(features):
    return replace(features, spans=())


def test_external_features_are_found_by_the_end_of_the_path(whole, tmp_path):
    table = tmp_path / "idt.csv"
    table.write_text(
        "video,x,y\nrun/a,1,2\njump/a.avi,3,4\nb.é.avi,5,6\nset/run/c,7,8\nz,9,9\nc,0,0\n"
    )
    both = fuse(whole, table, "idt")
    assert both.layers["idt"].tolist() == [[1, 2], [3, 4], [5, 6], [7, 8]]
    assert both.matrix(("pool5", "idt")).shape == (4, 8)
    assert both.labels == whole.labels
    rows = read_table(table)
    np.savez(tmp_path / "idt.npz", paths=np.array(list(rows)), features=np.stack([*rows.values()]))
    again = fuse(whole, tmp_path / "idt.npz", "idt")
    assert np.array_equal(again.layers["idt"], both.layers["idt"])
    ours = replace(whole, layers={"fc": whole.layers["pool5"]}).select([3, 2, 1, 0])
    ours.save(tmp_path / "ours.npz")
    for source in (ours, tmp_path / "ours.npz"):
        assert np.array_equal(fuse(whole, source, "fc").layers["fc"], whole.layers["pool5"])


def test_external_features_that_do_not_fit_are_told(whole, tmp_path):
    one = np.zeros(2, np.float32)
    rows = {"run/a": one, "jump/a": one, "c": one}
    with pytest.raises(ManifestError, match=r"1 of 4 videos have no row of idt: set/run/b\.é\.avi"):
        fuse(whole, rows, "idt")
    with pytest.raises(ManifestError, match="several videos share the row a of idt"):
        fuse(whole, {"a": one, "b.é": one, "c": one}, "idt")
    with pytest.raises(Pseudo3dError, match="layer 'pool5' already"):
        fuse(whole, rows, "pool5")
    with pytest.raises(Pseudo3dError, match="whole files"):
        fuse(replace(whole, spans=((None, 1.0),) * 4), rows, "idt")
    for text, why in (("a,1\nb,x\n", "row 2"), ("a,1\nb,1,2\n", "as many"), ("", "as many")):
        (tmp_path / "t.csv").write_text(text)
        with pytest.raises(Pseudo3dError, match=why):
            read_table(tmp_path / "t.csv")
    np.savez(tmp_path / "t.npz", rows=np.zeros(2))
    with pytest.raises(Pseudo3dError, match="holds rows; wanted `paths`"):
        read_table(tmp_path / "t.npz")
    with pytest.raises(Pseudo3dError, match="does not exist"):
        read_table(tmp_path / "no.csv")
