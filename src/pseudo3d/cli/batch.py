"""`p3d batch`: one network over very many videos, on a machine or a Ray cluster."""

import sys
from collections.abc import Mapping
from contextlib import redirect_stdout
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pseudo3d.cli.batch_pace import shown
from pseudo3d.cli.common import Json, memory_bytes, note, say, say_json
from pseudo3d.cli.features import Poolings
from pseudo3d.cli.running import Precision, Runtime, Runtimes
from pseudo3d.cli.segments import Rule, rule_from

if TYPE_CHECKING:
    from pseudo3d.cluster.job import Job, Task
    from pseudo3d.cluster.run import Engine, Summary, Way

group = typer.Typer(
    no_args_is_help=True,
    help="One network over very many videos: Parquet tables, one row per video, goes on after any "
    "interruption.",
)


class Engines(StrEnum):
    """What has the work done."""

    local = "local"
    ray = "ray"


Input = Annotated[
    str,
    typer.Argument(
        help="Video, folder, manifest (CSV), shards, or a list of addresses (.txt, .parquet)."
    ),
]
Weights = Annotated[
    Path, typer.Option(help="A checkpoint, or what `p3d export` wrote; the same on all machines.")
]
Out = Annotated[
    str, typer.Option(help="Folder, or an address as s3://BUCKET/RUN, that all machines reach.")
]
Engine_ = Annotated[
    Engines, typer.Option(help="Processes of this machine, or actors of a Ray cluster.")
]
Address = Annotated[
    str,
    typer.Option(help="Ray: auto (this machine's cluster), HOST:PORT, or local (starts its own)."),
]
Workers = Annotated[
    int | None, typer.Option(min=1, help="Default: a worker for every processor there is.")
]
Partition = Annotated[
    int | None,
    typer.Option(min=1, help="Videos done and kept at a time; default: 256, of short lists fewer."),
]
Seconds = Annotated[
    float, typer.Option("--seconds", min=0.1, help="A video that takes longer is put aside.")
]
Memory = Annotated[
    str, typer.Option(help="A worker that needs more for a video puts it aside, as 4GB.")
]
Attempts = Annotated[
    int, typer.Option(min=1, help="For videos that end a worker, or cannot be reached just now.")
]
Retry = Annotated[
    bool, typer.Option("--retry", help="Try the videos in quarantine again, for a run that ended.")
]
Window = Annotated[float | None, typer.Option(min=0.01, help="Seconds per window.")]
Hop = Annotated[float | None, typer.Option(min=0.01, help="Seconds between windows.")]


@dataclass(frozen=True, kw_only=True)
class _Run:
    """Where to, by whom and how; the options that all tasks have."""

    out: str
    engine: Engines
    address: str
    workers: int | None
    way: "Way"
    json: bool

    def make_engine(self) -> "Engine":
        if self.engine is Engines.local:
            from pseudo3d.cluster.local import Local

            return Local(self.workers)
        from pseudo3d.cluster.ray import Ray

        return Ray(self.address, self.workers)


def _way(partition: int | None, seconds: float, memory: str, attempts: int, retry: bool) -> "Way":
    from pseudo3d.cluster.run import Way

    room = memory_bytes(memory) or Way.memory_bytes
    return Way(size=partition, seconds=seconds, memory_bytes=room, attempts=attempts, retry=retry)


@group.command()
def predict(
    input_: Input,
    weights: Weights,
    out: Out,
    window: Window = None,
    hop: Hop = None,
    views: Annotated[int | None, typer.Option(min=1, help="Clips per window, averaged.")] = None,
    timeline: Annotated[
        bool, typer.Option("--timeline", help="Keep the label of every window, too.")
    ] = False,
    engine: Engine_ = Engines.local,
    address: Address = "auto",
    workers: Workers = None,
    partition: Partition = None,
    seconds: Seconds = 300.0,
    memory: Memory = "4GB",
    attempts: Attempts = 2,
    retry: Retry = False,
    runtime: Runtime = Runtimes.auto,
    precision: Precision = None,
    json: Json = False,
) -> None:
    """Recognize what happens in each video: label and probabilities, mean of its windows."""
    options = {"seconds": window, "hop": hop, "views": views, "timeline": timeline}
    job = _job("predict", weights, runtime, precision, options)
    way = _way(partition, seconds, memory, attempts, retry)
    _do(job, input_, _Run(out=out, engine=engine, address=address, workers=workers, way=way,
                          json=json))  # fmt: skip


