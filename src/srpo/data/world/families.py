"""The registry of families, in order of growing depth."""

from srpo.data.schema import DataError
from srpo.data.world.angle import Angle
from srpo.data.world.chain import Chain
from srpo.data.world.chart import Chart
from srpo.data.world.compare import Compare
from srpo.data.world.count import Count
from srpo.data.world.pips import Pips
from srpo.data.world.scene import Family

FAMILIES: dict[str, Family] = {f.name: f for f in (Count(), Pips(), Compare(), Chain(), Chart(), Angle())}
FAMILY_NAMES = tuple(FAMILIES)


def family(name: str) -> Family:
    """The family of that name; DataError for an unknown one."""
    if name not in FAMILIES:
        raise DataError(f"unknown family {name!r} of the built-in world; choose from {', '.join(FAMILY_NAMES)}")
    return FAMILIES[name]
