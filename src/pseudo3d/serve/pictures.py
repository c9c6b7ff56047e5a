"""What the decoder of cameras does: open a picture. It does without torch, and starts at once."""

from collections.abc import Iterator
from io import BytesIO
from typing import Any

from PIL import Image, ImageOps, UnidentifiedImageError

from pseudo3d.serve.problems import Problem
from pseudo3d.serve.settings import Limits
from pseudo3d.serve.wire import Message

_KINDS = ("JPEG", "PNG", "WEBP")


class Pictures:
    """Turns pictures into pixels.

    Args:
        first: the service's limits.
    """

    def __init__(self, first: dict[str, Any]) -> None:
        self.limits = Limits(**first["limits"])
        Image.MAX_IMAGE_PIXELS = None  # in this process, where the limit below holds

    def messages(self, job: Message) -> Iterator[Message]:
        """RGB bytes of a camera's frame, upright.

        Raises:
            Problem: no picture, or one beyond the limit.
        """
        try:
            with Image.open(BytesIO(job.data), formats=_KINDS) as image:
                width, height = image.size
                if width * height > self.limits.pixels:
                    raise Problem(
                        "too_large",
                        f"a frame has {width} x {height} pixels, this service takes "
                        f"{self.limits.pixels}; send smaller ones",
                    )
                upright = ImageOps.exif_transpose(image).convert("RGB")
        except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as err:
            if isinstance(err, Problem):
                raise
            raise Problem(
                "unreadable",
                f"a frame cannot be read ({type(err).__name__}); send JPEG, PNG or WebP",
            ) from err
        shape = [upright.height, upright.width, 3]
        yield Message({"type": "picture", "shape": shape}, upright.tobytes())
