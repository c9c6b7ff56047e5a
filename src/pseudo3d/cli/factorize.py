"""`p3d factorize`: a trained 3-D network in, a cheaper one with pseudo-3-D pairs out."""

import json as jsonlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from pseudo3d.cli.cards import card_beside
from pseudo3d.cli.common import (
    Cache,
    Json,
    Threads,
    key_values,
    note,
    open_store,
    progress_bar,
    say,
    say_json,
    use_threads,
)
from pseudo3d.cli.tuning import shorter, tune

if TYPE_CHECKING:
    from pseudo3d.data.cache import FrameStore
    from pseudo3d.data.manifest import Manifest
    from pseudo3d.engine.training.job import Parts
    from pseudo3d.models.network import Network
    from pseudo3d.recycle.factorize.costs import Cost


def factorize(
    weights: Annotated[Path, typer.Argument(help="Checkpoint of a trained 3-D network.")],
    out: Annotated[Path, typer.Option(help="Checkpoint to write.")],
    speedup: Annotated[
        float | None, typer.Option(help="How many times faster it shall be.")
    ] = None,
    energy: Annotated[
        float | None, typer.Option(help="Instead: share of each layer's energy to keep, 0.95 say.")
    ] = None,
    rank: Annotated[
        int | None, typer.Option(help="Instead: channels between the halves of every pair.")
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            help="Labeled videos: pairs are fitted to the train part, the test part is scored "
            "before and after."
        ),
    ] = None,
    clips: Annotated[
        int, typer.Option(min=1, help="Videos the pairs are fitted to, one clip of each.")
    ] = 64,
    epochs: Annotated[
        int, typer.Option(min=0, help="Then fine-tune: passes over the train part; 0: do not.")
    ] = 0,
    lr: Annotated[
        float | None,
        typer.Option(min=0, help="Its learning rate; default: a hundredth of the training's."),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="Its recipe field, KEY=VALUE (batch=8, ema=0); repeatable."),
    ] = None,
    teach: Annotated[
        bool, typer.Option(help="Learn what the original says, beside the labels.")
    ] = True,
    hold_out: Annotated[
        list[str] | None, typer.Option(help="Group that is the test part; repeatable.")
    ] = None,
    cost: Annotated[
        str, typer.Option(help="time (measured here) or macs (the same everywhere).")
    ] = "time",
    views: Annotated[int, typer.Option(min=1, help="Clips per scored video, averaged.")] = 5,
    seed: Annotated[int, typer.Option(help="Chooses videos, splits data, draws batches.")] = 0,
    cache: Cache = "auto",
    threads: Threads = None,
    json: Json = False,
) -> None:
    """Replace k x k x k convolutions by 1 x k x k and k x 1 x 1 pairs, as cheap as you ask for.

    With --epochs the run is kept in a folder beside OUT (its name with .run), and the same command
    goes on with one that was interrupted. The result is a checkpoint like any other.
    """
    use_threads(threads)
    from pseudo3d.engine.evaluate import known
    from pseudo3d.engine.training.job import Job
    from pseudo3d.recycle.factorize.find import find
    from pseudo3d.weights import load

    asked = {"speedup": speedup, "energy": energy, "rank": rank}
    asked = {key: value for key, value in asked.items() if value is not None}
    _check(asked, data, epochs, out)
    net = load(weights)
    find(net)  # nothing to factorize is said before a card of the run is written
    folder = out.with_suffix(".run") if epochs else None
    videos = None if data is None else _videos(net, data, hold_out or [], seed, cache)
    record = {**asked, "cost": cost, "clips": clips if data else 0, "seed": seed}
    request = _Request(
        weights=weights, asked=asked, record=record, cost=cast("Cost", cost), clips=clips, seed=seed
    )
    listed = None if videos is None or data is None else (videos.listed, data, None)
    with card_beside(out, "factorize", data=listed, seed=seed, weights=weights):
        result, small = request.small(net, videos, folder)
        final = small
        if videos is not None:
            result |= _score(videos, {"before": net, "after": small}, views)
            if folder is not None:
                how = shorter(small, known(small)[0], epochs, lr, key_values(set_ or []))
                tuning = Job(recipe=how, out=folder, seed=seed, teacher=weights if teach else None)
                final = load(tune(load(folder / _FIRST), videos.parts, videos.store, tuning))
                result |= _score(videos, {"tuned": final}, views)
        _keep(final, out, result)
    result["path"] = str(out)
    if json:
        say_json({key: value for key, value in result.items() if key != "text"})
    else:
        _tell(result)


_FIRST, _REPORT = "factorized.safetensors", "factorized.json"
_STEPS = ("before", "after", "tuned")


def _check(asked: dict[str, Any], data: Path | None, epochs: int, out: Path) -> None:
    """Say what cannot be before anything is read."""
    if len(asked) != 1:
        given = ", ".join(f"--{key}" for key in asked) or "none"
        raise typer.BadParameter(f"got {given}; wanted exactly one of --speedup, --energy, --rank")
    if epochs and data is None:
        raise typer.BadParameter("--epochs needs --data: labeled videos to fine-tune on")
    if out.suffix != ".safetensors":
        raise typer.BadParameter(f"{out.name!r}; wanted a name that ends in .safetensors")


