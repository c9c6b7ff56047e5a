"""Fixtures every test may use."""

from collections.abc import Iterator
from pathlib import Path

import jaxtyping
import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared"


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
