"""The page about scale: its example runs, its options exist, its defaults are those of the code."""

import re
from pathlib import Path

import typer

from pseudo3d.bench.scale.costs import Cluster
from pseudo3d.cli import plan

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGE = (DOCS / "scale.md").read_text(encoding="utf-8")


def test_the_python_of_the_page_runs(capsys):
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    exec(compile(code, "scale.md", "exec"), {})
    assert capsys.readouterr().out.endswith("limited by cores\n")


def test_every_option_of_the_page_exists():
    app = typer.Typer()
    plan.add_to(app)
    there = {word for parameter in typer.main.get_command(app).params for word in parameter.opts}
    blocks = [b.replace("\\\n", " ") for b in re.findall(r"```\n(.*?)```", PAGE, re.DOTALL)]
    lines = [line for block in blocks for line in block.splitlines() if "p3d plan" in line]
    used = {word for line in lines for word in re.findall(r"--[a-z]+", line)}
    assert len(lines) == 2
    assert used <= there


def test_the_defaults_of_the_page_are_those_of_the_code():
    cluster, told = Cluster(), {}
    for names, values in re.findall(r"^\| (`.*?) \| (.*?) \|", PAGE, re.MULTILINE):
        told |= dict(zip(re.findall(r"`(\w+)`", names), values.split(", "), strict=True))
    told["lifetime"] = told["lifetime"].replace("without end", "inf")
    assert {name: float(value) for name, value in told.items()} == {
        name: value for name, value in vars(cluster).items() if name != "nodes"
    }
