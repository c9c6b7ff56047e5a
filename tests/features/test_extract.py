"""Features are what a few plain lines of forward pass give, and a killed extraction goes on."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from pseudo3d.data.cache import FrameStore
from pseudo3d.data.dataset import ClipSpec, view_clips
from pseudo3d.data.manifest import Item, Manifest
from pseudo3d.data.preprocess import Preprocessing
from pseudo3d.data.writer import write_video
from pseudo3d.engine.predict import predict
from pseudo3d.engine.windows import Windows
from pseudo3d.errors import ManifestError, Pseudo3dError, WeightsError
from pseudo3d.features.extract import Extraction, extract
from pseudo3d.features.featureset import FeatureSet
from pseudo3d.features.layers import module_of
from pseudo3d.features.sources import changed, default_input, input_of, mirrored, open_extractor
from pseudo3d.models import create_model, list_models
from pseudo3d.runtime.lower import optimize
from pseudo3d.weights import load, save

PRE = Preprocessing(frames=4, resize=18, size=(16, 16), mean=(0.5,) * 3, std=(0.25,) * 3)


@pytest.fixture(scope="module")
def weights(fresh, tmp_path_factory):
    """A network whose batch norms and temporal kernels do something."""
    net, rng = fresh(), torch.Generator().manual_seed(1)
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm3d):
            module.running_mean.normal_(0, 0.2, generator=rng)
            module.running_var.uniform_(0.5, 2, generator=rng)
        elif isinstance(module, torch.nn.Conv3d) and module.kernel_size[0] > 1:
            module.weight.data.normal_(0, 0.3, generator=rng)
    path = tmp_path_factory.mktemp("weights") / "w.safetensors"
    save(net, path, classes=("bright", "dark", "middle"), preprocessing=PRE)
    return path


@pytest.fixture(scope="module")
def few(films):
    """Five of the videos."""
    return replace(films, items=films.items[::5])


def clips_of(item, views, pre=PRE):
    frames = FrameStore(resize=pre.resize).read(item)
    spec = ClipSpec(preprocessing=pre, canvas=pre.size, views=views)
    return torch.stack(view_clips(frames, spec))


def by_hand(net, clips):
    """Every layer of some clips, stage by stage."""
    with torch.inference_mode():
        x = net.stem(PRE.normalize(clips))
        rows = {"stem": x}
        for i, stage in enumerate(net.stages):
            *blocks, pool = stage
            rows[f"res{i + 2}a"] = blocks[0](x)
            for block in blocks:
                x = block(x)
            rows[f"res{i + 2}"] = x
            x = pool(x)
        rows = {name: y.mean((2, 3, 4)).numpy() for name, y in rows.items()}
        logits = net.head(x.mean((2, 3, 4)))
    ends = {"pool5": rows["res5"], "logits": logits.numpy(), "prob": logits.softmax(1).numpy()}
    return {**rows, **ends}


def test_every_layer_is_what_the_network_computes_there(weights, few):
    net = load(weights)
    first = by_hand(net, clips_of(few.items[0], 3))
    found = extract(net, few, layers=list(first), how=Extraction(clips=3, per_clip=True))
    assert list(found.layers) == list(first)
    for i, item in enumerate(few.items):
        want = by_hand(net, clips_of(item, 3))
        for name, rows in want.items():
            mine = found.clip_layers[name][found.clip_video == i]
            assert np.allclose(mine, rows, atol=1e-5), name
            assert np.allclose(found.layers[name][i], rows.mean(0), atol=1e-5), name
    assert found.paths == tuple(str(item.path) for item in few.items)
    assert found.labels == tuple(item.label for item in few.items)
    assert found.groups == tuple(item.group for item in few.items)
    assert found.splits == tuple(item.split for item in few.items)
    assert all(not module._forward_hooks for module in net.modules())
    assert not net.head._forward_pre_hooks


def test_a_stage_is_named_by_its_last_block_as_in_the_paper():
    with torch.device("meta"):
        net = create_model("p3d152", semantics="release")
    assert module_of(net, "res4") is module_of(net, "res4b35") is net.stages[2][-2]
    assert module_of(net, "res5") is module_of(net, "res5c") is net.stages[3][2]


@pytest.mark.parametrize("name", list_models())
def test_what_follows_the_last_block_of_a_stage_computes_nothing_learned(name):
    with torch.device("meta"):
        net = create_model(name)
    for i, stage in enumerate(net.stages):
        last, parts = module_of(net, f"res{i + 2}"), list(stage)
        after = [] if last is stage else parts[parts.index(last) + 1 :]
        assert not any(list(part.parameters()) for part in after)


def test_a_network_keeps_its_modes(weights, few):
    net = load(weights)
    ready = open_extractor(net, ["stem", "prob"])
    net.train()  # an owner who asks in the middle of a training
    norms = [m for m in net.modules() if isinstance(m, torch.nn.BatchNorm3d)]
    norms[1].eval()  # frozen by its owner
    before, means = [m.training for m in net.modules()], norms[0].running_mean.clone()
    found = extract(ready, few, clips=2)
    assert [m.training for m in net.modules()] == before
    assert torch.equal(norms[0].running_mean, means)
    plain = extract(load(weights), few, layers=["stem", "prob"], clips=2)
    assert np.array_equal(found.layers["prob"], plain.layers["prob"])


@pytest.mark.parametrize("clips", [3, 9])
def test_the_fast_path_and_the_hooks_agree(weights, few, clips):
    ends = ("prob", "pool5", "logits")
    fast = extract(weights, few, layers=ends, clips=clips)
    slow = extract(weights, few, layers=(*ends, "stem"), clips=clips)
    lone = extract(optimize(load(weights)), few, clips=clips)
    assert tuple(fast.layers) == ends
    assert open_extractor(weights, ends).eager is False
    assert open_extractor(weights, (*ends, "stem")).eager is True
    for name in ends:
        assert np.allclose(fast.layers[name], slow.layers[name], atol=1e-4)
    assert np.array_equal(lone.layers["pool5"], fast.layers["pool5"])
    assert np.ptp(fast.layers["pool5"], axis=0).max() > 0.01


def test_layers_can_be_kept_whole_and_named_by_their_path(weights, few):
    net = load(weights)
    ready = open_extractor(net, ["res3a", "stages.1.0.pair", "stages.1.0"], pooling="none")
    found = extract(ready, few, clips=2)
    whole = found.layers["res3a"]
    assert np.array_equal(whole, found.layers["stages.1.0"])
    pooled = extract(net, few, layers=["res3a"], clips=2).layers["res3a"]
    assert whole.shape[1] > pooled.shape[1]
    assert np.allclose(whole.reshape(5, pooled.shape[1], -1).mean(2), pooled, atol=1e-5)
    assert found.meta["pooling"] == "none"


def test_layers_that_are_not_there_are_named(weights, few):
    with pytest.raises(Pseudo3dError, match=r"'res3c'. Did you mean res3"):
        extract(weights, few, layers=["res3c"])
    with pytest.raises(Pseudo3dError, match=r"one program.* not res4; give the checkpoint"):
        extract(optimize(load(weights)), few, layers=["res4"])
    with pytest.raises(Pseudo3dError, match="does not give one result per clip"):
        extract(weights, few, layers=["stages"], clips=1)
    with pytest.raises(Pseudo3dError, match="does not give one result per clip"):
        extract(weights, few, layers=["stages.2.0.pair.act"], clips=1)
    with pytest.raises(TypeError, match="pooling"):
        open_extractor(weights, pooling="max")


def test_mirror_averages_a_clip_with_its_mirror_image(weights, few):
    net = load(weights)
    found = extract(weights, few, clips=2, mirror=True)
    for row, item in zip(found.layers["pool5"], few.items, strict=True):
        clips = clips_of(item, 2)
        both = [by_hand(net, x)["pool5"].mean(0) for x in (clips, clips.flip(-1))]
        assert np.abs(both[0] - both[1]).max() > 1e-4
        assert np.allclose(row, (both[0] + both[1]) / 2, atol=1e-5)
    assert "mirror" in found.meta["protocol"]


def test_the_mirror_image_of_flow_moves_the_other_way():
    flow = torch.tensor([[128, 130], [0, 255]], dtype=torch.uint8).view(1, 2, 1, 1, 2)
    plain = {"resize": 2, "size": (1, 2), "scale": 1.0}
    moves = Preprocessing(color="flow", mean=(128.0,) * 2, std=(1.0,) * 2, **plain)
    gray = Preprocessing(color="gray", mean=(0.0,), std=(1.0,), **plain)
    assert mirrored(flow, moves).flatten().tolist() == [126, 128, 255, 0]
    assert mirrored(flow, gray).flatten().tolist() == [130, 128, 255, 0]
    assert flow.flatten().tolist() == [128, 130, 0, 255]


def test_clips_say_when_they_are_shown(weights, few):
    dense = changed(PRE, {"sampling": "dense"})
    ready = open_extractor(weights, preprocessing=dense)
    found = extract(ready, few, how=Extraction(clips=3, per_clip=True))
    first = found.clip_times[found.clip_video == 0]
    assert first[0, 0] == 0.0
    assert np.allclose(first[:, 1] - first[:, 0], 0.3)  # four frames at 10 Hz
    assert (np.diff(first[:, 0]) > 0).all()
    assert found.meta["preprocessing"]["sampling"] == "dense"


class Stop(Exception):
    """In place of a kill."""


def stop_after(count):
    def progress(done, total):
        if done == count:
            raise Stop

    return progress


@pytest.mark.parametrize("per_clip", [False, True])
def test_a_killed_extraction_goes_on(weights, few, tmp_path, per_clip, monkeypatch):
    how, out = Extraction(clips=2, per_clip=per_clip), tmp_path / "f.npz"
    whole = extract(weights, few, how=how)
    with pytest.raises(Stop):
        extract(weights, few, how=how, out=out, progress=stop_after(3))
    assert not out.exists()
    read, told = [], []
    plain = FrameStore.read
    monkeypatch.setattr(FrameStore, "read", lambda s, item: read.append(item) or plain(s, item))
    found = extract(weights, few, how=how, out=out, progress=lambda *at: told.append(at))
    assert {item.path for item in read} == {item.path for item in few.items[3:]}
    assert told == [(4, 5), (5, 5)]
    assert [p.name for p in tmp_path.iterdir()] == ["f.npz"]
    for kept in (found, type(found).load(out)):
        assert np.array_equal(kept.layers["pool5"], whole.layers["pool5"])
        assert (kept.clip_layers is not None) == per_clip
        if per_clip:
            assert np.array_equal(kept.clip_times, whole.clip_times)
            assert np.array_equal(kept.clip_layers["pool5"], whole.clip_layers["pool5"])
        assert kept.meta == json.loads(json.dumps(whole.meta))


def test_what_is_there_is_not_mixed_with_another_extraction(weights, few, tmp_path, fresh):
    out = tmp_path / "f.npz"
    with pytest.raises(Stop):
        extract(weights, few, clips=2, out=out, progress=stop_after(2))
    with pytest.raises(Pseudo3dError, match=r"beginning of an extraction with another .*clips"):
        extract(weights, few, clips=3, out=out)
    other = load(weights)
    other.head.bias.data += 1
    with pytest.raises(Pseudo3dError, match="another identity;"):
        extract(other, few, clips=2, out=out)
    found = extract(weights, few, clips=2, out=out)
    again = extract(weights, few, clips=2, out=out, progress=stop_after(1))
    assert np.array_equal(found.layers["pool5"], again.layers["pool5"])
    with pytest.raises(Pseudo3dError, match=r"there and holds an extraction with another .*mirror"):
        extract(weights, few, clips=2, mirror=True, out=out)
    with pytest.raises(Pseudo3dError, match="other videos"):
        extract(weights, replace(few, items=few.items[:2]), clips=2, out=out)
    with pytest.raises(Pseudo3dError, match=r"'\.txt'; wanted \.npz or \.parquet"):
        extract(weights, few, out=tmp_path / "f.txt")


def test_files_of_0_1_hold_another_res4_and_the_same_pool5(weights, few, tmp_path):
    for layer, same in (("res4", False), ("pool5", True)):
        out, ready = tmp_path / f"{layer}.npz", open_extractor(weights, [layer])
        found = extract(ready, few, clips=1, out=out)
        old = {k: v for k, v in found.meta.items() if k != "stages"}
        replace(found, meta=old).save(out)
        if same:
            extract(ready, few, clips=1, out=out)
        else:
            with pytest.raises(Pseudo3dError, match="an extraction with another stages"):
                extract(ready, few, clips=1, out=out)


def test_corrected_labels_reach_the_features_that_are_there(weights, few, tmp_path):
    out = tmp_path / "f.npz"
    before = extract(weights, few, clips=1, out=out)
    swapped = [replace(i, label=i.label.upper(), group="g", split="test") for i in few.items[::-1]]
    found = extract(weights, replace(few, items=tuple(swapped)), clips=1, out=out, progress=print)
    for kept in (found, FeatureSet.load(out)):
        assert kept.labels == tuple(item.label for item in swapped)
        assert (*kept.groups, *kept.splits) == (
            *("g",) * len(few.items),
            *("test",) * len(few.items),
        )
        assert kept.paths == before.paths[::-1]
        assert np.array_equal(kept.layers["pool5"], before.layers["pool5"][::-1])


def test_other_spans_or_pixels_are_not_taken_for_those_that_are_there(weights, few, tmp_path):
    copy = tmp_path / "copy.mp4"
    copy.write_bytes(few.items[0].path.read_bytes())
    part = replace(few.items[0], path=copy, start=0.0, end=0.4)
    listed = replace(few, items=(part, few.items[1]))
    out = tmp_path / "f.npz"
    extract(weights, listed, clips=1, out=out)
    other = replace(listed, items=(replace(part, start=0.3, end=0.7), few.items[1]))
    with pytest.raises(Pseudo3dError, match="other spans"):
        extract(weights, other, clips=1, out=out)
    copy.write_bytes(few.items[2].path.read_bytes() + b" ")
    with pytest.raises(Pseudo3dError, match="videos it was made of have changed"):
        extract(weights, listed, clips=1, out=out)


def test_one_bad_span_leaves_the_others_of_its_file(weights, few, tmp_path):
    good = replace(few.items[0], start=0.0, end=0.5)
    bad = replace(good, start=500.0, end=501.0)
    both = replace(few, items=(good, bad, few.items[1]))
    for _ in range(2):
        found = extract(weights, both, clips=1, out=tmp_path / "f.npz")
        assert found.spans == ((0.0, 0.5), (None, None))
        assert list(found.meta["missing"]) == [f"{good.path}, 500 s to 501 s"]


def test_files_that_cannot_be_read_are_named(weights, few, tmp_path):
    broken = Item(path=tmp_path / "broken.mp4", label="dark")
    broken.path.write_bytes(b"no video")
    gone = Item(path=tmp_path / "gone.mp4", label="dark")
    both = replace(few, items=(broken, few.items[0], gone, *few.items[1:]))
    found = extract(weights, both, clips=2, out=tmp_path / "f.npz")
    assert list(found.meta["missing"]) == [str(broken.path), str(gone.path)]
    assert "broken.mp4" in found.meta["missing"][str(broken.path)]
    assert found.paths == tuple(str(item.path) for item in few.items)
    assert extract(weights, both, clips=2, out=tmp_path / "f.npz").paths == found.paths
    with pytest.raises(ManifestError, match="none of the 1 files"):
        extract(weights, replace(few, items=(broken,)))


def test_a_fault_of_the_network_is_not_taken_for_a_bad_file(weights, few):
    net = load(weights)
    net.stem.register_forward_hook(lambda *_: (_ for _ in ()).throw(Pseudo3dError("a bug")))
    with pytest.raises(Pseudo3dError, match=r"^a bug"):
        extract(net, few, layers=["stem"], clips=1)


def test_long_videos_are_cut_into_windows(weights, tmp_path):
    ramp = torch.linspace(20, 230, 100).view(1, 100, 1, 1).expand(3, 100, 18, 22)
    write_video(tmp_path / "long.mp4", ramp.round().byte(), fps=10)
    write_video(tmp_path / "short.mp4", ramp[:, :12].round().byte(), fps=10)
    items = [Item(path=tmp_path / f"{name}.mp4", label="") for name in ("long", "short")]
    items.append(replace(items[0], start=2.0, end=4.0))
    plan = Windows(seconds=1.0, hop=0.5, views=2)
    how = Extraction(windows=plan)
    found = extract(weights, Manifest(tuple(items), ()), layers=("prob",), how=how)
    seen = predict(weights, items[0].path, windows=plan)
    first = found.clip_video == 0
    assert np.allclose(found.clip_times[first], np.stack([seen.starts, seen.ends], 1))
    assert np.allclose(found.clip_layers["prob"][first], seen.window_probs, atol=1e-5)
    assert np.allclose(found.layers["prob"][0], seen.probs, atol=1e-5)
    assert first.sum() > 15
    assert found.labels == (None,) * 3
    part = found.clip_times[found.clip_video == 2]
    assert part.min() >= 2.0
    assert part.max() <= 4.1
    assert found.spans == ((None, None), (None, None), (2.0, 4.0))
    assert "windows of 1 s every 0.5 s" in found.meta["protocol"]


def test_a_part_of_a_file_has_features_of_its_own(weights, few):
    item = few.items[0]
    part = replace(item, start=0.3, end=0.7)
    found = extract(weights, replace(few, items=(item, part)), clips=2)
    want = by_hand(load(weights), clips_of(part, 2))["pool5"].mean(0)
    assert np.allclose(found.layers["pool5"][1], want, atol=1e-5)
    assert np.abs(found.layers["pool5"][0] - want).max() > 1e-4


def test_the_parts_of_a_file_are_kept_apart_on_the_disk(weights, few, tmp_path):
    item = few.items[0]
    parts = replace(few, items=(item, replace(item, start=0.3, end=0.7)))
    whole = extract(weights, parts, clips=2)
    with pytest.raises(Stop):
        extract(weights, parts, clips=2, out=tmp_path / "f.npz", progress=stop_after(2))
    again = extract(weights, parts, clips=2, out=tmp_path / "f.npz")
    assert np.array_equal(again.layers["pool5"], whole.layers["pool5"])


def test_pixels_are_the_clip_itself(few):
    pre = changed(PRE, {"resize": 50, "size": (40, 64), "frames": 2})
    found = extract(open_extractor("pixels", preprocessing=pre), few, clips=1)
    clip = pre.normalize(clips_of(few.items[0], 1, pre))[0].numpy()
    rows = found.layers["pixels"][0].reshape(3, 2, 32, 32)
    assert np.allclose(rows.mean((2, 3)), clip.mean((2, 3)), atol=0.02)
    assert np.allclose(rows[0, 0, 0, 0], clip[0, 0, :2, :2].mean(), atol=1e-5)
    with pytest.raises(Pseudo3dError, match="pixels have no layer pool5"):
        open_extractor("pixels", ["pool5"])


def test_random_weights_are_told_by_their_seed(few):
    rows = [extract(f"random:p3d_nano{seed}", few, clips=1).matrix() for seed in ("", ":0", ":1")]
    assert np.array_equal(rows[0], rows[1])
    assert not np.allclose(rows[0], rows[2])
    gray = open_extractor("random:p3d_nano", preprocessing=default_input(color="gray"))
    assert extract(gray, few, clips=1).meta["preprocessing"]["color"] == "gray"
    with pytest.raises(Pseudo3dError, match="p3d_nano"):
        extract("random:p3d_nan", few)
    with pytest.raises(Pseudo3dError, match="random:NAME:SEED"):
        extract("random:p3d_nano:x", few)


def test_input_that_is_not_the_networks_is_refused(weights, few, fresh):
    assert input_of(weights) == PRE
    with pytest.raises(WeightsError, match="how its input is prepared"):
        extract(fresh(), few)
    gray = default_input(color="gray")
    with pytest.raises(Pseudo3dError, match="1 channels, p3d_nano takes 3"):
        open_extractor(weights, preprocessing=gray)
    with pytest.raises(ValueError, match="clips is 0"):
        extract(weights, few, clips=0)
    with pytest.raises(Pseudo3dError, match="bf16 gives pool5"):
        open_extractor(weights, ["stem"], precision="bf16")
