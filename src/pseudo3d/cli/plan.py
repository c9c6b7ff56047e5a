"""`p3d plan`: what a large job takes on many machines, before it is begun."""

import json as jsonlib
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pseudo3d.cli.common import Json, key_values, note, say, say_json

if TYPE_CHECKING:
    from pseudo3d.bench.scale.costs import Cluster, Costs, Job
    from pseudo3d.bench.scale.plan import Plan


class Task(StrEnum):
    """What is to be done with the videos."""

    predict = "predict"
    train = "train"


class Precision(StrEnum):
    """Numbers the network computes in."""

    fp32 = "fp32"
    bf16 = "bf16"


def plan(
    task: Annotated[Task, typer.Argument(help="predict: every video once. train: clips of them.")],
    videos: Annotated[float, typer.Option(min=1, help="How many, for example, 1e6.")],
    epochs: Annotated[float, typer.Option(min=0, help="train: clips of each video.")] = 1.0,
    batch: Annotated[int, typer.Option(min=1, help="train: clips of a step, all together.")] = 128,
    loaders: Annotated[
        int, typer.Option(min=0, help="train: processes that decode for each that trains.")
    ] = 0,
    block: Annotated[
        int, typer.Option(min=1, help="predict: videos handed to a process at once.")
    ] = 256,
    nodes: Annotated[int | None, typer.Option(min=1, help="Machines. Default: 1.")] = None,
    hours: Annotated[
        float | None, typer.Option(min=0, help="Find the fewest machines that are done in time.")
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="Figure of the machines, KEY=VALUE (cores=64, storage=5e9, price=2.5); repeatable",
        ),
    ] = None,
    stages: Annotated[
        Path | None,
        typer.Option(help="Measured costs, JSON: read if it is there, else measured and written."),
    ] = None,
    cost: Annotated[
        list[str] | None,
        typer.Option(
            help="Cost that you know better, KEY=VALUE (network=0.2, decode=0.03: seconds; "
            "size=3e5: bytes); with network=, nothing is measured. Repeatable."
        ),
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="Videos to measure on. Default: some are rendered.")
    ] = None,
    model: Annotated[str, typer.Option(help="Name of a network, or its weights.")] = "p3d50",
    net: Annotated[
        list[str] | None,
        typer.Option("--net", help="Model option, KEY=VALUE (semantics=release); repeatable."),
    ] = None,
    precision: Annotated[Precision, typer.Option(help="fp32 or bf16.")] = Precision.fp32,
    frames: Annotated[int, typer.Option(min=1, help="Frames of a clip.")] = 16,
    size: Annotated[int, typer.Option(min=1, help="Side of the clip, pixels.")] = 160,
    clips: Annotated[
        int, typer.Option(min=1, help="Clips of a video; train: of a process at each step.")
    ] = 5,
    processes: Annotated[
        int | None, typer.Option(min=1, help="Measure in so many at a time. Default: all cores.")
    ] = None,
    seconds: Annotated[float, typer.Option(min=0, help="Time for measuring.")] = 20.0,
    out: Annotated[Path | None, typer.Option(help="Picture to write, PNG.")] = None,
    json: Json = False,
) -> None:
    """Plan a large job: hours, money, what limits it, and how many machines still help.

    What a video costs is measured here (a minute), on your videos with --data. What the machines
    give and cost are examples until you --set them. A simulation runs the job's queues.
    """
    from pseudo3d.bench.scale.costs import Cluster, with_facts

    if nodes is not None and hours is not None:
        raise typer.BadParameter("give --nodes or --hours, not both")
    cluster = with_facts(Cluster(nodes=nodes or 1), key_values(set_ or []))
    measuring = _Measuring(
        task=task.value,
        data=data,
        model=model,
        net=key_values(net or []),
        precision=precision.value,
        shape=(frames, size, clips),
        processes=processes,
        seconds=seconds,
    )
    costs = _costs(stages, key_values(cost or []), measuring)
    work = _Work(videos=videos, epochs=epochs, batch=batch, loaders=loaders, block=block)
    found = _planned(work.job(task, costs), cluster, hours)
    _show(found, json)
    if out is not None:
        from pseudo3d.bench.scale.picture import plan_png

        note(f"wrote {plan_png(found, out, title=f'{task.value}: {videos:,.0f} videos, {model}')}")


