"""`p3d predict --segments` and `p3d evaluate --segments` as a user calls them."""

import json
from pathlib import Path
from shutil import copyfile

import pytest
import torch
import typer

import pseudo3d
from pseudo3d.cli.main import app
from pseudo3d.cli.segments import Cutting, rule_from
from pseudo3d.data.annotation_files import read_annotations
from pseudo3d.data.manifest import read_manifest
from pseudo3d.data.preprocess import Preprocessing
from pseudo3d.data.rendered.long import EXERCISES, render_sessions
from pseudo3d.errors import Pseudo3dError


@pytest.fixture(scope="module")
def gym(tmp_path_factory) -> Path:
    """Three short sessions and a network that has seen nothing yet."""
    home = tmp_path_factory.mktemp("gym")
    render_sessions(home, people=3, sets=1, size=32)
    torch.manual_seed(0)
    classes = (*sorted(EXERCISES), "rest")
    net = pseudo3d.create_model("p3d_nano", num_classes=len(classes), widths=(4, 8, 8, 8))
    pre = Preprocessing(frames=4, resize=18, size=(16, 16), mean=(0.5,) * 3, std=(0.25,) * 3)
    pseudo3d.save(net, home / "weights.safetensors", classes=classes, preprocessing=pre)
    return home


@pytest.fixture
def p3d(gym, monkeypatch, capsys):
    """Run a command in the folder of the sessions; gives stdout and stderr."""

    def run(*words):
        monkeypatch.chdir(gym)
        capsys.readouterr()
        app([*map(str, words), "--threads", "1"], standalone_mode=False)
        return capsys.readouterr()

    return run


LOOSE = ("--rule", "threshold=0.2", "--rule", "smooth=0.1")  # an untrained network is never sure


def test_segments_are_printed_with_their_counts(p3d):
    said = p3d("predict", "weights.safetensors", "session02.mp4", "--segments", "-", *LOOSE)
    rows = [line.split("\t") for line in said.out.splitlines()]
    assert rows
    assert {len(row) for row in rows} == {5}
    assert all(float(start) < float(end) for _, start, end, _, _ in rows)
    assert f"session02.mp4: {len(rows)} segments: " in said.err


def test_segments_go_to_files_that_read_back_and_train(p3d, gym):
    both = ("session01.mp4", "session02.mp4")
    for name in ("found.csv", "found.json"):
        p3d("predict", "weights.safetensors", *both, "--segments", name, *LOOSE)
    table, notes = (read_annotations(gym / n, gym) for n in ("found.csv", "found.json"))
    assert [v.path for v in table.videos] == [v.path for v in notes.videos]
    assert [v.marks for v in table.videos] == [v.marks for v in notes.videos]
    assert len(read_manifest(gym / "found.csv", (*sorted(EXERCISES), "rest")).items) > 1


def test_json_holds_the_segments_beside_the_windows(p3d):
    said = p3d(
        "predict", "weights.safetensors", "session02.mp4", "--segments", "-", "--json", *LOOSE
    )
    (answer,) = json.loads(said.out)
    assert answer["segments"]
    assert set(answer["segments"][0]) == {"start", "end", "label", "score"}
    assert len(answer["timeline"]) > 3  # in windows, although a network may take it whole


def test_a_recording_is_drawn_and_cut(p3d, gym):
    options = ("--cut", "parts", "--timeline", "line.png", *LOOSE)
    said = p3d("predict", "weights.safetensors", "session02.mp4", *options)
    count = len(said.out.splitlines())
    assert len(list((gym / "parts").glob("session02_*.mp4"))) == count > 0
    assert (gym / "line.png").stat().st_size > 10_000


def test_a_video_without_segments_says_how_near_it_came(p3d):
    said = p3d("predict", "weights.safetensors", "session02.mp4", "--segments", "-",
               "--rule", "threshold=1")  # fmt: skip
    assert said.out == ""
    assert "no segment; the highest smoothed probability is 0." in said.err


def test_a_network_is_scored_with_a_rule_chosen_elsewhere(p3d, gym):
    options = ("--tune", "val", "--save-rule", "rule.json", "--predictions", "seen.json",
               "--timelines", "lines", "--rule", "background=rest")  # fmt: skip
    said = p3d("evaluate", "weights.safetensors", "truth.csv", "--segments", *options)
    scores = dict(line.split("\t", 1) for line in said.out.splitlines() if "\t" in line)
    assert "mAP, mean over tIoU 0.5 to 0.95" in scores
    assert "F1@50" in scores
    assert "on 1 validation videos with" in scores["protocol"]
    assert "without rest" in scores["protocol"]
    rule = json.loads((gym / "rule.json").read_text())
    assert rule["rule"]["background"] == ["rest"]
    assert [p.name for p in (gym / "lines").iterdir()] == ["session02.png"]
    again = p3d("evaluate", "seen.json", "truth.csv", "--segments", "--json")
    assert json.loads(again.out)["detection"]["videos"] == 1
    assert again.out.count("session02.mp4")


