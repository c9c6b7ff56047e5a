"""Kill -9 at random moments, and random bits turned in files: does everything come through?

    python benchmarks/faults.py [--kills 200] [--flips 10000] [--seed 0] [--only train pack ...]

Kills: training, packing (files, shards), features and batch inference run as the real command in a
real process, which is killed at seeded random moments, up to three times, and begun again with the
same command until it ends. A kill has recovered when the results are byte for byte those of a run
that nobody disturbed and nothing half-written is left. Rows of results/faults.csv.

Flips: one random bit of a checkpoint of ours, of an unfinished run's state, of a shard and of its
index is turned, and the file is read. `caught`: it is refused in words. `harmless`: all that was
read is as it was. `missed`: anything else. Rows of results/bitflips.csv.
"""

import argparse
import hashlib
import random
import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import record
from common import command, tell
from flips import TARGETS, flip
from warm import begin, clear, end, prepare

Words = Callable[[Path], list[object]]
MOST_KILLS = 3  # of one run
OURS = "already holds a finished run"  # what `train` answers when it was killed after its last act


@dataclass(frozen=True, kw_only=True)
class Work:
    """A command that is killed, and what it is to leave behind."""

    name: str
    words: Words  # of its folder
    results: str  # glob in the folder
    left_out: tuple[str, ...] = ()  # names that hold times, or the places of files


@dataclass
class Tally:
    """What became of the kills."""

    kills: int = 0
    recovered: int = 0
    runs: int = 0
    problems: list[str] = field(default_factory=list)


def works(home: Path) -> list[Work]:
    """The five commands, on rendered videos and a network of a few thousand weights."""
    from pseudo3d.data.rendered.motions import render_motions

    films = render_motions(home / "films", persons=3, clips_per_class=3, size=32)
    weights = small_network(home / "net.safetensors")
    shape = ["--model", "p3d_nano", "--frames", 4, "--size", 16, "--batch", 2, "--epochs", 20]
    quiet = ["--no-report", "--threads", 1, "--workers", 0, "--precision", "fp32"]

    def training(folder: Path) -> list[object]:
        cache = ["--cache", folder / "cache"]
        return ["train", films, "--out", folder / "run", *shape, *quiet, *cache]

    def packing(folder: Path) -> list[object]:
        return ["pack", films, folder / "packed", "--size", 32, "--transcode"]

    def sharding(folder: Path) -> list[object]:
        size = ["--size", 32, "--transcode", "--shard-size", "40K", "--workers", 0]
        return ["pack", films, folder / "shards", *size]

    def looking(folder: Path) -> list[object]:
        how = ["--clips", 3, "--per-clip", "--threads", 1]
        return ["features", weights, films, "--out", folder / "features.npz", *how]

    def batch(folder: Path) -> list[object]:
        how = ["--engine", "local", "--workers", 1, "--partition", 4]
        return ["batch", "predict", films, "--weights", weights, "--out", folder / "table", *how]

    return [
        Work(name="train", words=training, results="run/**/*", left_out=("card.json",)),
        Work(name="pack", words=packing, results="packed/**/*", left_out=("card.json",)),
        Work(name="shards", words=sharding, results="shards/**/*", left_out=("card.json",)),
        Work(
            name="features",
            words=looking,
            results="features*",
            left_out=("features.npz.card.json",),
        ),
        Work(name="batch", words=batch, results="table/**/*.parquet"),
    ]


def small_network(path: Path) -> Path:
    """Weights of a network with everything a command wants to know."""
    import torch

    from pseudo3d.data.preprocess import Preprocessing
    from pseudo3d.models import create_model
    from pseudo3d.weights import save

    torch.manual_seed(0)
    net = create_model("p3d_nano", num_classes=12)
    pre = Preprocessing(frames=4, resize=18, size=(16, 16), mean=(0.5,) * 3, std=(0.3,) * 3)
    save(net, path, classes=tuple(f"class{i}" for i in range(12)), preprocessing=pre)
    return path


def left_behind(folder: Path, work: Work) -> dict[str, str]:
    """Digest of every result; of hidden files, which are to be gone, only that they are there."""
    found = {}
    for path in sorted(folder.glob(work.results)):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and path.name not in work.left_out:
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    hidden = [p for p in folder.rglob(".*") if "cache" not in p.relative_to(folder).parts]
    return found | {p.relative_to(folder).as_posix(): "left behind" for p in hidden}


