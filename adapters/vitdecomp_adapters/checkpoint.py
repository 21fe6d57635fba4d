"""Weights from a local file: read without running code, matched to a model by name, and checked to be complete."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeAlias, runtime_checkable

from torch import Tensor, nn

from vitdecomp._utils.hub import first_line, quiet
from vitdecomp.errors import LoadError

LOGGER = logging.getLogger("vitdecomp.checkpoint")  # below `vitdecomp`, whose notes commands print
Tensors: TypeAlias = dict[str, Tensor]
COUNTERS = ("num_batches_tracked",)  # of no use in evaluation, and missing in old files
PREFERRED = ("ema", "teacher")  # where several parts of a file fit; methods with a teacher evaluate that one
LISTED = 4  # names in a message
CONVERT = "safetensors.torch.save_file(STATE_DICT, 'weights.safetensors')"


def _as_they_are(tensors: Tensors, module: nn.Module) -> Mapping[str, Tensor]:
    return tensors


def _no_classifier(module: nn.Module, classes: int) -> None:
    return None


@dataclass(frozen=True, slots=True)
class Rules:
    """Say how one of a library's models takes the tensors of a file.

    Attributes:
        convert: names and sizes of other releases to those of the module, such as resampled position embeddings.
        heads: paths of the classifiers, whose number of classes follows from the file.
        set_classes: makes the module's classifiers anew, for so many classes; none for 0.
        spare: whether a parameter has no part in the embedding, and may be missing in a file.
    """

    convert: Callable[[Tensors, nn.Module], Mapping[str, Tensor]] = _as_they_are
    heads: tuple[str, ...] = ()
    set_classes: Callable[[nn.Module, int], None] = _no_classifier
    spare: Callable[[str], bool] = lambda name: False


@runtime_checkable
class KnowsFiles(Protocol):
    """An adapter with rules for files."""

    def rules(self, module: nn.Module) -> Rules:
        """Return the rules for one of its models."""
        ...


@dataclass(frozen=True, slots=True)
class Filled:
    """Tell what became of a file that filled a model.

    Attributes:
        notes: what a user has to know, a sentence each. spared: parameters that it did not hold, nor had to.
    """

    notes: tuple[str, ...]
    spared: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Fit:
    """Tensors beside a module's parameters: which lack a value, a place, or the right shape."""

    tensors: Mapping[str, Tensor]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    misshaped: tuple[str, ...]

    @property
    def problems(self) -> int:
        return len(self.missing) + len(self.unexpected) + len(self.misshaped)

    def __str__(self) -> str:
        counts = (
            ("of the model's parameters are not in it", self.missing),
            ("of its tensors have no place in the model", self.unexpected),
            ("have another shape", self.misshaped),
        )
        return ", ".join(f"{len(names)} {what} ({listed(names)})" for what, names in counts if names)


def fill(module: nn.Module, path: str, spec: str, rules: Rules | None = None) -> Filled:
    """Give a model the weights of a file, in place.

    Args:
        module: a new model that nobody else has yet.
        path: safetensors, or torch's format with nothing but tensors and plain values.
        spec: for messages.
        rules: what the model's library knows of such files.

    Raises:
        LoadError: no file, not readable without running code, or it does not fit; the message names what is amiss.
    """
    rules = rules or Rules()
    tensors = read(path, spec)
    own, notes = _own(tensors, module.state_dict(), Path(path).name)
    fit = _converted(own, tensors, module, rules)
    if not fit.problems and rules.heads:
        rules.set_classes(module, _classes(fit.tensors, rules.heads))
        fit = _compare(fit.tensors, module)
    spared = tuple(name for name in fit.missing if rules.spare(name))
    amiss = _Fit(fit.tensors, tuple(n for n in fit.missing if n not in spared), fit.unexpected, fit.misshaped)
    if amiss.problems:
        other = any("pos" in name.partition(":")[0] for name in amiss.misshaped)
        hint = ". Was it made for another image size (--image-size)?" if other else ""
        raise LoadError(f"checkpoint {path} does not fit {spec}: {amiss}{hint}")
    module.load_state_dict(dict(fit.tensors), strict=False)
    resized = [name for name, tensor in fit.tensors.items() if name in own and own[name].shape != tensor.shape]
    if resized:
        notes.append(f"{listed(resized)} of {Path(path).name} resampled to the image size of the model")
    for note in notes:
        LOGGER.warning("%s: %s", spec, note)
    return Filled(tuple(notes), spared)


def read(path: str, spec: str) -> Tensors:
    """Read the tensors of a file by name; names of nested dictionaries are joined with dots.

    Raises:
        LoadError: it cannot be read without running code from it.
    """
    from safetensors.torch import load_file

    try:
        with quiet():
            found: Any = load_file(path) if path.endswith(".safetensors") else _pickled(path)
    except Exception as error:  # a truncated or foreign file can fail in any way
        raise unusable(path, spec, error) from error
    tensors = dict(_flat(found)) if isinstance(found, Mapping) else {}
    if not tensors:
        raise LoadError(f"checkpoint {path} does not fit {spec}: there are no tensors in it")
    return tensors


