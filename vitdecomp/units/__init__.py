"""Units finer than components: directions of what a component contributes, as components of their own."""

from vitdecomp.units.directions import Directions
from vitdecomp.units.principal import PrincipalDirections
from vitdecomp.units.singular import SingularDirections
from vitdecomp.units.split import SplitSource

__all__ = ["Directions", "PrincipalDirections", "SingularDirections", "SplitSource"]