@dataclass(frozen=True, kw_only=True)
class _Work:
    """How much is to be done."""

    videos: float
    epochs: float
    batch: int
    loaders: int
    block: int

    def job(self, task: Task, costs: "Costs") -> "Job":
        from pseudo3d.bench.scale.costs import Inference, Training

        if task is Task.predict:
            return Inference(videos=self.videos, costs=costs, block=self.block)
        clips = self.videos * self.epochs
        return Training(clips=clips, batch=self.batch, costs=costs, loaders=self.loaders)


@dataclass(frozen=True, kw_only=True)
class _Measuring:
    """What to measure the costs on."""

    task: str
    data: Path | None
    model: str
    net: dict[str, Any]
    precision: str
    shape: tuple[int, int, int]  # frames, size, clips
    processes: int | None
    seconds: float

    def about(self) -> dict[str, Any]:
        """What the costs depend on, as plain values."""
        named = dict(zip(("frames", "size", "clips"), self.shape, strict=True))
        kept = {key: getattr(self, key) for key in ("task", "model", "net", "precision")}
        return {**kept, **named, "data": None if self.data is None else str(self.data)}


def _costs(file: Path | None, known: dict[str, Any], measuring: _Measuring) -> "Costs":
    """Out of the file, from the user, or measured."""
    from pseudo3d.bench.scale.costs import read_costs, with_facts

    if file is not None and file.exists():
        return with_facts(_read(file, measuring.about()), known)
    if "network" in known:
        return read_costs(known)
    found = _measured(measuring)
    if file is not None:
        from pseudo3d.bench.machine import machine, versions
        from pseudo3d.recycle.files import write_file

        about = {**measuring.about(), "machine": f"{machine()}; {versions('torch', 'pseudo3d')}"}
        text = jsonlib.dumps({"measured": about, "costs": asdict(found)}, indent=2)
        write_file(file, text.encode())
        note(f"wrote {file}")
    return with_facts(found, known)


def _read(file: Path, wanted: dict[str, Any]) -> "Costs":
    """Costs of a file; those of another network are refused."""
    from pseudo3d.bench.scale.costs import read_costs
    from pseudo3d.errors import Pseudo3dError

    try:
        found = jsonlib.loads(file.read_text(encoding="utf-8"))
        about = found["measured"]
        differ = [key for key in wanted if about[key] != wanted[key]]
    except (ValueError, TypeError, KeyError) as err:
        raise Pseudo3dError(f"{file} holds no measured costs; name a new file") from err
    if differ:
        theirs = ", ".join(f"{key} {about[key]!r}" for key in differ)
        raise Pseudo3dError(f"{file} was measured with {theirs}; repeat that, or name a new file")
    return read_costs(found["costs"])


def _measured(how: _Measuring) -> "Costs":
    import os

    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from pseudo3d.bench.scale.stages import Trial, measure, sample

    frames, size, clips = how.shape
    with _videos(how.data) as folder:
        trial = Trial(
            task="predict" if how.task == "predict" else "train",
            videos=sample(folder),
            model=how.model,
            options=how.net,
            precision="bf16" if how.precision == "bf16" else "fp32",
            frames=frames,
            resize=round(size * 8 / 7),
            size=size,
            clips=clips,
            processes=how.processes or os.cpu_count() or 1,
            seconds=how.seconds,
        )
        note(f"measuring in {trial.processes} processes, about {how.seconds + 10:.0f} s")
        return measure(trial)


@contextmanager
def _videos(data: Path | None) -> Iterator[Path]:
    """The user's videos, or rendered ones as `p3d pack` writes them."""
    if data is not None:
        yield data
        return
    from pseudo3d.bench.scale.samples import render

    with tempfile.TemporaryDirectory() as folder:
        note("rendering videos to measure on; give your own with --data")
        yield render(Path(folder))


def _planned(job: "Job", cluster: "Cluster", hours: float | None) -> "Plan":
    from pseudo3d.bench.scale.bounds import nodes_for
    from pseudo3d.bench.scale.plan import plan as planned

    if hours is not None:
        cluster = nodes_for(job, cluster, hours)
    return planned(job, cluster)


def _show(found: "Plan", json: bool) -> None:
    from pseudo3d.bench.report import table
    from pseudo3d.bench.scale.plan import busy_lines, limit_lines, result_lines, stage_lines

    if json:
        say_json(found.to_dict())
        return
    aligned = sys.stdout.isatty()
    parts = (stage_lines(found), limit_lines(found), busy_lines(found), result_lines(found))
    say("\n\n".join(table(lines, aligned) for lines in parts))


def add_to(app: typer.Typer) -> None:
    """Enter the command."""
    app.command()(plan)
