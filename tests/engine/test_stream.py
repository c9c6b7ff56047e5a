"""A stream is the whole clip, at every frame, however it is cut and whatever runs beside it."""

from copy import deepcopy
from dataclasses import replace
from functools import cache

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pseudo3d import create_model, save
from pseudo3d.engine import stream as streams
from pseudo3d.engine.stream import Stream
from pseudo3d.engine.streamstate import StreamState
from pseudo3d.errors import Pseudo3dError, WeightsError
from pseudo3d.runtime import packed
from runtime.causal_cases import ALL, CAUSAL, network
from runtime.conftest import shaken

KINDS = sorted({(case, False) for case in ALL} | {(case, True) for case in CAUSAL})
SMALL = {"widths": (4, 4, 4, 8), "stem_width": 4, "depths": (1, 1, 1, 1)}


@cache
def stream_of(case, causal):
    return Stream(network(case, causal))


def logits(net, clip):
    with torch.inference_mode():
        return net(clip)


def relative(a, b):
    return float((a - b).norm() / b.norm())


def clip_of(n, t, h, w, channels=3):
    return torch.randn(n, channels, t, h, w, generator=torch.Generator().manual_seed(h * w + t))


def pushed(stream, clip, pieces, state=None):
    """The state after a clip came in pieces of these lengths."""
    state, at = state or stream.start(len(clip)), 0
    for length in pieces:
        _, state = stream.step(clip[:, :, at : at + length], state)
        at += length
    return state


@settings(deadline=None, max_examples=25)
@given(
    kind=st.sampled_from(KINDS),
    n=st.integers(1, 2),
    h=st.one_of(st.integers(1, 8), st.integers(12, 34)),
    w=st.one_of(st.integers(1, 8), st.integers(12, 34)),
    pieces=st.lists(st.integers(1, 6), min_size=1, max_size=6),
)
def test_a_stream_in_any_pieces_decides_as_the_network_does_on_the_whole_clip(
    kind, n, h, w, pieces
):
    stream, clip = stream_of(*kind), clip_of(n, sum(pieces), h, w)
    state, seen = stream.start(n), 0
    for length in pieces:
        _, state = stream.step(clip[:, :, seen : seen + length], state)
        seen += length
        found = stream.decide(state)
        assert relative(found, logits(network(*kind), clip[:, :, :seen])) < 1e-5
    assert state.frames == seen


@settings(deadline=None, max_examples=10)
@given(kind=st.sampled_from(KINDS), order=st.lists(st.integers(0, 2), min_size=8, max_size=20))
def test_interleaved_streams_do_not_disturb_each_other(kind, order):
    stream = stream_of(*kind)
    clips = [clip_of(1, len(order), 16 + i, 20) for i in range(3)]
    states, seen = [stream.start() for _ in clips], [0, 0, 0]
    for i in order:
        _, states[i] = stream.step(clips[i][:, :, seen[i]], states[i])
        seen[i] += 1
    for i in set(order):
        want = logits(network(*kind), clips[i][:, :, : seen[i]])
        assert relative(stream.decide(states[i]), want) < 1e-5


@settings(deadline=None, max_examples=10)
@given(kind=st.sampled_from(KINDS), before=st.integers(1, 9), after=st.integers(1, 9))
def test_a_state_is_never_changed_so_that_a_stream_can_be_forked(kind, before, after):
    stream = stream_of(*kind)
    shared, other = clip_of(1, before, 18, 18), clip_of(1, after + 9, 18, 18)
    fork = pushed(stream, shared, [1] * before)
    copies = [[t.clone() for t in rope] for rope in fork.kept]
    first = stream.decide(fork)
    for one in (other[:, :, :after], other[:, :, after:]):
        state = pushed(stream, one, [1] * one.shape[2], fork)
        want = logits(network(*kind), torch.cat([shared, one], 2))
        assert relative(stream.decide(state), want) < 1e-5
    assert torch.equal(stream.decide(fork), first)
    for rope, copy in zip(fork.kept, copies, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(rope, copy, strict=True))


@pytest.mark.parametrize("case", CAUSAL)
def test_a_causal_network_never_waits_and_its_step_is_the_clip_at_every_full_period(case):
    stream = stream_of(case, True)
    assert stream.delay == 0
    clip, state = clip_of(1, 2 * stream.period, 20, 20), stream.start()
    for i in range(clip.shape[2]):
        found, state = stream.step(clip[:, :, i], state)
        if (i + 1) % stream.period == 0:
            assert relative(found, logits(network(case, True), clip[:, :, : i + 1])) < 1e-5


