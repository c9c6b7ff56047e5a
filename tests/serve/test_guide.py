"""What the guide shows runs as written, but for the port and the file."""

import json
import re
import subprocess
import sys
from pathlib import Path

from pseudo3d.serve.problems import STATUS
from serve.serving import film

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "guides" / "serve.md"


def test_the_camera_of_the_guide_gets_decisions(running, tmp_path):
    (code,) = re.findall(r"```python\n(.*?)```", GUIDE.read_text("utf-8"), re.DOTALL)
    film(tmp_path / "clip.mp4", 1, frames=150)
    code = code.replace("127.0.0.1:8000", f"127.0.0.1:{running.port}")
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    told = [json.loads(line.replace("'", '"')) for line in done.stdout.splitlines()]
    assert told
    assert len(told[-1]["top"]) == 3


def test_the_requests_of_the_guide_are_answered(running, films):
    lines = re.findall(
        r"^curl -F file=@\S+ '?http://127.0.0.1:8000(/\S+?)'?$", GUIDE.read_text("utf-8"), re.M
    )
    assert len(lines) == 3
    for path in lines:
        with films[3].open("rb") as file:
            answer = running.client.post(path, files={"file": ("clip.mp4", file)})
        assert answer.status_code == 200, answer.text


def test_every_code_is_in_the_guide():
    text = GUIDE.read_text("utf-8")
    for code, status in STATUS.items():
        row = next(line for line in text.splitlines() if line.startswith(f"| `{code}` |"))
        assert str(status) in row
