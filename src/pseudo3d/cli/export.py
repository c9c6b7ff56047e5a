"""`p3d export`: weights in, a file for ONNX Runtime or OpenVINO out."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, cast

import typer

from pseudo3d.cli.common import (
    Cache,
    Json,
    Threads,
    note,
    open_store,
    progress_bar,
    say,
    say_json,
    use_threads,
)

if TYPE_CHECKING:
    from pseudo3d.data.cache import FrameStore
    from pseudo3d.data.manifest import Manifest
    from pseudo3d.models.network import Network
    from pseudo3d.runtime.artifact import Precision
    from pseudo3d.runtime.export import Target
    from pseudo3d.runtime.quantize import Calibration


def export(
    weights: Annotated[Path, typer.Argument(help="A checkpoint.")],
    to: Annotated[str, typer.Option(help="onnx (2-D graph) or openvino (5-D graph).")],
    precision: Annotated[str, typer.Option(help="fp32, or with openvino bf16 or int8.")] = "fp32",
    out: Annotated[
        Path | None, typer.Option(help="File to write; default: beside the weights.")
    ] = None,
    stream: Annotated[
        bool,
        typer.Option(
            help="A causal network frame by frame, its state as inputs and outputs of the file."
        ),
    ] = False,
    memory: Annotated[
        int | None,
        typer.Option(min=1, help="With --stream: decide from the last so many frames; else all."),
    ] = None,
    frames: Annotated[
        int | None, typer.Option(min=1, help="Frames in a clip; with --stream, in a step.")
    ] = None,
    size: Annotated[
        tuple[int, int] | None, typer.Option(help="Height and width of a clip, pixels.")
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            help="Labeled videos: the train part calibrates int8, the test part is scored before "
            "and after."
        ),
    ] = None,
    calibration: Annotated[
        int, typer.Option(min=1, help="Videos to calibrate int8 with, one clip of each.")
    ] = 300,
    seed: Annotated[int, typer.Option(help="Chooses the videos to calibrate with.")] = 0,
    views: Annotated[int, typer.Option(min=1, help="Clips per scored video, averaged.")] = 5,
    cache: Cache = "auto",
    threads: Threads = None,
    json: Json = False,
) -> None:
    """Write a network for other runtimes and compare what it computes with the original.

    The file holds classes and preprocessing; `p3d predict` and `p3d evaluate` take it as they take
    a checkpoint.
    """
    use_threads(threads)
    from pseudo3d.runtime.export import SUFFIX, check_choice
    from pseudo3d.runtime.export import export as run
    from pseudo3d.weights import load

    form, numbers = cast("Target", to), cast("Precision", precision)
    kind = ("-stream" if stream else "") + ("" if precision == "fp32" else f"-{precision}")
    target = out or weights.with_name(f"{weights.stem}{kind}{SUFFIX.get(form, '')}")
    if stream:
        if data is not None:
            raise typer.BadParameter(
                "is for clips; leave it out with --stream", param_hint="--data"
            )
        asked = {"frames": frames, "size": size, "memory": memory}
        _stream(weights, target, (to, precision), asked, json)
        return
    if memory is not None:
        raise typer.BadParameter("needs --stream", param_hint="--memory")
    int8 = precision == "int8"
    check_choice(target, form, numbers, calibrated=int8 and data is not None)
    net = load(weights)
    videos = None if data is None else _videos(net, data, calibration if int8 else 0, seed, cache)
    clips = videos.clips if videos is not None and int8 else None
    found = run(net, target, form, numbers, frames=frames, size=size, calibration=clips)
    result = found.to_dict()
    if clips is not None:
        result["calibration"] = {"clips": len(clips), "seed": seed}
    if videos is not None:
        result |= _score(videos, {"before": weights, "after": target}, views, threads)
    if json:
        say_json(result)
    else:
        _tell(result)


def _stream(
    weights: Path, target: Path, form: tuple[str, str], asked: dict[str, Any], json: bool
) -> None:
    """Write a network with its state as inputs and outputs, and say what it is."""
    from pseudo3d.runtime.streaming.export import export_stream

    to, precision = form
    found = export_stream(weights, target, cast("Target", to), cast("Any", precision), **asked)
    if json:
        say_json(found.to_dict())
        return
    (t, c, h, w), spec = found.spec.chunk, found.spec
    said = found.to_dict()
    decides = "the whole stream" if spec.memory is None else f"the last {spec.memory} frames"
    say(f"file\t{found.path}, {found.size / 1e6:.2f} MB")
    say(f"precision\t{spec.precision}")
    say(f"input\t{t} frames of {c} x {h} x {w} at a time, and {len(spec.shapes)} state tensors")
    say(f"state\t{said['state_bytes'] / 2**20:.2f} MiB, in and out of every step")
    say(f"decides\tfrom {decides}")
    say(f"parity\t{found.parity:.1e} relative to eager, limit {said['limit']:.0e}")
    if found.axes:
        say(f"axes\t{found.axes} at most, of every tensor in the graph")


class _Videos(NamedTuple):
    """What to calibrate with, and what to score on."""

    clips: "Calibration"
    scored: "Manifest"
    split: str
    store: "FrameStore"


def _videos(net: "Network", data: Path, count: int, seed: int, cache: str) -> _Videos:
    from pseudo3d.data.manifest import read_manifest
    from pseudo3d.engine.evaluate import known
    from pseudo3d.runtime.quantize import Calibration, choose

    pre, classes = known(net)
    manifest = read_manifest(data, classes)
    split = next((name for name in ("test", "val") if name in manifest.splits), "all")
    scored = manifest if split == "all" else manifest.split(split)
    source = manifest.split("train") if "train" in manifest.splits else manifest
    if count and set(source.items) & set(scored.items):
        note("no train and test parts in the data: calibrating and scoring on the same videos")
    chosen = choose(source.items, count, seed)
    needed = tuple(dict.fromkeys((*chosen, *scored.items)))
    store = open_store(type(manifest)(needed, classes), pre.resize, pre.color == "gray", cache)
    return _Videos(Calibration(chosen, store, pre), scored, split, store)


def _score(
    videos: _Videos, files: dict[str, Path], views: int, threads: int | None
) -> dict[str, Any]:
    """Accuracy of each file on the same videos."""
    from pseudo3d.engine.evaluate import Protocol, evaluate
    from pseudo3d.runtime.runner import open_runner

    result: dict[str, Any] = {}
    for when, file in files.items():
        runner = open_runner(file, threads=threads)
        protocol = Protocol(views=views, split=videos.split)
        with progress_bar(f"evaluating {file.name}") as progress:
            found = evaluate(runner, videos.scored, videos.store, protocol, progress)
        scores = {"video_hit@1": found.hit(1), "clip_hit@1": found.clip_hit1}
        result |= {when: scores, "videos": len(found.paths), "protocol": found.describe()}
    return result


def _tell(result: dict[str, Any]) -> None:
    c, t, h, w = result["clip"]
    axes = f"N, {c}, {t}" if result["input"] == "clips" else f"N * {t}, {c}"
    limit = f", limit {result['limit']:.0e}" if result["limit"] else ", on calibration clips"
    say(f"file\t{result['path']}, {result['bytes'] / 1e6:.2f} MB")
    say(f"precision\t{result['precision']}")
    say(f"input\t{result['input']} ({axes}, {h}, {w}), any N")
    say(f"parity\t{result['parity']:.1e} relative to eager{limit}")
    if result["axes"]:
        say(f"axes\t{result['axes']} at most, of every tensor in the graph")
    if "calibration" in result:
        say(f"calibration\t{result['calibration']['clips']} clips")
    for score in ("video_hit@1", "clip_hit@1") if "before" in result else ():
        before, after = result["before"][score], result["after"][score]
        change = f"{100 * (after - before):+.1f} points"
        say(f"{score}\t{before:.1%} before, {after:.1%} after ({change})")
    if "protocol" in result:
        say(f"protocol\t{result['protocol']}")


def add_to(app: typer.Typer) -> None:
    """Enter the command."""
    app.command()(export)
