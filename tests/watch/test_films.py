"""Clips with what came before them, recordings in parts: complete files or none."""

from functools import partial

import numpy as np
import pytest

from pseudo3d.data.video import read_video
from pseudo3d.errors import VideoError
from pseudo3d.watch import recorder as recorders
from pseudo3d.watch.films import Film, Ring, name_of, tidy
from pseudo3d.watch.overlay import Caption, captioned, fitted
from pseudo3d.watch.recorder import Keeping, Recorder
from pseudo3d.watch.slot import Frame

CAPTION = Caption(label="waving", share=0.7, color="#0072B2", aside="12 ms  30 fps")


def plain(light, height=48, width=64):
    return np.full((height, width, 3), light, np.uint8)


def frames(lights, start=100.0, step=0.1):
    for i, light in enumerate(lights):
        time = start + i * step
        yield Frame(image=plain(light), number=i + 1, time=time, taken=time)


def lights_of(path):
    video = read_video(path)
    return video.frames[:, :, 4:40, 4:60].float().mean((0, 2, 3)).tolist(), video.times


class Said(list):
    def __call__(self, what):
        self.append(what)


def test_a_film_keeps_the_times_of_its_frames(tmp_path):
    film = Film(tmp_path / "sub" / "a.mp4")
    for frame, taken in zip(frames([10, 90, 170]), (7.0, 7.5, 9.25), strict=True):
        film.add(frame.image, taken)
    film.add(plain(250), 9.0)  # not after the last one: left out
    assert film.seconds == 2.25
    assert not film.path.exists()
    film.close()
    lights, times = lights_of(film.path)
    assert lights == pytest.approx([10, 90, 170], abs=6)
    assert times.tolist() == pytest.approx([0, 0.5, 2.25], abs=2e-3)


def test_a_film_takes_frames_of_other_sizes_with_borders(tmp_path):
    film = Film(tmp_path / "a.mp4")
    film.add(plain(200), 0.0)
    film.add(plain(200, 90, 30), 1.0)
    film.close()
    video = read_video(film.path)
    assert video.frames.shape == (3, 2, 48, 64)
    assert float(video.frames[:, 1, 24, 32].float().mean()) > 180
    assert float(video.frames[:, 1, :, :16].float().mean()) < 20


def test_a_film_that_is_dropped_leaves_nothing(tmp_path):
    film = Film(tmp_path / "a.mp4")
    film.add(plain(1), 0.0)
    film.drop()
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(VideoError, match="no frames"):
        Film(tmp_path / "b.mp4").close()


def test_the_ring_forgets_what_is_old_and_what_is_too_much():
    ring = Ring(1.0)
    for frame in frames(range(50)):
        ring.add(frame.image, frame.taken)
    kept = ring.since(0.0)
    assert [round(time, 1) for time, _ in kept] == [round(103.9 + 0.1 * i, 1) for i in range(11)]
    assert [int(image.mean()) for _, image in kept] == pytest.approx(range(39, 50), abs=2)
    assert [round(time, 1) for time, _ in ring.since(104.75)] == [104.8, 104.9]
    small = Ring(99.0, room=2000)
    for frame in frames(range(50)):
        small.add(frame.image, frame.taken)
    assert 0 < small.nbytes <= 2000
    assert len(small.since(0.0)) < 10
    none = Ring(0.0)
    none.add(plain(1), 1.0)
    assert none.since(0.0) == []


def test_a_clip_holds_what_came_before_and_after(tmp_path):
    notes, told = Said(), Said()
    recorder = Recorder(Keeping(clips=tmp_path, before=0.5, after=0.3), notes, told)
    for frame in frames(range(0, 200, 5)):
        recorder.add("the door", frame, None)
        if frame.number == 20:  # it rose some decisions ago
            recorder.begin("the door", "wave/left", 101.6)
        if frame.number == 25:
            recorder.end("the door", "wave/left", 102.3)
    recorder.close()
    (report,) = told
    assert (report["event"], report["source"], report["label"]) == ("clip", "the door", "wave/left")
    lights, times = lights_of(report["path"])
    # from 101.1 s to 102.6 s
    assert lights == pytest.approx(range(55, 135, 5), abs=7)
    assert times[-1] == pytest.approx(1.5, abs=2e-3)
    assert report["frames"] == 16
    assert report["seconds"] == pytest.approx(1.5, abs=2e-3)
    assert notes == []


def test_a_clip_begins_before_an_event_that_is_told_late(tmp_path):
    notes, told = Said(), Said()
    recorder = Recorder(Keeping(clips=tmp_path, before=0.5, after=0), notes, told, hold=3.0)
    for frame in frames(range(0, 200, 4)):
        recorder.add("a", frame, None)
        if frame.number == 41:  # 104.0 s, as --hold 3 has it
            recorder.begin("a", "x", 101.0)
    recorder.close()
    lights, _ = lights_of(told[0]["path"])
    assert lights[0] == pytest.approx(20, abs=5)  # the frame of 100.5 s
    assert notes == []


def test_it_is_said_once_when_there_is_no_room_for_what_came_before(tmp_path, monkeypatch):
    size = len(plain(0).tobytes())
    monkeypatch.setattr(recorders, "Ring", partial(Ring, room=size))
    notes, told = Said(), Said()
    recorder = Recorder(Keeping(clips=tmp_path, before=2.0, after=0.1), notes, told)
    for frame in frames(range(100)):
        recorder.add("a", frame, None)
        if frame.number in (5, 50, 90):
            recorder.begin("a", f"x{frame.number}", frame.taken)
            recorder.end("a", f"x{frame.number}", frame.taken)
    recorder.close()
    assert len(told) == 3
    assert len(notes) == 1  # at the second: until the first, everything fits
    assert "hold less than the 3 s before an event; clips begin later" in notes[0]


