"""Networks that between them take every path of a stream: those of the faster forms, and causal."""

from functools import cache

from pseudo3d.models.network import Network
from runtime import test_families
from runtime.cases import CASES
from runtime.conftest import shaken

ALL = {**CASES, **test_families.CASES}
NEVER = ("frames", "tsn", "tsm", "tsm bottleneck", "tsm online")  # no option of that name
CAUSAL = tuple(case for case in ALL if case not in NEVER)


@cache
def network(case: str, causal: bool = False) -> Network:
    """A network whose every weight and statistic matters; built once."""
    name, config = ALL[case]
    return shaken(name, **config, **({"causal": True} if causal else {}))
