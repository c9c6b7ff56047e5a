"""`--set` and `--rule`: what is no value of a field is refused; what is given beats a recipe."""

from pathlib import Path

import pytest
import torch

from pseudo3d.cli.common import input_of, key_values
from pseudo3d.cli.scans.train import ScanTraining, recipe_for
from pseudo3d.cli.segments import rule_from
from pseudo3d.cli.train import recipe_with
from pseudo3d.cli.tuning import shorter
from pseudo3d.cli.videos import network_for
from pseudo3d.data.preprocess import Preprocessing
from pseudo3d.data.scans.manifest import ScanItem, ScanManifest
from pseudo3d.errors import Pseudo3dError
from pseudo3d.models import create_model
from pseudo3d.weights import Card, save

SCANS = ScanManifest(items=(ScanItem(path=Path("a.nii"), label="a"),), classes=("a",))


def videos(*words, recipe="cpu"):
    return recipe_with(recipe, key_values(list(words)), None, None)


def scans(*words):
    how = ScanTraining(data=Path("x"), out=Path("y"), changes=key_values(list(words)))
    return recipe_for(SCANS, how)


def rules(*words):
    return rule_from(list(words))


@pytest.mark.parametrize(
    ("ask", "word", "wanted"),
    [
        (videos, "augment.flip=False", "true or false"),
        (videos, "freeze_norm=no", "true or false"),
        (videos, "random_crop=False", "true or false"),
        (videos, "checkpointing=off", "true or false"),
        (videos, "input.difference=False", "true or false"),
        (videos, "lr=high", "a number"),
        (videos, "dropout=None", "a number"),
        (videos, "augment.rotate=ten", "a number"),
        (videos, "input.fps=max", "a number"),
        (scans, "augment.flip_depth=no", "true or false"),
        (scans, "checkpointing=False", "true or false"),
        (scans, "near=far", "a number"),
        (scans, "input.channels=rgb", "a number"),
        (rules, "several=False", "true or false"),
        (rules, "smooth=None", "a number"),
    ],
)
def test_text_for_a_switch_or_a_number_is_refused(ask, word, wanted):
    name, _, text = word.partition("=")
    with pytest.raises(Pseudo3dError, match=f"^{name} is '{text}'; wanted {wanted}$"):
        ask(word)


def test_text_is_a_value_where_the_field_takes_it():
    assert videos("precision=fp32", "input.color=gray").input["color"] == "gray"
    assert not videos("augment.flip=false", "dropout=null").augment.flip
    assert scans("input.layout=RAS", "input.window=lung").input["window"] == "lung"
    assert rules("background=rest", "several=true", "smooth=null").several


@pytest.mark.parametrize(
    ("words", "channels"),
    [([], 3), (["color=gray"], 1), (["color=flow"], 2), (["color=flow", "difference=true"], 4)],
)
def test_a_network_is_made_for_the_channels_of_its_input(words, channels):
    how = videos(*(f"input.{word}" for word in words))
    assert network_for("p3d_nano", {}, how, 2, 0).cfg.in_channels == channels


def test_the_input_of_weights_is_taken_over():
    pre = Preprocessing(frames=8, resize=40, size=(32, 32), color="gray", mean=(0.4,), std=(0.2,))
    assert Preprocessing(**recipe_with("cpu", {}, None, None, pre).input) == pre
    smaller = Preprocessing(**recipe_with("cpu", {}, 4, 16, pre).input)
    assert (smaller.frames, smaller.resize, smaller.size) == (4, 20, (16, 16))
    other = recipe_with("cpu", {"input.color": "rgb", "epochs": 3}, None, None, pre)
    assert other.epochs == 3
    assert not {"mean", "std"} & set(other.input)  # they are measured on the data
    assert (other.input["color"], other.input["frames"]) == ("rgb", 8)


def test_weights_name_their_input_where_their_network_is_trained(tmp_path):
    net = create_model("p3d_nano", widths=(4, 8, 8, 8), num_classes=2)
    pre = Preprocessing(frames=3, resize=18, size=(16, 16), mean=(0.5,) * 3, std=(0.25,) * 3)
    save(net, path := tmp_path / "w.safetensors", classes=("a", "b"), preprocessing=pre)
    assert input_of(None, path) == input_of("p3d_nano", path) == pre
    assert input_of("p3d_tiny", path) is None


def test_a_network_cut_down_is_tuned_by_the_same_rule():
    torch.manual_seed(0)
    net = create_model("p3d_nano", widths=(4, 8, 8, 8), num_classes=2)
    pre = Preprocessing(frames=3, resize=18, size=(16, 16), mean=(0.5,) * 3, std=(0.25,) * 3)
    net.card = Card(name="p3d_nano", config={}, classes=("a", "b"), preprocessing=pre, training={})
    with pytest.raises(Pseudo3dError, match="freeze_norm is 'no'"):
        shorter(net, pre, 1, None, {"freeze_norm": "no"})


def test_epochs_take_the_place_of_a_recipes_steps():
    assert videos(recipe="ucf101").steps == 7500
    given = videos("epochs=2", recipe="ucf101")
    assert (given.epochs, given.steps) == (2, None)
    both = videos("epochs=2", "steps=9", recipe="ucf101")
    assert (both.epochs, both.steps) == (2, 9)
    assert (scans("epochs=2").epochs, scans("steps=5").steps) == (2, 5)


def test_the_changes_given_stay_as_they_are():
    changes = key_values(["augment.flip=true", "input.frames=3", "lr=0.5"])
    found = recipe_with("cpu", changes, None, None)
    assert (found.augment.flip, found.input["frames"], found.lr) == (True, 3, 0.5)
    assert set(changes) == {"augment.flip", "input.frames", "lr"}


def test_a_file_of_a_rule_leaves_what_it_does_not_name(tmp_path):
    (tmp_path / "r.json").write_text('{"edge": 0.4}')
    rule = rules("threshold=0.3", "edge=0.9", str(tmp_path / "r.json"))
    assert (rule.threshold, rule.edge) == (0.3, 0.4)