def test_clips_of_events_that_go_on_are_cut_and_finished(tmp_path):
    notes, told = Said(), Said()
    recorder = Recorder(Keeping(clips=tmp_path, before=0, longest=1.0), notes, told)
    for frame in frames(range(40)):
        recorder.add("a", frame, None)
        if frame.number in (1, 30):
            recorder.begin("a", "x", frame.taken)
    recorder.close()
    assert [report["seconds"] for report in told] == pytest.approx([1.0, 1.0], abs=0.01)


def test_too_many_clips_at_a_time_are_refused_aloud(tmp_path):
    notes, told = Said(), Said()
    recorder = Recorder(Keeping(clips=tmp_path), notes, told)
    for frame in frames(range(6)):
        recorder.begin("a", f"x{frame.number}", frame.taken)
        recorder.add("a", frame, None)
    recorder.close()
    assert len(told) == 4
    assert [note for note in notes if "4 clips are open" in note] == list(notes)
    assert len(notes) == 2


def test_recordings_come_in_parts_and_the_oldest_go(tmp_path):
    notes = Said()
    plan = Keeping(recording=tmp_path, minutes=0.5 / 60, keep=1)
    mine = tmp_path / "holiday.mp4"
    mine.write_bytes(b"mine")
    recorder = Recorder(plan, notes, Said())
    for frame in frames(range(20)):
        recorder.add("a", frame, CAPTION)
    recorder.close()
    files = [path for path in tmp_path.iterdir() if path != mine]
    assert len(files) == 1  # room for one byte: the newest stays
    assert mine.exists()
    assert read_video(files[0]).frames.shape[2] > 240
    recorder = Recorder(Keeping(recording=tmp_path, minutes=0.5 / 60), notes, Said())
    for frame in frames(range(20), start=200.0):
        recorder.add("b", frame, None)
    recorder.close()
    parts = sorted(tmp_path.glob("b_*.mp4"))
    assert len(parts) == 4
    assert sum(read_video(path).frames.shape[1] for path in parts) == 20
    assert notes == []


def test_a_disk_that_refuses_pauses_the_recording_and_nothing_else(tmp_path):
    (tmp_path / "file").write_text("no folder")
    notes, told = Said(), Said()
    plan = Keeping(recording=tmp_path / "file" / "x", clips=tmp_path)
    recorder = Recorder(plan, notes, told)
    for frame in frames(range(10)):
        recorder.add("a", frame, None)
        if frame.number == 2:
            recorder.begin("a", "x", frame.taken)
    recorder.close()
    assert [note for note in notes if "recording pauses for 60 s" in note] == list(notes)
    assert len(notes) == 1
    assert len(told) == 1


def test_frames_that_come_too_fast_are_left_out_and_counted(tmp_path, monkeypatch):
    monkeypatch.setattr(recorders, "_ROOM", 5 * plain(0).nbytes)
    notes = Said()
    recorder = Recorder(Keeping(clips=tmp_path), notes, Said())
    with recorder._changed:  # the thread waits
        for frame in frames(range(20)):
            recorder.add("a", frame, None)
    recorder.close()
    assert recorder.left_out == 15
    assert len(notes) == 4
    assert "8 frames left out" in notes[-1]


def test_names_sort_by_time_and_suit_every_system():
    assert name_of("10.0.0.7:554/cam", "wave left?", wall=0.25) == (
        "10.0.0.7-554-cam_19700101T000000.250Z_wave-left.mp4"
    )
    assert name_of("../..", wall=0.0) == "19700101T000000.000Z.mp4"


def test_tidying_keeps_the_newest_within_the_room(tmp_path):
    for i in range(4):
        (tmp_path / name_of("a", wall=i)).write_bytes(bytes(100))
    clip = tmp_path / name_of("a", "x", wall=9)
    clip.write_bytes(bytes(1000))
    assert len(tidy(tmp_path, 250)) == 2
    assert len(list(tmp_path.iterdir())) == 3
    assert clip.exists()


def test_a_caption_is_written_below_the_frame():
    image = plain(100, 240, 320)
    shown = captioned(image, CAPTION)
    assert (shown[:240] == image).all()
    strip = shown[240:]
    assert len(strip) > 30
    assert (strip < 100).any()
    blue = (strip == (0, 0x72, 0xB2)).all(-1)
    assert blue.any(0).sum() / 320 == pytest.approx(0.68, abs=0.03)
    assert (captioned(image, None)[240:] == 255).all()
    assert captioned(plain(1, 30, 40), CAPTION).shape[1] == 320
    assert captioned(plain(1, 30, 4000), CAPTION).shape[1] == 1280


def test_an_alarm_is_told_by_more_than_color():
    alarm = Caption(**{**vars(CAPTION), "alarm": True})
    dark = [(captioned(plain(100, 240, 320), c)[240:] < 250).any(-1) for c in (CAPTION, alarm)]
    assert (dark[0] != dark[1]).any()


def test_a_long_label_is_shortened():
    long = Caption(**{**vars(CAPTION), "label": "w" * 300})
    assert captioned(plain(0, 240, 320), long).shape == captioned(plain(0, 240, 320), CAPTION).shape


def test_frames_are_fitted_whole():
    out = fitted(plain(255, 10, 40), (20, 20))
    assert out.shape == (20, 20, 3)
    assert (out.max((1, 2)) > 0).sum() == 5
