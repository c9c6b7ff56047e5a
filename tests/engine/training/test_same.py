"""A run goes on only on the data it was begun on, and says how long they take."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from lightning.pytorch.callbacks import Callback

from pseudo3d.data.manifest import Item, Manifest
from pseudo3d.data.scans.manifest import ScanItem, ScanManifest
from pseudo3d.engine.training.job import Job, Parts, digests
from pseudo3d.engine.training.train import RUN, _seconds, train
from pseudo3d.engine.volumes.train import ScanParts
from pseudo3d.errors import Pseudo3dError


class StopRun(RuntimeError):
    """Ends a run."""


class Stop(Callback):
    """Ends a run after its second batch, when there is a state of the first."""

    def on_train_batch_end(self, trainer, module, *_):
        if module.batches == 2:
            raise StopRun


@pytest.fixture(scope="module")
def begun(parts, store, small, fresh, tmp_path_factory) -> Job:
    """A run that was interrupted, to be resumed."""
    job = Job(recipe=given(small), out=tmp_path_factory.mktemp("begun"), checkpoint_every=1)
    with pytest.raises(StopRun):
        train(fresh(), parts, store, job, [Stop()])
    return replace(job, resume=True)


def given(small):
    """The recipe with statistics, so that other data do not show in them."""
    return small.but(input={**small.input, "mean": (0.5,) * 3, "std": (0.3,) * 3})


def turned(manifest: Manifest) -> Manifest:
    return replace(manifest, items=manifest.items[::-1])


def relabeled(manifest: Manifest) -> Manifest:
    first, *rest = manifest.items
    return replace(manifest, items=(replace(first, label="middle"), *rest))


def held_out(parts: Parts) -> Parts:
    train, held = parts.train.hold_out(["a"])
    return replace(parts, train=train, held=held)


CHANGES: dict[str, tuple[Callable[[Parts], Parts], str]] = {
    "order": (lambda p: replace(p, train=turned(p.train)), "train part of the data;"),
    "label": (lambda p: replace(p, train=relabeled(p.train)), "train part of the data;"),
    "hold-out": (held_out, "train part of the data, test part of the data;"),
    "watched": (lambda p: replace(p, val=None), "val part of the data;"),
    "classes": (
        lambda p: replace(p, train=replace(p.train, classes=("middle", "dark", "bright"))),
        "classes;",
    ),
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_other_data_are_refused_by_name(begun, parts, store, fresh, change):
    other, told = CHANGES[change]
    with pytest.raises(Pseudo3dError, match=f"with another {told} repeat the command"):
        train(fresh(), other(parts), store, begun, [Stop()])


def test_a_run_goes_on_with_data_that_were_moved(begun, parts, store, fresh, tmp_path):
    home = parts.train.items[0].path.parent
    shutil.copytree(home, tmp_path / "moved")
    there = Parts(
        train=moved(parts.train, home, tmp_path / "moved"),
        val=moved(parts.val, home, tmp_path / "moved"),
    )
    with pytest.raises(StopRun):
        train(fresh(), there, store, begun, [Stop()])


def moved(part: Manifest, old: Path, new: Path) -> Manifest:
    items = tuple(replace(item, path=new / item.path.relative_to(old)) for item in part.items)
    return replace(part, items=items)


def test_a_run_of_an_earlier_version_goes_on_with_a_warning(
    begun, parts, store, fresh, tmp_path, caplog
):
    job = replace(begun, out=tmp_path / "old")
    shutil.copytree(begun.out, job.out)
    run = json.loads((job.out / RUN).read_text())
    del run["items"], run["classes"]
    (job.out / RUN).write_text(json.dumps(run))
    with pytest.raises(StopRun):
        train(fresh(), parts, store, job, [Stop()])
    assert "whether the data are still the same is not checked" in caplog.text
    caplog.clear()
    with pytest.raises(StopRun):
        train(fresh(), parts, store, job, [Stop()])
    assert caplog.text.count("not checked") == 0  # noted the second time


def test_what_an_earlier_version_did_not_know_counts_as_its_default(
    begun, parts, store, fresh, tmp_path
):
    job = replace(begun, out=tmp_path / "old")
    shutil.copytree(begun.out, job.out)
    run = json.loads((job.out / RUN).read_text())
    assert run["recipe"].pop("head_bias_lr") == 1.0
    (job.out / RUN).write_text(json.dumps(run))
    other = replace(job, recipe=job.recipe.but(head_bias_lr=2.0))
    with pytest.raises(Pseudo3dError, match="with another recipe;"):
        train(fresh(), parts, store, other, [Stop()])
    with pytest.raises(StopRun):
        train(fresh(), parts, store, job, [Stop()])


SCAN = ScanItem(path=Path("a/0.nii"), label="", group="p", mask=Path("b/0.nii"), value=1.0,
                array="x", index=3, start=0.5, end=2.0)  # fmt: skip


@pytest.mark.parametrize(
    "change",
    [{"path": Path("a/1.nii")}, {"label": "ill"}, {"group": None}, {"mask": Path("b/1.nii")},
     {"value": 2.0}, {"array": "y"}, {"index": 4}, {"start": None}, {"end": 2.5}],
)  # fmt: skip
def test_every_fact_of_an_item_counts(change):
    def of(item):
        return digests(ScanParts(train=ScanManifest((item,), ("v",), task="regress")))

    assert of(replace(SCAN, **change)) != of(SCAN) == of(replace(SCAN, split="train"))


def test_files_count_by_their_place_among_all():
    def of(*paths):
        items = tuple(Item(path=Path(p), label="ab"[i % 2]) for i, p in enumerate(paths))
        return digests(Parts(train=Manifest(items, ("a", "b"))))["train"]

    assert of("/x/a/1", "/x/b/2") == of("y/a/1", "y/b/2") == of("a/1", "b/2")
    assert of("a/1", "b/2") != of("1", "2")
    assert of("/x/a/1", "b/2") != of("a/1", "b/2")  # of no common folder, as they are


class Clock:
    """A store of videos that last as long as their names say, or as their span."""

    def __init__(self):
        self.read_so_far = []

    def read(self, item):
        self.read_so_far.append(item)
        length = float(item.path.stem) if item.end is None else item.end - (item.start or 0.0)
        return SimpleNamespace(times=torch.tensor([0.0, length]))


def test_lengths_are_of_items_from_the_whole_list():
    store = Clock()
    items = [Item(path=Path(f"{1 if i < 100 else 9}.mp4"), label="a") for i in range(300)]
    assert _seconds(items, store) == (9.0, 9.0)
    assert len(store.read_so_far) == 64
    assert _seconds(items[99:101], store) == (5.0, 9.0)


def test_of_known_spans_the_longest_of_all_counts():
    items = [Item(path=Path("x.mp4"), label="a", start=1.0, end=2.0) for _ in range(200)]
    items[77] = replace(items[77], start=None, end=30.0)
    assert _seconds(items, Clock()) == (1.0, 30.0)
