"""The doctor reports every part, never raises, and fails only for what is needed."""

import io
import json
import sys
import tomllib
from pathlib import Path

import pytest

from pseudo3d.cli import doctor
from pseudo3d.cli.doctor import Check

ROOT = Path(__file__).resolve().parents[2]
OK = Check(name="torch", state="ok", detail="2.13.0", core=True)
NO_EXTRA = Check(name="extra eval", state="missing", detail="no sklearn", fix="pip install x")
BROKEN = Check(name="video", state="missing", detail="no H.264", fix="reinstall", core=True)


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self):
        return True


@pytest.fixture(scope="module")
def rows():
    return doctor.checks()


def test_every_part_has_one_row_and_this_machine_is_healthy(rows):
    names = [row.name for row in rows]
    assert len(names) == len(set(names))
    assert {"python", "torch", "gpu", "bfloat16", "optimized networks", "video"} <= set(names)
    assert {"lightning", "safetensors", "cores", "memory", "disk"} <= set(names)
    assert [row for row in rows if row.core and row.state != "ok"] == []
    assert doctor.healthy(rows)


def test_extras_are_those_of_pyproject():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    ours = {"dev", "docs", "peers", "browser"}  # for those who work on the project
    assert set(doctor.EXTRAS) == set(project["optional-dependencies"]) - ours


def test_a_missing_extra_names_the_command_that_brings_it(monkeypatch):
    monkeypatch.setitem(doctor.EXTRAS, "scans", ("nibabel_that_nobody_has",))
    row = doctor._extra("scans")
    assert (row.state, row.core) == ("missing", False)
    assert row.fix == "pip install 'pseudo3d[scans]'"
    assert "nibabel_that_nobody_has" in row.detail


@pytest.mark.parametrize("module", ["av", "lightning"])
def test_a_core_library_that_cannot_be_imported_is_a_row_not_a_crash(monkeypatch, module):
    monkeypatch.setitem(sys.modules, module, None)  # the import statement raises ImportError
    rows = doctor.checks()
    broken = [row for row in rows if row.core and row.state == "missing"]
    assert [row.name for row in broken] == ["video" if module == "av" else module]
    assert "pip install" in broken[0].fix
    assert not doctor.healthy(rows)


def test_the_2d_form_of_a_bfloat16_weight_gradient_is_right_here():
    _, guarded = doctor._weight_gradient_errors()
    assert guarded < 0.01


def test_the_guard_against_wrong_bfloat16_gradients_is_said(monkeypatch):
    monkeypatch.setattr(doctor, "_weight_gradient_errors", lambda: (float("nan"), 0.003))
    row = doctor._bfloat16()
    assert row.state == "ok"
    assert "nan" in row.detail
    assert "guarded" in row.detail


def test_a_wrong_2d_form_is_a_warning_with_a_way_out(monkeypatch):
    monkeypatch.setattr(doctor, "_weight_gradient_errors", lambda: (0.003, float("inf")))
    row = doctor._bfloat16()
    assert row.state == "warn"
    assert "fp32" in row.fix


@pytest.mark.parametrize(("found", "code"), [([OK, NO_EXTRA], 0), ([OK, BROKEN], 1)])
def test_exit_code_is_1_only_when_a_core_part_is_broken(monkeypatch, capsys, found, code):
    monkeypatch.setattr(doctor, "checks", lambda: found)
    assert doctor.run(as_json=True) == code
    report = json.loads(capsys.readouterr().out)
    assert report["ok"] is (code == 0)
    assert report["checks"][0]["name"] == "torch"


def test_a_pipe_gets_four_tab_separated_columns():
    out = io.StringIO()
    doctor.show([OK, NO_EXTRA], out=out)
    lines = out.getvalue().splitlines()
    assert lines[0].split("\t") == ["torch", "ok", "2.13.0", ""]
    assert lines[1].split("\t") == ["extra eval", "missing", "no sklearn", "pip install x"]


def test_a_terminal_gets_a_table_that_shows_brackets_as_they_are():
    out = Terminal()
    doctor.show([Check(name="a", state="missing", detail="b", fix="pip 'x[eval]'")], out=out)
    assert "how to get it" in out.getvalue()
    assert "x[eval]" in out.getvalue()


def test_little_disk_is_a_warning(monkeypatch):
    usage = type("usage", (), {"free": 2**20})
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda path: usage)
    assert doctor._disk().state == "warn"


def test_a_torch_without_fused_convolutions_is_told(monkeypatch):
    from pseudo3d.runtime import packed

    monkeypatch.setattr(packed, "fused", lambda: False)
    row = next(row for row in doctor.checks() if row.name == "optimized networks")
    assert (row.state, "stand in" in row.detail, "torch==" in row.fix) == ("warn", True, True)
