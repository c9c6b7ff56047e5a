"""Feed mutated bytes to every parser of strangers' files: crashes, hangs, memory.

Coverage-guided by atheris where it is installed, by plain mutation of the seeds where it is not;
the row says which. A crash is anything but a `Pseudo3dError`, a hang takes more than 10 s of
processor time, and more than 1 GiB of memory is a crash, too. Each target runs in a process of its
own, which may die; what it was given last is kept. Findings go to `--findings`.

    python benchmarks/fuzz.py --seconds 1800 [--targets manifest,nifti] [--findings DIR]
"""

import argparse
import hashlib
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable
from contextlib import ExitStack, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(Path(__file__).parent)]
HANG = 10.0  # s of processor time
STUCK = 120.0  # s by the clock in which nothing ends, on a machine that may be busy
MEMORY = 2**30  # bytes on top of what the libraries hold
LONGEST = 2**16  # bytes of an input
ENOUGH = MEMORY // 4  # bytes that end a process: atheris keeps what instrumented code compares
OURS = ("pseudo3d", "nibabel", "pydicom")  # whose branches are counted
_WORDS = (0, 1, 127, 128, 255, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1)


class Log:
    """What a child tells its parent, in files: the last input, counts, findings."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.facts: dict[str, Any] = {"executions": 0, "slowest": 0.0, "found": {}, "peak": 0}
        self._told = 0.0
        self._base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        self._start = held()

    def finding(self, key: str, data: bytes, text: str) -> None:
        """Keep the shortest input of each kind."""
        found = self.facts["found"]
        if key in found and found[key]["size"] <= len(data):
            return
        name = hashlib.sha256(key.encode()).hexdigest()[:12]
        (self.folder / f"{name}.bin").write_bytes(data)
        (self.folder / f"{name}.txt").write_text(text)
        found[key] = {"size": len(data), "name": name}
        self.tell()

    def tell(self) -> None:
        """Write the counts."""
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        self.facts["peak"] = max(0, peak - self._base) >> 10  # MiB
        part = self.folder / "facts.part"
        part.write_text(json.dumps(self.facts))
        part.replace(self.folder / "facts.json")
        self._told = time.monotonic()

    def count(self, seconds: float) -> None:
        """One execution is over."""
        self.facts["executions"] += 1
        self.facts["slowest"] = max(self.facts["slowest"], seconds)
        if time.monotonic() > self._told + 0.5:
            self.tell()
            if held() > self._start + ENOUGH:
                os._exit(0)  # another process goes on with the same corpus


def held() -> int:
    """Bytes of memory that this process holds now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def judged(run: Callable[[Path, bytes], object], folder: Path, log: Log) -> Callable[[bytes], None]:
    """A target that never raises, and writes down what it would have raised."""
    from pseudo3d.errors import Pseudo3dError

    last = log.folder / "last"

    def once(data: bytes) -> None:
        last.write_bytes(data)
        began = time.process_time()
        try:
            run(folder, data)
        except Pseudo3dError:
            pass
        except (Exception, SystemExit) as err:
            frames = traceback.extract_tb(err.__traceback__)
            ours = [f for f in frames if "pseudo3d" in Path(f.filename).parts]
            frame = (ours or frames)[-1]
            key = f"{type(err).__name__} at {Path(frame.filename).name}:{frame.lineno}"
            log.finding(key, data, traceback.format_exc())
        seconds = time.process_time() - began
        if seconds > HANG:
            log.finding(f"hang, {seconds:.0f} s", data, "")
        log.count(seconds)

    return once


def mutate(data: bytes, others: list[bytes], rng: random.Random) -> bytes:
    """A few changes: bits, bytes, numbers, pieces taken out, doubled, or from another seed."""
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4, 8))):
        at = rng.randrange(len(out) + 1)
        kind = rng.randrange(7)
        if kind == 0 and out:
            out[at % len(out)] ^= 1 << rng.randrange(8)
        elif kind == 1 and out:
            out[at % len(out)] = rng.randrange(256)
        elif kind == 2:
            size = rng.choice((1, 2, 4, 8))
            number = rng.choice(_WORDS) % 256**size
            out[at : at + size] = number.to_bytes(size, rng.choice(("little", "big")))
        elif kind == 3:
            del out[at : at + rng.randrange(1, 32)]
        elif kind == 4:
            out[at:at] = out[at : at + rng.randrange(1, 64)]
        elif kind == 5:
            out[at:at] = str(rng.choice((*_WORDS, -1, 1e308, "nan", "é", "\0", '"'))).encode()
        else:
            other = rng.choice(others)
            start = rng.randrange(len(other) + 1)
            out[at : at + 16] = other[start : start + rng.randrange(1, 64)]
    return bytes(out[:LONGEST])


