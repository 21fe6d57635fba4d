"""What estimators of directions share: contributions are split by what `fit` found."""

from __future__ import annotations

from vitdecomp._utils.estimator import Estimator
from vitdecomp.contributions import Contributions
from vitdecomp.errors import SpecError
from vitdecomp.units.directions import Directions


class Splitter(Estimator):
    """Estimator of directions.

    Attributes:
        directions_: what `fit` found.
    """

    directions_: Directions

    def transform(self, c: Contributions) -> Contributions:
        """Split contributions into units, `(n, unit, d)`; see `Directions.transform`.

        Raises:
            InputError: other components than those of `fit`. SpecError: not fitted yet.
        """
        if not hasattr(self, "directions_"):
            raise SpecError(f"these {type(self).__name__} are not fitted yet: call fit first")
        return self.directions_.transform(c)
