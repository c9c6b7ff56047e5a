"""Trained k x k x k convolutions become pseudo-3-D pairs: the other way round than `convert`."""

from pseudo3d.recycle.factorize.report import Report as Report
from pseudo3d.recycle.factorize.run import factorize as factorize