def undisturbed(work: Work, folder: Path) -> tuple[dict[str, str], float]:
    """Results and seconds of a run that nobody disturbs; twice, to know that they repeat.

    Raises:
        SystemExit: it fails, or a second run gives other bytes.
    """
    found, took = [], 0.0
    for _ in range(2):
        folder.mkdir()
        pid = begin(work.words(folder), folder / "log")
        code, took = end(pid)
        clear(pid)
        if code != 0:
            sys.exit(f"{work.name}: exit {code}\n{(folder / 'log').read_text()}")
        found.append(left_behind(folder, work))
        shutil.rmtree(folder)
    if differ := differing(*found):
        sys.exit(f"{work.name}: does not repeat itself: {differ}")
    return found[0], took


def differing(ours: dict[str, str], theirs: dict[str, str]) -> list[str]:
    """Names of files that are missing, additional, or other than they should be."""
    return [name for name in sorted(ours | theirs) if ours.get(name) != theirs.get(name)]


def disturbed(
    work: Work, folder: Path, seconds: float, kills: int, rng: random.Random
) -> tuple[int, str]:
    """Kill a run `kills` times at most, then let it end.

    Returns:
        Kills that struck, and what went wrong.
    """
    struck, pids = 0, []
    folder.mkdir()
    try:
        for left in range(kills, -1, -1):
            pids.append(begin(work.words(folder), folder / "log"))
            code, _ = end(pids[-1], rng.uniform(0.0, seconds) if left else None)
            struck += code is None
            told = (folder / "log").read_text(errors="replace")
            if code not in (None, 0) and not (struck and OURS in told):
                return struck, f"exit {code} after {struck} kills: {told[-300:]}"
            if code is not None:  # ended before the blow, or left to end
                break
    finally:
        for pid in pids:
            clear(pid)
    return struck, ""


def kill(work: Work, home: Path, kills: int, seed: int, keep: Path | None = None) -> dict[str, Any]:
    """A row: so many kills of one command, and how many of them came to the same results."""
    folder, tally = home / "folder", Tally()
    wanted, seconds = undisturbed(work, folder)
    rng = random.Random(f"{seed} {work.name}")
    while tally.kills < kills:
        count = min(rng.randint(1, MOST_KILLS), kills - tally.kills)
        struck, problem = disturbed(work, folder, seconds, count, rng)
        differ = differing(wanted, left_behind(folder, work)) if not problem else []
        problem = problem or (f"{struck} kills, other results: {differ[:5]}" if differ else "")
        if problem and keep is not None:
            shutil.copytree(folder, keep / f"{work.name}-{tally.runs}")
        shutil.rmtree(folder)
        tally.runs, tally.kills = tally.runs + 1, tally.kills + struck
        if problem:
            tally.problems.append(problem)
            tell(f"{work.name}: run {tally.runs}: {problem}")
        else:
            tally.recovered += struck
        if tally.runs % 10 == 0:
            tell(f"{work.name}: {tally.kills} kills, {tally.recovered} recovered")
    return {
        "work": work.name,
        "seed": seed,
        "seconds": round(seconds, 2),
        "runs": tally.runs,
        "kills": tally.kills,
        "recovered": tally.recovered,
        "files_compared": len(wanted),
        "command": command(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=200, help="in all, shared out evenly")
    parser.add_argument("--flips", type=int, default=10_000, help="in all, shared out evenly")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="+", help="commands or kinds of files")
    parser.add_argument("--results", type=Path, help="another folder for the tables")
    parser.add_argument("--keep", type=Path, help="where folders of what went wrong are copied to")
    args = parser.parse_args()
    record.RESULTS = args.results or record.RESULTS
    prepare()
    with tempfile.TemporaryDirectory(prefix="p3d-faults-") as temporary:
        home = Path(temporary)
        chosen = [w for w in works(home) if args.only is None or w.name in args.only]
        for i, work in enumerate(chosen if args.kills else ()):
            share = args.kills // len(chosen) + (i < args.kills % len(chosen))
            row = kill(work, home, share, args.seed, args.keep)
            print(row, flush=True)
            record.record("faults", row)
        targets = [t for t in TARGETS if args.only is None or t in args.only]
        for target in targets if args.flips else ():
            row = flip(target, home, args.flips // len(targets), args.seed)
            print(row, flush=True)
            record.record("bitflips", {**row, "command": command()})


if __name__ == "__main__":
    main()
