"""A model of transformers with the weights of its files, and the parameters that these do not fill."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from vitdecomp._utils.hub import first_line
from vitdecomp.errors import SpecError
from vitdecomp_adapters.huggingface.library import SAFE, transformers

# Of several models in a file the one that is meant to be used: the running average of the one that is trained.
AVERAGED = ("teacher", "ema", "model_ema")
FORBIDDEN = ("trust_remote_code", "weights_only", "use_safetensors", "output_loading_info")
TRIES = 4  # ways to rename the parameters of a file


@dataclass(frozen=True, slots=True)
class Renaming:
    """Another beginning for names of parameters in a file.

    Attributes:
        old: what names in the file begin with. new: what they begin with in the model.
    """

    old: str
    new: str

    def __str__(self) -> str:
        taken = f"names in the file begin with {self.old!r}" if self.old else "names in the file lack their beginning"
        return f"{taken}, which was {f'read as {self.new!r}' if self.new else 'taken off'}"

    @property
    def averaged(self) -> bool:
        """Whether the names are those of a running average."""
        return self.old.partition(".")[0] in AVERAGED

    def mapping(self) -> dict[str, str]:
        """Return the same as transformers takes it: a pattern and what stands for it."""
        return {f"^{re.escape(self.old)}": self.new}


@dataclass(frozen=True, slots=True)
class Filled:
    """A model with weights.

    Attributes:
        module: the model.
        unfilled: parameters and buffers that no file filled, with more about it where they are there in another shape.
        unknown: names in the files that the model does not have.
    """

    module: nn.Module
    unfilled: Mapping[str, str]
    unknown: frozenset[str]


def configuration(where: str, spec: str) -> Any:
    """Load the configuration; refuse a repository that brings its own code.

    Raises:
        SpecError: transformers does not know this type of model.
    """
    try:
        return transformers().AutoConfig.from_pretrained(where, **SAFE)
    except ValueError as error:
        raise SpecError(f"{spec} is no model of transformers: {first_line(error)}") from error


def architecture(config: Any) -> Any:
    """Return the class that the configuration names, if it is one for this configuration; else the bare model's.

    A bare model has a pooler whether the files have its weights or not, which the class that was saved may not have.
    """
    library = transformers()
    for name in getattr(config, "architectures", None) or ():
        found: Any = getattr(library, str(name), None)
        is_model = isinstance(found, type) and issubclass(found, library.PreTrainedModel)
        if is_model and found.config_class is type(config):
            return found
    return library.AutoModel


def check_options(options: Mapping[str, Any], spec: str) -> None:
    """Refuse options that could make files run code.

    Raises:
        SpecError: one of these is given.
    """
    for name in FORBIDDEN:
        if name in options:
            raise SpecError(f"{spec}: option {name} cannot be set: leave it out")


def with_weights(where: str, config: Any, renaming: Renaming | None = None, **options: Any) -> Filled:
    """Load the model with the weights of a folder or repository."""
    mapping = {} if renaming is None else {"key_mapping": renaming.mapping()}
    module, info = architecture(config).from_pretrained(
        where,
        config=config,
        output_loading_info=True,
        # A wrong shape would be an error without names; here it counts as a parameter that is not filled.
        **{**options, "ignore_mismatched_sizes": True, **mapping, **SAFE},
    )
    unfilled = dict.fromkeys(info["missing_keys"], "")
    unfilled |= dict(_mismatch(entry) for entry in info["mismatched_keys"])
    return Filled(module.eval(), unfilled, frozenset(info["unexpected_keys"]))


def _mismatch(entry: Any) -> tuple[str, str]:
    """Return a parameter that files hold in another shape; older versions of transformers do not say in which."""
    if isinstance(entry, str):
        return entry, " (of another shape)"
    name, given, needed = entry
    return str(name), f" (of shape {tuple(given)} instead of {tuple(needed)})"


def without_weights(config: Any, **options: Any) -> Filled:
    """Build the model with random weights."""
    found = architecture(config)
    make = found.from_config if found is transformers().AutoModel else found._from_config
    return Filled(make(config, **options).eval(), {}, frozenset())


def renamings(filled: Filled) -> list[Renaming]:
    """Ways to rename what the model does not know so that it may fill what is missing, the likeliest first."""
    ends: dict[str, set[str]] = {}
    for name in filled.unknown:
        for beginning, end in _splits(name):
            ends.setdefault(end, set()).add(beginning)
    votes = Counter[Renaming]()
    for name in filled.unfilled:
        new, end = next((split for split in _splits(name) if split[1] in ends), ("", ""))
        votes.update(Renaming(old, new) for old in ends.get(end, ()))
    ranked = [renaming for renaming, _ in sorted(votes.items(), key=lambda item: (-item[1], item[0].old))]
    return sorted(ranked[:TRIES], key=lambda renaming: not renaming.averaged)


def _splits(name: str) -> list[tuple[str, str]]:
    """Return all beginnings of a name with what follows, the longest rest first; a rest has two parts at least."""
    parts = name.split(".")
    return [("".join(f"{part}." for part in parts[:i]), ".".join(parts[i:])) for i in range(len(parts) - 1)]