def test_nothing_has_passed_the_last_stage_before_the_first_full_window():
    stream = stream_of("bottleneck release", True)
    found, state = stream.step(clip_of(1, stream.period - 1, 20, 20), stream.start())
    assert found is None
    found, _ = stream.step(clip_of(1, 1, 20, 20)[:, :, 0], state)
    assert found is not None


@pytest.mark.parametrize("case", ["modern", "r3d", "tsm", "c3d", "medical A"])
def test_a_network_that_looks_ahead_says_how_far(case):
    stream = stream_of(case, False)
    assert stream.delay > 0

    def features_after(frames):
        return pushed(stream, clip_of(1, frames, 16, 16), [frames]).counted[0]

    for periods in (1, 3):
        frames = periods * stream.period
        assert features_after(frames + stream.delay) >= periods
    assert features_after(3 * stream.period + stream.delay - 1) < 3


@pytest.mark.parametrize("kind", [("modern", True), ("release", False), ("light", True)])
def test_a_state_goes_on_from_a_file(kind, tmp_path):
    stream, clip = stream_of(*kind), clip_of(2, 11, 20, 24)
    state = pushed(stream, clip[:, :, :6], [4, 2])
    state.save(tmp_path / "state.safetensors")
    again = StreamState.load(tmp_path / "state.safetensors")
    assert (again.seen, again.counted, again.size) == (state.seen, state.counted, state.size)
    found = stream.decide(pushed(stream, clip[:, :, 6:], [1] * 5, again))
    assert torch.equal(found, stream.decide(pushed(stream, clip[:, :, 6:], [1] * 5, state)))


def test_a_fresh_state_goes_on_from_a_file(tmp_path):
    stream, clip = stream_of("modern", True), clip_of(1, 3, 20, 24)
    stream.start().save(tmp_path / "state")
    state = StreamState.load(tmp_path / "state")
    assert (
        relative(
            stream.decide(pushed(stream, clip, [3], state)), logits(network("modern", True), clip)
        )
        < 1e-5
    )


@pytest.mark.parametrize("kind", [("release", True), ("bottleneck modern", False), ("tsm", False)])
def test_streams_of_one_phase_are_stepped_together_and_taken_apart(kind):
    stream = stream_of(*kind)
    late, early = 9 * stream.period + 3, 11 * stream.period + 3
    clips = [clip_of(1, n + 5, 20, 20) for n in (early, late)]
    states = [pushed(stream, c[:, :, :-5], [c.shape[2] - 5]) for c in clips]
    both = StreamState.stack(states)
    assert (both.streams, both.frames) == (2, early)
    tails = torch.cat([c[:, :, -5:] for c in clips])
    both = pushed(stream, tails, [1, 3, 1], both)
    want = torch.cat([logits(network(*kind), c) for c in clips])
    assert relative(stream.decide(both), want) < 1e-5
    apart = [stream.decide(state) for state in both.split()]
    assert relative(torch.cat(apart), want) < 1e-5


def test_streams_out_of_phase_do_not_stack():
    stream = stream_of("release", True)
    states = [pushed(stream, clip_of(1, n, 20, 20), [n]) for n in (4, 5)]
    with pytest.raises(Pseudo3dError, match="4 and 5 frames are not in one phase"):
        StreamState.stack(states)
    with pytest.raises(Pseudo3dError, match="not in one phase"):
        StreamState.stack([states[0], stream.start()])
    with pytest.raises(Pseudo3dError, match="no states"):
        StreamState.stack([])


def test_states_of_other_networks_and_sizes_are_refused():
    one, other = stream_of("release", True), stream_of("port", True)
    state = pushed(one, clip_of(1, 4, 20, 20), [4])
    with pytest.raises(Pseudo3dError, match=r"a state of 'p3d_nano-\w+' was given to"):
        other.step(clip_of(1, 1, 20, 20), state)
    with pytest.raises(Pseudo3dError, match="was given to"):
        other.decide(state)
    with pytest.raises(Pseudo3dError, match="24 x 20 pixels in a stream of 20 x 20"):
        one.step(clip_of(1, 1, 24, 20), state)
    with pytest.raises(Pseudo3dError, match="frames of 2 streams, a state of 1"):
        one.step(clip_of(2, 1, 20, 20), state)
    with pytest.raises(Pseudo3dError, match="does not stack"):
        StreamState.stack([state, pushed(one, clip_of(1, 4, 24, 20), [4])])


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("shape", [(1, 4, 20, 20), (3, 20, 20), (1, 3, 0, 20, 20), (1, 20, 20, 3)])
def test_what_are_no_frames_is_refused(shape):
    stream = stream_of("release", True)
    with pytest.raises(Pseudo3dError, match=r"frames have shape .* wanted \(N, 3, H, W\)"):
        stream.step(torch.zeros(shape), stream.start())


