"""MONAI as an oracle: only here, never at run time."""

import warnings

import pytest


@pytest.fixture(scope="session")
def monai_metrics():
    """MONAI's metrics; its own warnings are not ours."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("monai.metrics", reason="MONAI is the oracle and not installed")