def child(name: str, home: Path, corpus: Path, seconds: float, number: int, plain: bool) -> None:
    """Fuzz one target until the time is over."""
    warnings.simplefilter("ignore")
    guided = not plain and find_spec("atheris") is not None
    with ExitStack() as stack:
        if guided:
            import atheris

            stack.enter_context(atheris.instrument_imports(include=list(OURS)))
        from hostile.targets import TARGETS
        from pseudo3d.data.limits import confine

        target = TARGETS[name]
        work = home / "work"
        work.mkdir(exist_ok=True)
        seeds = list(target.seeds(work))
        kept = ROOT / "tests" / "hostile" / "seeds" / name
        seeds += [path.read_bytes() for path in sorted(kept.glob("*.bin"))]
        for i, data in enumerate(seeds):
            (corpus / f"seed{i}").write_bytes(data)
            with suppress(Exception):  # loads, and instruments, all that is imported late
                target.run(work, data)
    confine(MEMORY, 256)
    once = judged(target.run, work, Log(home))
    for data in seeds:
        once(data)
    if guided:
        options = [f"-max_total_time={int(seconds)}", f"-max_len={LONGEST}", f"-seed={number}"]
        options.append(f"-artifact_prefix={home}/")
        quiet = ["-timeout=100000", "-rss_limit_mb=0", "-verbosity=0", "-detect_leaks=0"]
        atheris.Setup([sys.argv[0], str(corpus), *options, *quiet], once)
        atheris.Fuzz()
        return
    rng, end = random.Random(number), time.monotonic() + seconds
    while time.monotonic() < end:
        once(mutate(rng.choice(seeds), seeds, rng))


def watched(process: subprocess.Popen[bytes], home: Path, seconds: float) -> str:
    """Wait for a child; how it ended, where that was not by itself."""
    end, last = time.monotonic() + seconds + 120, home / "last"
    while process.poll() is None:
        time.sleep(0.5)
        began = last.stat().st_mtime if last.exists() else time.time()
        stuck = time.time() > began + STUCK
        if stuck or time.monotonic() > end:
            process.kill()
            process.wait()
            return "hang" if stuck else ""  # beside other programs a child may begin late
    return "" if process.returncode == 0 else f"ended by {process.returncode}"


def fuzz(name: str, seconds: float, findings: Path, plain: bool) -> dict[str, Any]:
    """All of one target: children are started again when they die."""
    sums: dict[str, Any] = {"executions": 0, "slowest": 0.0, "peak": 0}
    found: set[str] = set()
    engine = "mutation" if plain or find_spec("atheris") is None else "atheris"
    begun, worked = time.monotonic(), _children_worked()
    corpus = tempfile.TemporaryDirectory(prefix="p3d-corpus-", dir=_shared_memory())
    for number in range(1, 1000):
        left = seconds - (time.monotonic() - begun)
        if left < 1:
            break
        with tempfile.TemporaryDirectory(prefix="p3d-fuzz-", dir=_shared_memory()) as folder:
            home = Path(folder)
            told = ["--child", name, "--home", folder, "--corpus", corpus.name]
            told += ["--seconds", str(left)]
            told += ["--number", str(number), *(["--plain"] if plain else [])]
            command = [sys.executable, __file__, *told]
            with (
                (home / "child.txt").open("wb") as said,
                subprocess.Popen(command, stdout=said, stderr=said) as process,
            ):
                how = watched(process, home, left)
            facts = json.loads(_text(home / "facts.json") or "{}")
            sums["executions"] += facts.get("executions", 0)
            for key in ("slowest", "peak"):
                sums[key] = max(sums[key], facts.get(key, 0))
            found |= set(facts.get("found", {}))
            _keep(home, findings / name, how)
            if how:
                found.add(how)
    corpus.cleanup()
    hangs = sum("hang" in key for key in found)
    return {
        "target": name, "engine": engine, "seconds": round(time.monotonic() - begun),
        "cpu_seconds": round(_children_worked() - worked), "executions": sums["executions"],
        "crashes": len(found) - hangs, "hangs": hangs, "slowest_s": round(sums["slowest"], 3),
        "peak_mib": sums["peak"], "found": "; ".join(sorted(found)),
    }  # fmt: skip


def _children_worked() -> float:
    """Seconds of processor time of all children that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _shared_memory() -> str | None:
    """Where a file costs no disk."""
    return "/dev/shm" if Path("/dev/shm").is_dir() else None


def _text(path: Path) -> str:
    return path.read_text() if path.exists() else ""


def _keep(home: Path, findings: Path, how: str) -> None:
    """Copy what was found; the last input, where the process died of it."""
    files = [p for p in home.iterdir() if p.suffix in (".bin", ".txt") and p.stem != "child"]
    if how:
        files.append(home / "child.txt")
    if how and (home / "last").exists():
        digest = hashlib.sha256((home / "last").read_bytes()).hexdigest()[:12]
        (home / "last").rename(home / f"died-{digest}.bin")
        files.append(home / f"died-{digest}.bin")
    for path in files:
        findings.mkdir(parents=True, exist_ok=True)
        (findings / path.name).write_bytes(path.read_bytes())


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="per target")
    parser.add_argument("--targets", default="", help="some of them, by commas")
    parser.add_argument("--findings", type=Path, default=Path("fuzz-findings"))
    parser.add_argument("--plain", action="store_true", help="without atheris")
    parser.add_argument("--dry", action="store_true", help="no row is recorded")
    for name in ("--child", "--home", "--corpus"):
        parser.add_argument(name, default="", help=argparse.SUPPRESS)
    parser.add_argument("--number", type=int, default=1, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        home, corpus = Path(given.home), Path(given.corpus)
        child(given.child, home, corpus, given.seconds, given.number, given.plain)
        return
    from hostile.targets import TARGETS
    from record import record

    for name in given.targets.split(",") if given.targets else TARGETS:
        row = fuzz(name, given.seconds, given.findings, given.plain)
        sys.stdout.write("\t".join(map(str, row.values())) + "\n")
        sys.stdout.flush()
        if not given.dry:
            record("fuzz", row)


if __name__ == "__main__":
    main()
