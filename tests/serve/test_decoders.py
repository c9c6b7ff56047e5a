"""Decoders: a process that reads untrusted files, its limits, and the form of its messages."""

import asyncio
import json
import struct
from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from data.containers import stream_of
from pseudo3d.data.preprocess import Preprocessing
from pseudo3d.data.writer import write_video
from pseudo3d.engine.predict import predict
from pseudo3d.engine.windows import Windows
from pseudo3d.serve.attention import Samples, framed
from pseudo3d.serve.child import CalledOff, Decoder
from pseudo3d.serve.cutting import Cutting, cut
from pseudo3d.serve.decoders import Child, Decoders
from pseudo3d.serve.films import Window
from pseudo3d.serve.problems import Problem
from pseudo3d.serve.settings import Limits
from pseudo3d.serve.wire import Gone, Message, pack, read, receive

PRE = Preprocessing(frames=6, resize=30, size=(24, 24), mean=(0.4,) * 3, std=(0.3,) * 3)


def told(limits):
    """What a decoder is told at its start."""
    return {
        "input": "video", "weights": "none", "sha256": "", "preprocessing": PRE.to_dict(),
        "trained": [1.5, 2.0], "window": None, "hop": None, "limits": limits,
    }  # fmt: skip


def large(path, side):
    """A video with frames of so many pixels."""
    noise = torch.randint(0, 255, (3, 1, side, side), dtype=torch.uint8)
    write_video(path, noise.expand(-1, 3, -1, -1), fps=5)
    return path


def test_memory_and_calling_off_in_a_real_process(tmp_path, films):
    small = {"memory": 60 * 2**20, "pixels": 10**8, "upload_bytes": 10**8}
    big = large(tmp_path / "big.mp4", 2600)

    async def main():
        decoders = Decoders(told({**Limits().__dict__, **small}), 1, 60.0)
        try:
            with pytest.raises(Problem, match="memory") as stop:
                async for _ in decoders.run({"type": "file", "path": str(big), "name": "b.mp4"}):
                    pass
            assert stop.value.code == "too_large"
            job = {"type": "file", "path": str(films[3]), "name": "f.mp4"}
            for _ in range(3):  # left after the first message, each time
                messages = decoders.run(job)
                assert (await anext(messages)).facts["type"] == "video"
                await messages.aclose()
            found = [m.facts["type"] async for m in decoders.run(job)]
            return found, decoders.replaced
        finally:
            await decoders.close()

    found, replaced = asyncio.run(main())
    assert found[0] == "video"
    assert found[-1] == "end"
    assert set(found[1:-1]) == {"window"}
    assert replaced == 1  # after the lack of memory; calling off costs no process


def test_windows_are_those_of_predict(weights, films):
    how = Cutting(pre=PRE, plan=Windows(), trained=(1.5, 2.0), limits=Limits())
    for film in films:
        first, *windows, last = list(cut(film, how))
        expected = predict(weights, film)
        assert [m.facts["start"] for m in windows] == pytest.approx(expected.starts.tolist())
        assert [m.facts["end"] for m in windows] == pytest.approx(expected.ends.tolist())
        assert (first.facts["height"], first.facts["width"]) == (36, 44)
        for m in windows:
            assert len(m.data) == np.prod(m.facts["shape"])
            assert m.facts["shape"][1:] == [3, 6, 24, 24]
            assert len(m.facts["times"]) == 6
            inside = [m.facts["start"] - 1e-6 <= t < m.facts["end"] for t in m.facts["times"]]
            assert all(inside)
        assert last.facts["problem"] is None


@pytest.mark.parametrize(
    ("limits", "word"),
    [({"frames": 5}, "5 frames"), ({"seconds": 1.0}, "1 s"), ({"pixels": 100}, "100 pixels")],
)
def test_what_goes_beyond_a_limit_is_refused(films, limits, word):
    how = Cutting(pre=PRE, plan=Windows(), trained=(1.5, 2.0), limits=Limits(**limits))
    with pytest.raises(Problem, match=word) as stop:
        list(cut(films[3], how))
    assert stop.value.code == "too_large"


