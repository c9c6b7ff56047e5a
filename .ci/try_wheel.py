"""Try an installed pseudo3d as a user does: help, version, doctor, a recognized video.

    PYTHON .ci/try_wheel.py FOLDER

FOLDER is new and takes what is made. Nothing of the checkout is imported.
"""

import json
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

MAKE = """
import sys
from pathlib import Path
from pseudo3d import create_model, save
from pseudo3d.data.rendered.motions import render_motions
from pseudo3d.data.preprocess import Preprocessing
folder = Path(sys.argv[1])
render_motions(folder / "films", persons=3, clips_per_class=3, size=32)
net = create_model("p3d_nano", num_classes=2)
pre = Preprocessing(frames=4, resize=18, size=(16, 16), mean=(0.5,) * 3, std=(0.5,) * 3)
save(net, folder / "w.safetensors", classes=("a", "b"), preprocessing=pre)
"""


def run(folder: Path, *words: str) -> str:
    """What a command prints; it must end well."""
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{words[:3]}: exit code {done.returncode}\n{done.stderr}")
    return done.stdout


def main() -> None:
    """Raise SystemExit at the first thing that does not work."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True)
    p3d = str(Path(sys.executable).with_name("p3d"))
    code = "import sys, pseudo3d.cli.main; sys.exit('torch' in sys.modules)"
    run(folder, sys.executable, "-I", "-c", code)
    if "predict" not in run(folder, p3d, "--help"):
        raise SystemExit("p3d --help does not name its commands")
    version = run(folder, p3d, "--version").strip()
    run(folder, p3d, "doctor")
    for name in ("py.typed", "serve/static/index.html", "report/assets/viewer.html"):
        if not files("pseudo3d").joinpath(name).is_file():
            raise SystemExit(f"{name} is not in the wheel")
    run(folder, sys.executable, "-I", "-c", MAKE, str(folder))
    film = next((folder / "films").rglob("*.mp4"))
    said = json.loads(run(folder, p3d, "predict", "w.safetensors", str(film), "--json"))
    print(f"{version}: help, doctor, predict ({said[0]['label']})")  # noqa: T201 (a script)


if __name__ == "__main__":
    main()
