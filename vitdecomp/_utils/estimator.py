"""What scikit-learn asks of an estimator, without importing it: that takes longer than many a command."""

from __future__ import annotations

from inspect import Parameter, signature
from typing import Any, TypeVar

from vitdecomp.errors import SpecError

Self = TypeVar("Self", bound="Estimator")


class Estimator:
    """Arguments of `__init__` that can be asked for and set by name, so that scikit-learn's `clone` and searches work.

    A subclass keeps each argument under its own name, and does nothing else in `__init__`.
    """

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the arguments by name, in the order of the alphabet.

        Args:
            deep: take the arguments of estimators among them too, as `name__argument`.
        """
        held = {name: getattr(self, name) for name in _arguments(type(self))}
        if deep:
            inner = {name: value for name, value in held.items() if _is_estimator(value)}
            held |= {f"{name}__{key}": v for name, value in inner.items() for key, v in value.get_params().items()}
        return held

    def set_params(self: Self, **params: Any) -> Self:
        """Set arguments by name; `name__argument` sets one of an estimator among them.

        Raises:
            SpecError: there is no such argument; none is set.
        """
        known = self.get_params()
        for name in params:
            if name not in known:
                listed = ", ".join(_arguments(type(self)))
                raise SpecError(f"{type(self).__name__} has no parameter {name!r}; there are: {listed}")
        for name, value in sorted(params.items(), key=lambda item: item[0].count("__")):  # outer before inner
            head, inner, rest = name.partition("__")
            if inner:
                getattr(self, head).set_params(**{rest: value})
            else:
                setattr(self, name, value)
        return self

    def __repr__(self) -> str:
        defaults = _arguments(type(self))
        changed = {
            name: value
            for name, value in self.get_params(deep=False).items()
            if defaults[name] is Parameter.empty or repr(value) != repr(defaults[name])
        }
        return f"{type(self).__name__}({', '.join(f'{name}={_brief(value)}' for name, value in changed.items())})"

    def __sklearn_tags__(self) -> Any:  # pipelines and searches of scikit-learn ask for these
        from sklearn.base import BaseEstimator

        return BaseEstimator.__sklearn_tags__(self)  # pyright: ignore[reportArgumentType] - it reads no more than the class


def _arguments(kind: type[Estimator]) -> dict[str, Any]:
    """Return the arguments of a kind of estimator and their defaults."""
    told = signature(kind).parameters.values()
    return {p.name: p.default for p in sorted(told, key=lambda p: p.name)}


def _is_estimator(value: Any) -> bool:
    return hasattr(value, "get_params") and not isinstance(value, type)


def _brief(value: Any) -> str:
    """Write a value in one line; an array by its shape alone."""
    shape = getattr(value, "shape", None)
    if shape is not None:
        return f"<{type(value).__name__} {tuple(shape)}>"
    text = " ".join(repr(value).split())
    return text if len(text) <= 60 else f"{text[:57]}..."
