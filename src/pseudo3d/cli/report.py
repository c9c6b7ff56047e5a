"""`p3d report`: the page of a training run."""

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pseudo3d.cli.common import Cache, Threads, open_store, progress_bar, say, use_threads

if TYPE_CHECKING:
    from pseudo3d.data.cache import FrameStore
    from pseudo3d.data.scans.dataset import ScanStore


def report(
    run: Annotated[Path, typer.Argument(help="Folder of a finished `p3d train`.")],
    views: Annotated[int, typer.Option(min=1, help="Clips per video, averaged.")] = 5,
    cache: Cache = "auto",
    threads: Threads = None,
) -> None:
    """Write RUN/report.html: how training went, scores, confusions, and whether it uses time.

    Of a run on scans: whether it uses the order of slices.
    """
    use_threads(threads)
    from pseudo3d.data.manifest import read_manifest
    from pseudo3d.data.scans.preprocess import ScanPreprocessing
    from pseudo3d.engine.training.train import WEIGHTS
    from pseudo3d.errors import Pseudo3dError
    from pseudo3d.weights import load

    if not (run / WEIGHTS).exists():
        raise Pseudo3dError(f"{run} is not the folder of a finished run; wanted {WEIGHTS}")
    pre = load(run / WEIGHTS).card.preprocessing
    if isinstance(pre, ScanPreprocessing):
        say(str(page_of(run, None)))
        return
    listed = read_manifest(run / "manifest.csv")
    say(str(page_of(run, open_store(listed, pre.resize, pre.color == "gray", cache), views)))


def page_of(run: Path, store: "FrameStore | ScanStore | None", views: int = 5) -> Path:
    """The page, with a bar for each stage of making it."""
    from pseudo3d.explain.run_report import run_report

    with ExitStack() as bars:

        def bar(stage: str) -> Callable[[int, int], None]:
            return bars.enter_context(progress_bar(stage))

        return run_report(run, store, views=views, progress=bar)


def add_to(app: typer.Typer) -> None:
    """Enter the command."""
    app.command()(report)
