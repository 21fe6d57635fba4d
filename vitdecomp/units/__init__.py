"""Units finer than components: directions of what a component contributes, as components of their own."""

from typing import TYPE_CHECKING

from vitdecomp._utils.lazy import lazily

if TYPE_CHECKING:
    from vitdecomp.units.asked import AskedDirections
    from vitdecomp.units.directions import Directions
    from vitdecomp.units.principal import PrincipalDirections
    from vitdecomp.units.singular import SingularDirections
    from vitdecomp.units.split import SplitSource
else:
    __getattr__, __dir__ = lazily(
        __name__,
        {
            "vitdecomp.units.asked": ("AskedDirections",),
            "vitdecomp.units.directions": ("Directions",),
            "vitdecomp.units.principal": ("PrincipalDirections",),
            "vitdecomp.units.singular": ("SingularDirections",),
            "vitdecomp.units.split": ("SplitSource",),
        },
    )

__all__ = ["AskedDirections", "Directions", "PrincipalDirections", "SingularDirections", "SplitSource"]