@dataclass(frozen=True, kw_only=True)
class _Videos:
    """What to fit to, what to train on, what to score on."""

    listed: "Manifest"
    parts: "Parts"
    scored: "Manifest"
    split: str
    store: "FrameStore"


def _videos(net: "Network", data: Path, hold_out: list[str], seed: int, cache: str) -> _Videos:
    from pseudo3d.cli.videos import divide
    from pseudo3d.data.manifest import read_manifest
    from pseudo3d.engine.evaluate import known

    pre, classes = known(net)
    listed = read_manifest(data, classes)
    parts = divide(listed, hold_out, [], seed)
    scored, split = parts.train, "train"
    if parts.held is not None:
        scored, split = parts.held, "test"
    elif parts.val is not None:
        scored, split = parts.val, "val"
    else:
        note("no test part in the data: scores are of the videos the pairs are fitted to")
    items = tuple(dict.fromkeys((*parts.train.items, *scored.items)))
    store = open_store(type(scored)(items, classes), pre.resize, pre.color == "gray", cache)
    return _Videos(listed=listed, parts=parts, scored=scored, split=split, store=store)


@dataclass(frozen=True, kw_only=True)
class _Request:
    """What was asked for."""

    weights: Path
    asked: dict[str, Any]
    record: dict[str, Any]
    cost: "Cost"
    clips: int
    seed: int

    def small(
        self, net: "Network", videos: _Videos | None, folder: Path | None
    ) -> tuple[dict[str, Any], "Network"]:
        """The factorized network and what is told of it; found in the folder of an earlier run."""
        from pseudo3d.errors import Pseudo3dError
        from pseudo3d.weights import load

        told = folder / _REPORT if folder else None
        if folder and told and told.is_file() and (folder / _FIRST).is_file():
            result = jsonlib.loads(told.read_text())
            if result["asked"] != self.record:
                raise Pseudo3dError(
                    f"{folder} holds a run with {result['asked']}, asked for {self.record}; repeat "
                    "the command it was begun with, give another --out or remove it"
                )
            note(f"going on with the factorized network in {folder}")
            return result, load(folder / _FIRST)
        result, small = self._make(net, videos)
        if folder and told:
            folder.mkdir(parents=True, exist_ok=True)
            _keep(small, folder / _FIRST, result)
            told.write_text(jsonlib.dumps(result))
        return result, small

    def _make(self, net: "Network", videos: _Videos | None) -> tuple[dict[str, Any], "Network"]:
        from pseudo3d.engine.evaluate import known
        from pseudo3d.recycle.factorize import factorize as run
        from pseudo3d.runtime.quantize import Calibration, choose

        samples = None
        if videos is not None:
            chosen = choose(videos.parts.train.items, self.clips, self.seed)
            samples = Calibration(chosen, videos.store, known(net)[0])
        small = cast("Network", run(net, **self.asked, data=samples, cost=self.cost))
        report: Any = small.report
        plain = {"source": str(self.weights), "asked": self.record, "report": report.to_dict()}
        return {**plain, "text": str(report)}, small


def _keep(net: "Network", path: Path, result: dict[str, Any]) -> None:
    """Write a network with what its card said before, how it came about, and its scores."""
    from pseudo3d.weights import save

    card, report = net.card, result["report"]
    told = {
        "source": Path(result["source"]).name,
        **result["asked"],
        "parameters": report["parameters"],
        "macs": report["macs"],
    }
    scores: dict[str, Any] = {}
    if "protocol" in result:
        last = next(when for when in reversed(_STEPS) if when in result)
        scores = {**result[last], "videos": result["videos"], "protocol": result["protocol"]}
    save(
        net,
        path,
        classes=card.classes,
        preprocessing=card.preprocessing,
        training={**card.training, "factorized": told},
        scores=scores,
    )


def _score(videos: _Videos, nets: dict[str, "Network"], views: int) -> dict[str, Any]:
    """Accuracy of each network on the same videos."""
    from pseudo3d.engine.evaluate import Protocol, evaluate

    result: dict[str, Any] = {}
    protocol = Protocol(views=views, split=videos.split)
    for when, net in nets.items():
        with progress_bar(f"evaluating {when}") as progress:
            found = evaluate(net, videos.scored, videos.store, protocol, progress)
        result[when] = {"video_hit@1": found.hit(1), "clip_hit@1": found.clip_hit1}
        result |= {"videos": len(found.paths), "protocol": found.describe()}
    return result


def _tell(result: dict[str, Any]) -> None:
    say(result["text"])
    for score in ("video_hit@1", "clip_hit@1") if "before" in result else ():
        parts = [f"{result[when][score]:.1%} {when}" for when in _STEPS if when in result]
        say(f"{score}\t{', '.join(parts)}")
    if "protocol" in result:
        say(f"protocol\t{result['protocol']}")
    say(f"file\t{result['path']}")


def add_to(app: typer.Typer) -> None:
    """Enter the command."""
    app.command()(factorize)
