"""Contributions: the one type that crosses every arrow from decomposition to scores and retrieval."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from vitdecomp._utils.checksum import digest
from vitdecomp._utils.summary import kinds, summary
from vitdecomp.component import Component
from vitdecomp.errors import InputError, SpecError
from vitdecomp.provenance import Origin

Key = Callable[[Component], Hashable]
_KEYS: dict[str, Key] = {
    "block": lambda c: c.name if c.is_constant or c.block is None else c.block,
    "module": lambda c: c.name if c.is_constant or c.module is None else c.module,
    "kind": lambda c: c.kind,
}


@dataclass(frozen=True, slots=True)
class Contributions:
    """Representations of `n` images, split into an exact sum over components.

    Attributes:
        values: contribution of every component to every image's representation, `(n, component, d)`.
        components: the key of each entry of the component axis, in the same order.
        error: relative error of the full sum per image, |sum - representation| / |representation|, `(n,)`, as they were
            computed.
        bias_receivers: for each constant, the components that reach the place where it joins the path (the ones a
            smeared bias would be spread over); see `spread_biases`.
        origin: the model that they come from, if it is known.
        loss: what writing them to a store and reading them back adds to the error: |full sum read - full sum computed|
            / |full sum computed|, `(n,)`; `None` where nothing was written.
    """

    values: Float[Tensor, "n component d"]
    components: tuple[Component, ...]
    error: Float[Tensor, " n"]
    bias_receivers: Mapping[Component, tuple[Component, ...]] = field(default_factory=dict, repr=False)
    origin: Origin | None = field(default=None, repr=False)
    loss: Float[Tensor, " n"] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        """Refuse values whose component axis does not fit the components."""
        if self.values.ndim != 3 or self.values.shape[1] != len(self.components):
            raise InputError(
                f"contributions need values of shape (n, {len(self.components)}, d), got {tuple(self.values.shape)}"
            )

    def __len__(self) -> int:
        """Count the images."""
        return len(self.values)

    def __repr__(self) -> str:
        dtype = str(self.values.dtype).removeprefix("torch.")
        sizes = f"{len(self):,} images, {len(self.components):,} components, {self.dimension:,} dimensions, {dtype}"
        told = {
            "kinds": kinds(self.components),
            "components": _examples(self.components),
            "error as computed": _largest(self.error),
            "loss by writing": None if self.loss is None else _largest(self.loss),
            "model": self.origin and f"{self.origin.model} ({self.origin.output})",
        }
        return summary(f"Contributions: {sizes}", told)

    def __getitem__(self, component: str | Component) -> Float[Tensor, "n d"]:
        """Take the contributions of one component, by its name.

        Raises:
            SpecError: there is none of this name; `select` takes patterns.
        """
        if isinstance(component, Component):
            return self.values[:, self._place(component)]
        names = [c.name for c in self.components]
        if component not in names:
            near = get_close_matches(str(component), names)
            meant = f"did you mean {', '.join(near)}?" if near else f"names look like {_examples(self.components)}"
            raise SpecError(f"there is no component {component!r}; {meant}")
        return self.values[:, names.index(component)]

    def to_dataframe(
        self, library: str = "pandas", *, layout: str = "long", quantities: Sequence[str] = ("norm", "share")
    ) -> Any:
        """Set out contributions as a data frame.

        Args:
            library: `pandas`, `polars` or `pyarrow`.
            layout: `long`, one row for each image and component, image by image: `image` (its place), `component`, the
                key's own fields (`kind`, `block`, `module`, `head`, `token`, `neuron`), and a column for each quantity;
                or `wide`, one row for each image, with a column `QUANTITY.COMPONENT` for each of both.
            quantities: `norm` |c_i|; `share` <c_i, r> / |r|^2 of the sum r over these components: shares of an image
                add up to 1; `vector`, the contribution itself, `(d,)` in a cell.

        Raises:
            SpecError: the library is not installed, or a name is unknown.
        """
        import pyarrow as pa

        from vitdecomp.tables import frames, layouts
        from vitdecomp.tables.quantities import check_quantities

        images = pa.table({"image": pa.array(range(len(self)), type=pa.int64())})
        table = layouts.layout(layout)(self.values, self.components, images, check_quantities(quantities))
        return frames.to_frame(table, library)

    @property
    def dimension(self) -> int:
        """Length of a contribution."""
        return int(self.values.shape[2])

    def basis(self, component: Component) -> None:
        """Return `None`: a component's coefficients are its contributions."""
        self._place(component)

    def coefficients(self, component: Component, rows: range) -> Float[Tensor, "n d"]:
        """Return a component's contributions to consecutive images."""
        return self.values[rows.start : rows.stop, self._place(component)]

    @classmethod
    def joined(cls, parts: Sequence[Contributions]) -> Contributions:
        """Join the images of several batches of one model, one after another.

        Raises:
            InputError: no batch, or batches with other components.
        """
        if not parts or any(part.components != parts[0].components for part in parts):
            raise InputError("only batches with the same components can be joined, and one at least")
        values, error = (torch.cat([getattr(part, name) for part in parts]) for name in ("values", "error"))
        lost = [part.loss for part in parts if part.loss is not None]
        loss = torch.cat(lost) if len(lost) == len(parts) else None
        return replace(parts[0], values=values, error=error, loss=loss)

    def take(self, rows: Sequence[int]) -> Contributions:
        """Take the contributions of some images, in the order asked for."""
        chosen = torch.as_tensor(rows, dtype=torch.long, device=self.values.device)
        of_images = chosen.to(self.error.device)
        loss = None if self.loss is None else self.loss[of_images]
        return replace(self, values=self.values[chosen], error=self.error[of_images], loss=loss)

    def fingerprint(self) -> str:
        """Compute a checksum of the values and the components."""
        return digest([repr((self.components, self.values.shape, self.values.dtype)), *self.values])

    def total(self) -> Float[Tensor, "n d"]:
        """Sum over components: the representation, when no component was left out."""
        return self.values.sum(1)

    def select(self, pattern: str | Iterable[str] | Callable[[Component], bool]) -> Contributions:
        """Keep the components that match a shell pattern (or several, or a predicate), in their order.

        Raises:
            SpecError: no component matches.
        """
        keep = pattern if callable(pattern) else (lambda c: c.matches(pattern))
        rows = [i for i, c in enumerate(self.components) if keep(c)]
        if not rows:
            raise SpecError(f"no component matches {pattern!r}; names look like {_examples(self.components)}")
        kept = tuple(self.components[i] for i in rows)
        return replace(self, values=self.values[:, rows], components=kept)

    def groupby(self, key: str | Key) -> Contributions:
        """Sum the components that share a key: `"block"`, `"module"`, `"kind"` or any function of a component.

        Constants stay on their own under `"block"` and `"module"`: they are never smeared over others.

        Raises:
            SpecError: an unknown key.
        """
        if isinstance(key, str) and key not in _KEYS:
            raise SpecError(f"cannot group by {key!r}; choose one of {', '.join(_KEYS)} or give a function")
        function = _KEYS[key] if isinstance(key, str) else key
        groups: dict[Hashable, list[int]] = {}
        for i, component in enumerate(self.components):
            groups.setdefault(function(component), []).append(i)
        members = [tuple(self.components[i] for i in rows) for rows in groups.values()]
        index = torch.empty(len(self.components), dtype=torch.long, device=self.values.device)
        for g, rows in enumerate(groups.values()):
            index[rows] = g
        shape = (self.values.shape[0], len(groups), self.values.shape[2])
        values = self.values.new_zeros(shape).index_add(1, index, self.values)
        merged = tuple(_merge(str(name), m) for name, m in zip(groups, members, strict=True))
        heir = {c: merged[g] for g, m in enumerate(members) for c in m}
        merged_receivers = {
            heir[c]: tuple(dict.fromkeys(heir[r] for r in receivers if r in heir))
            for c, receivers in self.bias_receivers.items()
            if c in heir and heir[c].is_constant
        }
        return replace(self, values=values, components=merged, bias_receivers=merged_receivers)

    def spread_biases(self) -> Contributions:
        """Share every constant out equally over the components that reach the place where it joins.

        This is the convention of the papers (arXiv 2406.01583, 2310.05916), for comparison with them. The
        total does not change. Constants that join before any component does go to `embed`.
        """
        receivers = {r: None for constant in self.components for r in self.bias_receivers.get(constant, ())}
        everyone = tuple(dict.fromkeys((*self.components, *receivers)))
        row = {c: i for i, c in enumerate(everyone)}
        spread = torch.eye(len(row), dtype=self.values.dtype, device=self.values.device)[: len(self.components)]
        for constant in self.components:
            here = [row[r] for r in self.bias_receivers.get(constant, ())]
            if here:
                spread[row[constant]] = 0
                spread[row[constant], here] = 1 / len(here)
        kept = [c for c in everyone if not self.bias_receivers.get(c)]
        values = torch.einsum("ncd,ck->nkd", self.values, spread[:, [row[c] for c in kept]])
        return replace(self, values=values, components=tuple(kept), bias_receivers={})

    def _place(self, component: Component) -> int:
        try:
            return self.components.index(component)
        except ValueError:
            raise SpecError(
                f"there is no component {component}; names look like {_examples(self.components)}"
            ) from None


def _merge(name: str, members: tuple[Component, ...]) -> Component:
    """Return one component that stands for several; what they do not share is left open."""
    if len(members) == 1:
        return replace(members[0], name=name)
    kinds, blocks, modules = ({getattr(m, f) for m in members} for f in ("kind", "block", "module"))
    return Component(
        name=name,
        kind=kinds.pop() if len(kinds) == 1 else "block",
        block=blocks.pop() if len(blocks) == 1 else None,
        module=modules.pop() if len(modules) == 1 else None,
    )


def _largest(figures: Float[Tensor, " n"]) -> str:
    return f"{float(figures.max()):.1e} at most" if len(figures) else "none"


def _examples(components: tuple[Component, ...], n: int = 3) -> str:
    """List a few names, for an error message."""
    return ", ".join(c.name for c in components[:n]) + (", ..." if len(components) > n else "")