@pytest.mark.parametrize("sampling", ["uniform", "dense"])
@pytest.mark.parametrize(
    ("limits", "word"), [({"frames": 5}, "5 frames"), ({"seconds": 1.0}, "1 s")]
)
def test_a_file_that_does_not_say_how_long_it_is_is_counted(
    films, tmp_path, sampling, limits, word
):
    part = stream_of(films[3], tmp_path / "a.ts")
    pre = replace(PRE, sampling=sampling)
    how = Cutting(pre=pre, plan=Windows(), trained=(1.5, 2.0), limits=Limits(**limits))
    with pytest.raises(Problem, match=word) as stop:
        list(cut(part, how))
    assert stop.value.code == "too_large"


@pytest.mark.parametrize("kind", ["end", "error", "off", "picture"])
def test_a_job_that_was_over_when_it_was_called_off_costs_no_process(kind):
    """A picture is its job's only message; one that is sent already is such an end."""

    class Heard(Child):
        def __init__(self, message):
            self.message, self.killed = message, False

        def _signal(self, number):
            pass

        async def receive(self):
            if self.message is None:
                await asyncio.sleep(60)
            message, self.message = self.message, None
            return message

        async def kill(self):
            self.killed = True

    async def main():
        child = Heard(Message({"type": kind, "job": 4, "fit": True}))
        async with asyncio.timeout(1):
            await child.call_off(4)
        return child.killed

    assert asyncio.run(main()) is False


def test_a_signal_waits_until_a_message_is_whole():
    class Pipe(BytesIO):
        def write(self, data):
            super().write(data[:5])
            decoder._called_off(10, None)  # in the middle of sending
            return super().write(data[5:])

    decoder = Decoder.__new__(Decoder)
    decoder.out, decoder.busy, decoder.sending, decoder.off = Pipe(), True, False, False
    with pytest.raises(CalledOff):
        decoder.send(4, Message({"type": "window"}, b"123"))
    decoder.out.seek(0)
    assert read(decoder.out) == Message({"type": "window", "job": 4}, b"123")


@given(facts=st.dictionaries(st.sampled_from("abc"), st.integers() | st.text()), data=st.binary())
def test_messages_come_back_as_they_were(facts, data):
    pipe = BytesIO(pack(Message(facts, data)) * 2)
    assert read(pipe) == read(pipe) == Message(facts, data)
    assert read(pipe) is None


@pytest.mark.parametrize(
    "garbage",
    [
        b"", b"ab", struct.pack("<I", 5) + b"abc", struct.pack("<I", 2**31) + b"x",
        struct.pack("<I", 3) + b"{]}", struct.pack("<I", 2) + b"{}", struct.pack("<I", 2) + b"[]",
        struct.pack("<I", 12) + b'{"bytes": 9}' + b"123",
    ],
)  # fmt: skip
def test_a_decoder_that_sends_garbage_counts_as_gone(garbage):
    async def main():
        reader = asyncio.StreamReader()
        reader.feed_data(garbage)
        reader.feed_eof()
        await receive(reader, 100)

    with pytest.raises(Gone):
        asyncio.run(main())


def test_a_decoder_that_sends_too_much_is_not_listened_to():
    async def main():
        reader = asyncio.StreamReader()
        text = json.dumps({"bytes": 10**12}).encode()
        reader.feed_data(struct.pack("<I", len(text)) + text)
        await receive(reader, 100)

    with pytest.raises(Problem):
        asyncio.run(main())


def test_windows_to_explain_are_even_over_a_video_of_any_length():
    for count in (1, 5, 13, 100, 1000):
        samples = Samples()
        for i in range(count):
            for part in range(4):  # windows that overlap
                start = i + part / 4
                clip = torch.zeros(1, 1, 1, 1, 1, dtype=torch.uint8)
                samples.add(Window(start, start + 1, clip, (start,)))
        times = [shown[0] for _, shown in samples.kept]
        assert 1 <= len(times) <= 12
        steps = np.diff(times)
        assert len(set(steps)) <= 1
        assert times[-1] >= 0.75 * (count - 1) or count == 1


@given(st.integers(8, 60), st.integers(8, 60), st.integers(4, 30))
def test_heat_lies_in_the_middle_of_the_picture(height, width, resize):
    side = max(resize - 3, 1)
    whole = framed(np.ones((2, side, side), np.float32), resize, (height, width))
    assert whole.sum() == 2 * side * side
    assert min(whole.shape[1:]) == resize
    ratio = whole.shape[2] / whole.shape[1]
    assert ratio == pytest.approx(width / height, rel=0.2)
    top, bottom = whole[0].any(1).argmax(), whole[0, ::-1].any(1).argmax()
    assert abs(int(top) - int(bottom)) <= 1