def test_a_stream_that_has_seen_nothing_decides_nothing():
    stream = stream_of("release", True)
    with pytest.raises(Pseudo3dError, match="nothing has been seen yet"):
        stream.decide(stream.start())


def test_the_callers_frames_may_be_written_over():
    stream, clip = stream_of("pieces", True), clip_of(1, 6, 20, 20)
    state, frame = stream.start(), torch.empty(1, 3, 20, 20)
    for i in range(6):
        frame.copy_(clip[:, :, i])
        _, state = stream.step(frame, state)
        frame.zero_()
    assert relative(stream.decide(state), logits(network("pieces", True), clip)) < 1e-5


@pytest.mark.parametrize("memory", [1, 4, 7, 100])
def test_memory_decides_from_the_last_frames_only(memory):
    net = network("release", True)
    stream, clip = Stream(net, memory=memory), clip_of(1, 21, 20, 20)
    state = pushed(stream, clip, [4, 1, 9, 7])
    recent = -(-memory // stream.period)
    with torch.inference_mode():
        found = net.feature_map(clip).mean((3, 4))[:, :, -recent:]
        want = net.head(found.mean(2))
    assert relative(stream.decide(state), want) < 1e-5
    assert state.pooled.shape[2] <= recent


@pytest.mark.parametrize("kind", [("modern", True), ("bottleneck release", True), ("tsm", False)])
def test_what_is_kept_does_not_grow(kind):
    stream, clip = stream_of(*kind), clip_of(1, 16, 20, 20)
    state, sizes = stream.start(), []
    for _ in range(5):
        state = pushed(stream, clip, [1] * 16, state)
        sizes.append(state.nbytes)
    assert len(set(sizes[1:])) == 1
    whole = pushed(stream, clip, [16], pushed(stream, clip, [16]))
    assert whole.nbytes == sizes[-1], "a chunk's memory must not be held by what is left of it"


@pytest.mark.parametrize("kind", [("modern", True), ("bottleneck release", True), ("r3d", False)])
def test_bfloat16_differs_by_rounding_only(kind):
    stream, clip = Stream(network(*kind), precision="bf16"), clip_of(2, 19, 32, 32)
    found = stream.decide(pushed(stream, clip, [1, 1, 7, 1, 9]))
    assert found.dtype == torch.float32
    assert relative(found, logits(network(*kind), clip)) < 3e-2


def test_public_operators_stand_in_for_the_private_ones(monkeypatch):
    monkeypatch.setattr(packed, "fused", lambda: False)
    clip = clip_of(2, 9, 24, 20)
    found = stream_of("bottleneck modern", True)
    found = found.decide(pushed(found, clip, [1, 1, 5, 2]))
    assert relative(found, logits(network("bottleneck modern", True), clip)) < 1e-5


def test_a_stream_opens_weights_and_says_what_it_is(tmp_path):
    net = shaken("p3d50", causal=True, semantics="release", **SMALL)
    save(net, tmp_path / "w.safetensors", classes=("a", "b", "c", "d", "e"))
    stream = Stream(tmp_path / "w.safetensors")
    assert (stream.name, stream.precision, stream.period, stream.delay) == ("p3d50", "fp32", 16, 0)
    assert stream.card.classes == ("a", "b", "c", "d", "e")
    assert stream.cfg.causal


def test_a_file_that_is_no_state_is_refused(tmp_path):
    with pytest.raises(WeightsError, match="does not exist"):
        StreamState.load(tmp_path / "none")
    save(network("modern", True), tmp_path / "w.safetensors")
    with pytest.raises(WeightsError, match="no state of a stream"):
        StreamState.load(tmp_path / "w.safetensors")
    state = pushed(stream_of("modern", True), clip_of(1, 2, 16, 16), [2])
    state.save(tmp_path / "s")
    content = (tmp_path / "s").read_bytes()
    (tmp_path / "s").write_bytes(content.replace(b'\\"keeps\\"', b'\\"kepts\\"'))
    with pytest.raises(WeightsError, match="damaged"):
        StreamState.load(tmp_path / "s")


def test_impossible_choices_are_refused():
    with pytest.raises(ValueError, match="memory is 0"):
        Stream(network("modern"), memory=0)
    with pytest.raises(ValueError, match="streams is 0"):
        stream_of("modern", True).start(0)
    with pytest.raises(Pseudo3dError, match=r"p3d_unet gives a label for every voxel.*streamed"):
        Stream(create_model("p3d_unet"))


@pytest.mark.usefixtures("unchecked")
def test_an_unknown_precision_is_refused():
    with pytest.raises(ValueError, match="precision is 'fp16'"):
        Stream(network("modern"), precision="fp16")


def test_a_stream_that_computes_something_else_is_not_handed_out(monkeypatch):
    monkeypatch.setattr(streams.Stream, "decide", lambda self, state: torch.zeros(1, 5))
    with pytest.raises(Pseudo3dError, match="the stream of p3d_nano differs from the network"):
        Stream(network("modern", True))


def test_a_frame_with_a_hole_is_refused_and_the_stream_goes_on():
    """oneDNN's fused ReLU would make 0 of NaN."""
    stream, clip = stream_of("release", True), clip_of(2, 4, 20, 20)
    state = pushed(stream, clip[:, :, :3], [3], stream.start(streams=2))
    torn = clip[:, :, 3].clone()
    torn[1, 0, 4, 4] = torch.nan
    with pytest.raises(Pseudo3dError, match="frames of stream 1 hold NaN"):
        stream.step(torn, state)
    state = pushed(stream, clip[:, :, 3:], [1], state)
    whole = pushed(stream, clip, [4], stream.start(streams=2))
    assert relative(stream.decide(state), stream.decide(whole)) < 1e-5


@pytest.mark.usefixtures("unchecked")
def test_frames_as_read_are_refused():
    stream = stream_of("release", True)
    raw = torch.randint(0, 256, (1, 3, 20, 20), dtype=torch.uint8)
    with pytest.raises(Pseudo3dError, match=r"frames of uint8; wanted float, as .*normalize"):
        stream.step(raw, stream.start())


@pytest.mark.parametrize("side", [1, 4])
@pytest.mark.parametrize("kind", KINDS)
def test_maps_of_one_pixel_are_joined_in_the_order_they_came(kind, side):
    """Their memory has many names, and torch joins them under another than ours."""
    stream, clip = stream_of(*kind), clip_of(2, 11, side, side)
    want = logits(network(*kind), clip)
    for pieces in ([1] * 11, [11], [3, 2, 6]):
        assert relative(stream.decide(pushed(stream, clip, pieces)), want) < 1e-5


def test_streams_out_of_phase_do_not_stack_where_no_layer_keeps_anything():
    space = {"forms": (("space",),) * 4, "time_strides": (1, 2, 2, 1)}
    stream = Stream(shaken("r3d18", **SMALL, **space))
    states = [pushed(stream, clip_of(1, n, 20, 20), [n]) for n in (4, 5, 8)]
    with pytest.raises(Pseudo3dError, match="4 and 5 frames are not in one phase"):
        StreamState.stack(states[:2])
    assert StreamState.stack(states[::2]).seen == (4, 8)


def test_a_state_is_of_one_backbone_too(tmp_path):
    net = shaken("p3d_nano", **SMALL)
    state = pushed(Stream(net), clip_of(1, 4, 20, 20), [4])
    state.save(tmp_path / "state")
    for change in ("weight", "running_mean"):
        other = deepcopy(net)
        with torch.no_grad():
            next(v for k, v in other.state_dict().items() if k.endswith(change)).add_(1)
        with pytest.raises(Pseudo3dError, match="was given to"):
            Stream(other).decide(state)
    again = deepcopy(net)
    again.get_buffer("stem.norm.num_batches_tracked").add_(1)  # changes no answer
    Stream(again).decide(StreamState.load(tmp_path / "state"))


def test_states_of_older_files_are_read_and_not_gone_on_from(tmp_path):
    """Their owner was told by the classifier alone, and their period not at all."""
    stream = stream_of("modern", True)
    state = pushed(stream, clip_of(1, 4, 20, 20), [4])
    replace(state, owner="p3d_nano-0123456789ab", period=None).save(tmp_path / "state")
    old = StreamState.load(tmp_path / "state")
    assert (old.seen, old.period) == ((4,), None)
    assert StreamState.stack([old, old]).streams == 2
    with pytest.raises(Pseudo3dError, match="saved by an older version"):
        stream.decide(old)
