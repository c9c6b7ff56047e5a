"""Fixtures every test may use."""

import locale
import logging
import sys
from collections.abc import Iterator
from pathlib import Path

import jaxtyping
import pytest

from hostile.network import alone

# As `errors.require` does: by it OpenVINO would tell its makers what it is used for.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]

SHARED = Path(__file__).resolve().parents[2] / "shared"
ENCODING = locale.setlocale(locale.LC_CTYPE)


@pytest.fixture(autouse=True)
def _same_encoding() -> None:
    """Some library sets the process's locale, and text would be ASCII in the tests after it."""
    locale.setlocale(locale.LC_CTYPE, ENCODING)


@pytest.fixture(autouse=True)
def _same_logging() -> None:
    """Some library silences the loggers of the process, and warnings would be missed."""
    logging.disable(logging.NOTSET)
    for name, logger in list(logging.root.manager.loggerDict.items()):
        if name.startswith("pseudo3d") and isinstance(logger, logging.Logger):
            logger.disabled, logger.propagate = False, True
            logger.setLevel(logging.NOTSET if "." in name else logging.WARNING)


@pytest.fixture(autouse=True, scope="session")
def _no_network() -> Iterator[None]:
    """Whatever a test runs, every command among it, connects to this machine or to nothing."""
    with alone():
        yield


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real data and golden files beside the project."""
    if not SHARED.is_dir():
        pytest.skip("the folder of real data and golden files is not beside the project")
    return SHARED


@pytest.fixture(scope="session")
def shared_data(shared: Path) -> Path:
    """Real videos and scans."""
    return shared / "data"


@pytest.fixture
def unchecked() -> Iterator[None]:
    """For tests that hand over wrong shapes on purpose: ours must be the error, not the hook's."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)
