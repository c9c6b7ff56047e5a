"""A headless browser, and a page in it whose every request is answered by the test."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np
import pytest

from serve.page.service import BASE, Service

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser")
PATIENCE = 60  # s; the machine may be busy
STATE = """(() => {
  const video = document.getElementById("video");
  const {currentTime, duration, paused, seeking, ended, readyState} = video;
  return JSON.stringify({currentTime, duration, paused, seeking, ended, readyState});
})()"""  # of the video, for the message of a wait that was in vain
FLAGS = [
    "--no-sandbox",
    "--disable-dev-shm-usage",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
    "--autoplay-policy=no-user-gesture-required",
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium with a made camera, without a window.

    One for each file: while it is open an event loop runs, and other tests want to start theirs.
    """
    sync = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if BROWSER is None:
        pytest.skip("no chromium on this machine to show the page in")
    with sync.sync_playwright() as play:
        chromium = play.chromium.launch(executable_path=BROWSER, args=FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture
def service() -> Service:
    """What answers the page."""
    return Service()


class Tab:
    """A page, what went wrong in it, and the steps most tests take."""

    def __init__(self, page: Any, service: Service) -> None:
        self.page, self.service, self.faults = page, service, []
        page.set_default_timeout(1000 * PATIENCE)
        page.on("pageerror", lambda err: self.faults.append(str(err)))
        page.on("console", self._listen)

    def _listen(self, message: Any) -> None:
        # a refusal of the service is logged by the browser, and is what some tests are about
        if message.type in ("error", "warning") and "Failed to load resource" not in message.text:
            self.faults.append(message.text)

    def open(self, ready: bool = True, url: str = BASE) -> Any:
        self.page.goto(url)
        if ready:
            self.page.wait_for_selector("#service[data-state=ready]")
        return self.page

    def send(self, *paths: Path) -> None:
        """Choose files as a person does."""
        self.page.set_input_files("#file", [str(path) for path in paths])

    def shown(self, path: Path) -> Any:
        """Send a file and wait for its answer and its picture."""
        self.send(path)
        self.page.wait_for_selector(f"body[data-shown='{path.name}']")
        if path.suffix == ".mp4":
            self.until("document.getElementById('video').readyState >= 2")
        return self.page

    def until(self, condition: str) -> None:
        """Wait for a condition; playwright's own way is `eval`, which the page's policy forbids."""
        end = monotonic() + PATIENCE
        while not self.page.evaluate(condition):
            if monotonic() > end:
                raise AssertionError(f"it never came: {condition}; {self.page.evaluate(STATE)}")
            self.page.wait_for_timeout(20)

    def at(self, t: float, tolerance: float = 0.05) -> None:
        """Wait until the video stands at a time."""
        self.until(f"Math.abs(document.getElementById('video').currentTime - {t}) < {tolerance}")


@contextmanager
def tab_in(browser: Any, service: Service | None, **options: Any) -> Iterator[Tab]:
    """A tab of its own kind; at the end, what went wrong in it is an error.

    Args:
        service: answers every request; None lets them go to a service that runs.
    """
    context = browser.new_context(**options)
    if service is not None:
        context.route("**/*", service.open)
    tab = Tab(context.new_page(), service or Service())
    try:
        yield tab
    finally:
        context.close()
    assert not tab.faults, tab.faults
    assert not tab.service.foreign, tab.service.foreign


@pytest.fixture
def tab(browser: Any, service: Service) -> Iterator[Tab]:
    """An empty tab of 1200 x 900."""
    with tab_in(browser, service, viewport={"width": 1200, "height": 900}) as made:
        yield made


@pytest.fixture(scope="session")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """4 s of a bright square that wanders over gray, as browsers play it."""
    av = pytest.importorskip("av")
    path = tmp_path_factory.mktemp("film") / "film.mp4"
    with av.open(str(path), "w", options={"movflags": "+faststart"}) as file:
        stream = file.add_stream("libx264", rate=25, options={"crf": "20", "g": "5"})
        stream.width, stream.height, stream.pix_fmt = 160, 120, "yuv420p"
        for i in range(100):
            image = np.full((120, 160, 3), 90, dtype=np.uint8)
            image[40:80, i : i + 40] = (230, 220, 180)
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = i, Fraction(1, 25)
            file.mux(stream.encode(frame))
        file.mux(stream.encode())
    return path
