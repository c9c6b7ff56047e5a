"""A window that shows what is watched, where there is a display."""

import os
import sys
import threading
import time
from typing import Any

from pseudo3d.engine.live import Decision
from pseudo3d.errors import Pseudo3dError
from pseudo3d.watch.overlay import Caption, captioned
from pseudo3d.watch.slot import Frame
from pseudo3d.watch.sources import Source

_EVERY = 1 / 30  # s between two pictures of one source


class Screen:
    """One picture per source, side by side; closing the window sets `stop`.

    Raises:
        Pseudo3dError: there is no display, or Python was built without Tk.
    """

    def __init__(self, title: str = "p3d watch") -> None:
        headless = not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
        if sys.platform.startswith("linux") and headless:
            raise Pseudo3dError(
                "there is no display to show a window on; leave --show out, or record with "
                "--record FOLDER"
            )
        try:
            import tkinter

            from PIL import ImageTk
        except ImportError as err:
            raise Pseudo3dError(
                f"{err.name} is missing, so no window can be shown (Debian: apt install "
                "python3-tk); leave --show out, or record with --record FOLDER"
            ) from err
        self._photo: Any = ImageTk.PhotoImage
        try:
            self._root: Any = tkinter.Tk()
        except tkinter.TclError as err:
            raise Pseudo3dError(f"the display cannot be used: {err}; leave --show out") from err
        self._label: Any = tkinter.Label
        self.closed, self.stop = False, threading.Event()
        self._root.title(title)
        self._root.protocol("WM_DELETE_WINDOW", self.close)
        self._pictures: dict[str, Any] = {}
        self._drawn: dict[str, float] = {}

    def __call__(
        self, source: Source, frame: Frame, caption: Caption | None, decision: Decision | None
    ) -> None:
        now = time.monotonic()
        if self.closed or now - self._drawn.get(source.name, 0.0) < _EVERY:
            return
        self._drawn[source.name] = now
        if source.name not in self._pictures:
            self._pictures[source.name] = self._label(self._root, text=source.name)
            self._pictures[source.name].pack(side="left")
        self._show(source.name, captioned(frame.image, caption))

    def _show(self, name: str, image: Any) -> None:
        from PIL import Image

        picture, label = (
            self._photo(Image.fromarray(image), master=self._root),
            self._pictures[name],
        )
        label.configure(image=picture)
        label.image = picture  # Tk holds no reference
        self._root.update()

    def close(self) -> None:
        """Take the window away."""
        if not self.closed:
            self.closed = True
            self.stop.set()
            self._root.destroy()