def _pickled(path: str) -> Any:
    """Read a pickle by timm's reader, which lets torch make tensors and plain values alone (weights_only)."""
    from timm.models import load_state_dict

    return load_state_dict(path, weights_only=True)


def unusable(path: str, spec: str, error: BaseException) -> LoadError:
    """Make the error for a checkpoint that cannot be read."""
    text, reason = f"{type(error).__name__} {error}", first_line(error)
    if "TorchScript" in text:
        reason = f"it is TorchScript; save the tensors alone, where you trust it: {CONVERT}"
    elif "weights_only" in text or "UnpicklingError" in text:
        reason = f"not safetensors, nor a file of tensors alone; where you trust it, convert it: {CONVERT}"
    return LoadError(f"checkpoint {path} does not fit {spec}: {reason}")


def listed(names: Sequence[str]) -> str:
    """List the first few names."""
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return ", ".join(names[:LISTED]) + more


def _flat(value: Mapping[Any, Any], prefix: str = "") -> Iterator[tuple[str, Tensor]]:
    for key, part in value.items():
        if isinstance(part, Tensor):
            yield f"{prefix}{key}", part
        elif isinstance(part, Mapping):
            yield from _flat(part, f"{prefix}{key}.")


def _own(tensors: Tensors, wanted: Iterable[str], file: str) -> tuple[Tensors, list[str]]:
    """Take the part of a file that is the model's, without the prefix that its names have there; say what was done."""
    prefixes = _prefixes(tensors, set(wanted))
    if not prefixes or "" in prefixes:
        return tensors, []
    prefix, *others = prefixes
    own = {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
    notes = [f"names in {file} begin with {prefix!r}, which was left off"]
    rest = [name for name in tensors if not name.startswith(prefix)]
    if others:
        notes.append(f"the names after {listed([repr(other) for other in others])} in {file} would have fitted too")
    if rest:
        notes.append(f"{len(rest)} other tensors in {file} were not used ({listed(rest)})")
    return own, notes


def _prefixes(names: Iterable[str], wanted: set[str]) -> list[str]:
    """Return the prefixes that fit most names to those that are wanted, the preferred one first."""
    counts: Counter[str] = Counter()
    for name in names:
        parts = name.split(".")
        for i in range(len(parts)):
            if ".".join(parts[i:]) in wanted:
                counts["".join(f"{part}." for part in parts[:i])] += 1
    best = [prefix for prefix, count in counts.items() if count == max(counts.values())]
    return sorted(best, key=lambda prefix: (not any(word in prefix for word in PREFERRED), len(prefix), prefix))


def _converted(own: Tensors, tensors: Tensors, module: nn.Module, rules: Rules) -> _Fit:
    """Take the tensors as they are if they fit, else as the library converts them, whichever fits best."""
    fit = _compare(own, module, rules.heads)
    if not fit.problems:
        return fit
    for candidate in (own, tensors):
        try:
            with quiet():
                other = _compare(rules.convert(dict(candidate), module), module, rules.heads)
        except Exception:  # a file that the library's conversion was not made for fails in any way
            continue
        if other.problems < fit.problems:
            fit = other
    return fit


def _compare(tensors: Mapping[str, Tensor], module: nn.Module, without: Sequence[str] = ()) -> _Fit:
    """Compare names and shapes, except below some paths."""
    skipped = tuple(f"{path}." for path in without)
    wanted = {
        name: t for name, t in module.state_dict().items() if isinstance(t, Tensor) and not name.startswith(skipped)
    }
    given = {name: t for name, t in tensors.items() if not name.startswith(skipped)}
    filled = {wanted[name].data_ptr() for name in given if name in wanted}  # a parameter can have two names
    missing = (n for n, t in wanted.items() if n not in given and t.data_ptr() not in filled)
    shapes = ((n, tuple(t.shape), tuple(wanted[n].shape)) for n, t in given.items() if n in wanted)
    return _Fit(
        tensors,
        tuple(name for name in missing if not name.endswith(COUNTERS)),
        tuple(name for name in given if name not in wanted),
        tuple(f"{name}: {its} in the file, {own} in the model" for name, its, own in shapes if its != own),
    )


def _classes(tensors: Mapping[str, Tensor], heads: Sequence[str]) -> int:
    """Count the classes of a file's classifier; 0 if it has none."""
    return next((len(tensors[f"{head}.weight"]) for head in heads if f"{head}.weight" in tensors), 0)


def path_of(module: nn.Module, part: nn.Module | None) -> tuple[str, ...]:
    """Return the path of a part of a module, as a tuple of one; empty if it is none."""
    return tuple(name for name, each in module.named_modules() if each is part)[:1]
