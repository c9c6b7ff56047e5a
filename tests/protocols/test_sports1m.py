"""Sports-1M: several labels, random clips, lists as they are on disks."""

import gzip
from dataclasses import replace

import numpy as np
import pytest
import torch

from protocols.byhand import probs_by_hand
from pseudo3d.data.video import read_video
from pseudo3d.engine.judge import judge
from pseudo3d.errors import ManifestError
from pseudo3d.protocols import get
from pseudo3d.protocols.looking import clip_probs

SPORTS = ("boomerang", "archery", "curling", "judo", "rugby", "sumo")


def listed(root, part="test"):
    lines = gzip.decompress((root / f"original/{part}_partition.txt.gz").read_bytes()).decode()
    rows = [line.split(" ") for line in lines.splitlines()]
    return {url.split("v=")[1]: {int(k) for k in ids.split(",")} for url, ids in rows}


def test_hits_of_videos_with_several_labels(mini, net):
    root, model = mini("sports1m"), net(*SPORTS)
    score = get("sports1m", clips=3, placed="even").run(root, model, partial=True)
    truth = listed(root)
    truth.pop("dead0000000")
    assert max(map(len, truth.values())) == 2
    probs = {key: probs_by_hand(root / f"videos/{key}.mp4", model, 3) for key in truth}
    clip = [row.argmax() in truth[key] for key in truth for row in probs[key]]
    order = {key: np.argsort(-probs[key].mean(0)) for key in truth}
    one = [bool({*order[key][:1].tolist()} & truth[key]) for key in truth]
    five = [bool({*order[key][:5].tolist()} & truth[key]) for key in truth]
    assert score.figures == {
        "clip_hit@1": pytest.approx(np.mean(clip)),
        "video_hit@1": pytest.approx(np.mean(one)),
        "video_hit@5": pytest.approx(np.mean(five)),
    }
    assert score.counts == {"classes": 6, "videos": 7, "labels": sum(map(len, truth.values()))}
    assert score.missing == {"dead0000000": "not on the disk"}
    assert "placed is 'even', the paper's is 'random'" in score.deviations
    assert any("the paper split the videos itself" in text for text in score.deviations)
    assert any("1 of 8 test videos are in training, too; kept" in note for note in score.notes)


def test_random_clips_are_real_clips_and_the_same_for_a_seed(mini, net):
    root, model = mini("sports1m"), net(*SPORTS)
    runs = [get("sports1m", clips=6, seed=s).run(root, model, partial=True) for s in (0, 0, 7)]
    assert runs[0] == runs[1]
    entry = next(e for e in get("sports1m").read(root).splits[0].test if e.path is not None)
    found = clip_probs(judge(model, 1), [entry], 6, random=True, seed=3)[0]
    frames = read_video(entry.path).frames.float()
    every = torch.stack([(frames[:, s : s + 4] / 255 - 0.4) / 0.2 for s in range(9)])
    with torch.no_grad():
        possible = model(every).softmax(1).numpy()
    at = [int(np.abs(possible - row).max(1).argmin()) for row in found]
    assert np.abs(possible[at] - found).max() < 1e-4
    assert len(set(at)) > 2


def test_random_clips_depend_on_the_video_and_not_on_the_rest_of_the_list(mini, net):
    ready = judge(net(*SPORTS), 1)
    entries = [e for e in get("sports1m").read(mini("sports1m")).splits[0].test if e.path]
    first, second = entries[:2]
    both, swapped, alone = (
        clip_probs(ready, part, 6, random=True)
        for part in ((first, second), (second, first), (second,))
    )
    assert np.allclose(both, swapped[::-1], atol=1e-5)
    assert np.allclose(both[1], alone[0], atol=1e-5)
    twin = replace(first, name="twin")  # another video of the same length
    assert np.abs(clip_probs(ready, [twin], 6, random=True) - both[:1]).max() > 1e-3


def test_shared_videos_can_be_left_out_and_other_lists_taken(mini):
    root = mini("sports1m")
    keep = get("sports1m", lists="cross-validation").read(root)
    drop = get("sports1m", shared="drop").read(root)
    assert (len(keep.splits[0].test), len(drop.splits[0].test)) == (8, 7)
    assert drop.wrong == ("labels: 6, published 487",)
    with pytest.raises(ManifestError, match=r"sports3_train\.txt"):
        get("sports1m", lists="cross-validation", fold=3).read(root)


def test_a_label_beyond_the_names_is_told(tmp_path):
    (tmp_path / "labels.txt").write_text("a\nb\n")
    (tmp_path / "original").mkdir()
    (tmp_path / "original/train_partition.txt").write_text("http://y.be/w?v=x 0,1\r\n")
    (tmp_path / "original/test_partition.txt").write_text("http://y.be/w?v=z 1,2\n")
    with pytest.raises(ManifestError, match=r"line 1: label 2, but labels\.txt has 2 lines"):
        get("sports1m").read(tmp_path)