def test_the_truth_scores_full_marks(p3d):
    said = p3d("evaluate", "truth.csv", "truth.json", "--segments", "--split", "all", "--json")
    found = json.loads(said.out)
    assert found["detection"]["mAP"]["value"] == 1.0
    assert found["segmentation"]["f1@50"] == 1.0
    assert found["segmentation"]["count_error"] == 0.0


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--tune", "test"), "share videos"),
        (("--tune", "testing"), "share videos"),
        (("--tune", "all"), "share videos"),
        (("--rule", "treshold=1"), "Did you mean threshold"),
        (("--split", "holdout"), "unknown split"),
    ],
)
def test_a_rule_is_never_chosen_on_what_is_scored(words, told, p3d):
    with pytest.raises(Pseudo3dError, match=told):
        p3d("evaluate", "weights.safetensors", "truth.csv", "--segments", *words)


def test_files_hold_no_rule_to_choose(p3d):
    told = "--tune is for --segments of a network; here are --segments of a file"
    with pytest.raises(typer.BadParameter, match=told):
        p3d("evaluate", "truth.csv", "truth.json", "--segments", "--tune", "val")


def test_options_without_sense_are_refused(tmp_path):
    assert Cutting.of(None, None, None) is None
    with pytest.raises(Pseudo3dError, match="add --segments FILE"):
        Cutting.of(None, ["threshold=0.4"], None)
    with pytest.raises(Pseudo3dError, match=r"wanted \.json or \.csv"):
        Cutting.of(tmp_path / "found.txt", None, None)


def test_rules_of_files_and_values_add_up(tmp_path):
    (tmp_path / "rule.json").write_text('{"rule": {"threshold": 0.3, "edge": 0.4}}')
    rule = rule_from([str(tmp_path / "rule.json"), "edge=0.6", 'background=["rest"]'])
    assert (rule.threshold, rule.edge, rule.background) == (0.3, 0.6, ("rest",))
    assert rule_from(None) == rule_from([])


def test_the_options_of_segments_go_with_segments(p3d):
    with pytest.raises(typer.BadParameter, match="--tune is for --segments"):
        p3d("evaluate", "weights.safetensors", "truth.csv", "--tune", "val")
    with pytest.raises(typer.BadParameter, match="--group is for videos or scans"):
        p3d("evaluate", "weights.safetensors", "truth.csv", "--segments", "--group", "nobody")


@pytest.fixture
def days(gym, tmp_path):
    """Two recordings of one name, and a list of what happens in them."""
    for day in ("day1", "day2"):
        (tmp_path / day).mkdir()
        copyfile(gym / "session02.mp4", tmp_path / day / "cam.mp4")
    head, *rows = (gym / "truth.csv").read_text().splitlines()
    mine = [row for row in rows if row.startswith("session02.mp4,")]
    rows = [row.replace("session02", f"{day}/cam") for day in ("day1", "day2") for row in mine]
    (tmp_path / "truth.csv").write_text("\n".join([head, *rows]) + "\n")
    return tmp_path


def test_recordings_of_one_name_get_pictures_and_parts_of_their_own(p3d, days):
    films = (days / "day1" / "cam.mp4", days / "day2" / "cam.mp4")
    out = (
        "--cut",
        days / "parts",
        "--timeline",
        days / "line.png",
        "--annotate",
        days / "seen.mp4",
    )
    said = p3d("predict", "weights.safetensors", *films, *out, *LOOSE)
    found = [path.name for path in (days / "parts").iterdir()]
    assert len(found) == len(said.out.splitlines()) > 0
    assert sum(name.startswith("day1_cam_") for name in found) == len(found) / 2
    names = {path.name for path in days.iterdir() if path.is_file()}
    assert names == {"truth.csv"} | {
        f"{day}_cam_{name}" for day in ("day1", "day2") for name in ("line.png", "seen.mp4")
    }


def test_an_annotated_video_is_never_written_over_one_that_is_read(p3d, days):
    film = days / "day1" / "cam.mp4"
    before = film.read_bytes()
    with pytest.raises(Pseudo3dError, match="is an input and would be written over"):
        p3d("predict", "weights.safetensors", film, "--annotate", film)
    assert film.read_bytes() == before


def test_videos_of_one_name_are_drawn_each_for_itself(p3d, days):
    words = ("--segments", "--split", "all", "--timelines", days / "lines")
    p3d("evaluate", "weights.safetensors", days / "truth.csv", *words)
    names = {path.name for path in (days / "lines").iterdir()}
    assert names == {"day1_cam.png", "day2_cam.png"}
