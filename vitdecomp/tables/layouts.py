"""Contributions of some images as one Arrow table: a row for each image and component, or for each image."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pyarrow as pa
from jaxtyping import Float
from torch import Tensor

from vitdecomp._utils.registry import did_you_mean
from vitdecomp.component import Component
from vitdecomp.errors import SpecError
from vitdecomp.tables.columns import component_columns, lists
from vitdecomp.tables.quantities import QUANTITIES

Layout = Callable[[Tensor, Sequence[Component], pa.Table, Sequence[str]], pa.Table]


def long(
    values: Float[Tensor, "n component d"], components: Sequence[Component], images: pa.Table, quantities: Sequence[str]
) -> pa.Table:
    """Make a row for each image and component, image by image.

    Columns: those of the images, those of the component's key, and one for each quantity.
    """
    n, size = len(values), len(components)
    of_images, of_components = np.repeat(np.arange(n), size), np.tile(np.arange(size), n)
    columns = {name: images[name].take(of_images) for name in images.column_names}
    columns |= {name: column.take(of_components) for name, column in component_columns(components).items()}
    return pa.table({**columns, **{name: _column(_measured(name, values).flatten(0, 1)) for name in quantities}})


def wide(
    values: Float[Tensor, "n component d"], components: Sequence[Component], images: pa.Table, quantities: Sequence[str]
) -> pa.Table:
    """Make a row for each image.

    Columns: those of the images, and one for each quantity and component, `QUANTITY.COMPONENT`.
    """
    columns = {name: images[name] for name in images.column_names}
    for quantity in quantities:
        found = _measured(quantity, values)
        columns |= {f"{quantity}.{component}": _column(found[:, i]) for i, component in enumerate(components)}
    return pa.table(columns)


LAYOUTS: Mapping[str, Layout] = {"long": long, "wide": wide}


def layout(name: str) -> Layout:
    """Return the layout of a name.

    Raises:
        SpecError: there is none.
    """
    if name not in LAYOUTS:
        raise SpecError(f"no layout {name!r}{did_you_mean(name, LAYOUTS)}; choose of {', '.join(LAYOUTS)}")
    return LAYOUTS[name]


def _measured(name: str, values: Tensor) -> Tensor:
    return QUANTITIES[name](values.detach().cpu())


def _column(numbers: Tensor) -> pa.Array:
    rows = numbers.numpy()
    return pa.array(rows) if rows.ndim == 1 else lists(rows)