@group.command()
def segments(
    input_: Input,
    weights: Weights,
    out: Out,
    window: Window = None,
    hop: Hop = None,
    rule: Rule = None,
    engine: Engine_ = Engines.local,
    address: Address = "auto",
    workers: Workers = None,
    partition: Partition = None,
    seconds: Seconds = 300.0,
    memory: Memory = "4GB",
    attempts: Attempts = 2,
    retry: Retry = False,
    runtime: Runtime = Runtimes.auto,
    precision: Precision = None,
    json: Json = False,
) -> None:
    """Find what happens from when to when in each video."""
    options = {"seconds": window, "hop": hop, "rule": rule_from(rule).to_dict()}
    job = _job("segments", weights, runtime, precision, options)
    way = _way(partition, seconds, memory, attempts, retry)
    _do(job, input_, _Run(out=out, engine=engine, address=address, workers=workers, way=way,
                          json=json))  # fmt: skip


@group.command()
def features(
    input_: Input,
    weights: Weights,
    out: Out,
    layer: Annotated[
        list[str] | None, typer.Option(help="As for `p3d features`; default: pool5. Repeatable.")
    ] = None,
    clips: Annotated[int, typer.Option(min=1, help="Clips per video, spread evenly.")] = 20,
    mirror: Annotated[
        bool, typer.Option("--mirror", help="Average every clip with its mirror image.")
    ] = False,
    per_clip: Annotated[
        bool, typer.Option("--per-clip", help="Keep the clips beside their mean.")
    ] = False,
    window: Window = None,
    hop: Hop = None,
    pooling: Annotated[
        Poolings, typer.Option(help="mean over time and space, or every activation.")
    ] = Poolings.mean,
    gather: Annotated[
        Path | None,
        typer.Option(help="In the end, all rows as one file for `p3d linear` (.npz, .parquet)."),
    ] = None,
    engine: Engine_ = Engines.local,
    address: Address = "auto",
    workers: Workers = None,
    partition: Partition = None,
    seconds: Seconds = 300.0,
    memory: Memory = "4GB",
    attempts: Attempts = 2,
    retry: Retry = False,
    precision: Precision = None,
    json: Json = False,
) -> None:
    """Keep what a network's layers say about each video."""
    from pseudo3d.features.featureset import check_suffix

    if gather is not None:
        check_suffix(gather)
    windows = {"seconds": window, "hop": hop} if window or hop else None
    options = {
        "layers": layer or None, "pooling": pooling.value, "clips": clips, "mirror": mirror,
        "per_clip": per_clip, "windows": windows,
    }  # fmt: skip
    job = _job("features", weights, Runtimes.auto, precision, options)
    way = _way(partition, seconds, memory, attempts, retry)
    _do(job, input_, _Run(out=out, engine=engine, address=address, workers=workers, way=way,
                          json=json))  # fmt: skip
    if gather is not None:
        from pseudo3d.cluster.gather import gather as gathered

        gathered(out).save(gather)
        note(f"features: {gather}")


def _job(
    task: "Task",
    weights: Path,
    runtime: Runtimes,
    precision: Any,
    options: Mapping[str, Any],
) -> "Job":
    from pseudo3d.cluster.job import make_job

    number = None if precision is None else precision.value
    return make_job(task, weights, runtime=runtime.value, precision=number, **options)


def _do(job: "Job", input_: str, how: _Run) -> None:
    """Do a job, show how far it is, tell what came out."""
    from pseudo3d.cluster.inputs import read_input
    from pseudo3d.cluster.run import Progress, run

    listing = read_input(input_)
    # what Ray has to say while it runs is no result
    with redirect_stdout(sys.stderr), shown(f"batch {job.task}") as changed:
        engine, progress = how.make_engine(), Progress(changed=changed)
        summary = run(listing, job, how.out, engine, how.way, progress)
    _tell(summary, job, how)
    if not summary.good:
        raise typer.Exit(1)


def _tell(summary: "Summary", job: "Job", how: _Run) -> None:
    rate = summary.fresh / max(summary.seconds, 1e-9)
    if how.json:
        facts = {"engine": how.engine.value, "rate": round(rate, 3)}
        say_json({**asdict(summary), **facts, "table": f"{how.out}/{job.table}"})
        return
    say(f"{job.table}\t{how.out}/{job.table}\t{summary.good} rows")
    say(f"videos\t{summary.rows}, each has one row; {summary.bad} of them in quarantine")
    say(f"time\t{summary.seconds:.1f} s for {summary.fresh} videos, {rate:.2f} per second")
    if summary.bad:
        note(
            f"warning: {summary.bad} videos could not be looked at; {how.out}/quarantine says why. "
            "The same command with --retry tries them again"
        )


def add_to(app: typer.Typer) -> None:
    """Enter the group."""
    app.add_typer(group, name="batch")
