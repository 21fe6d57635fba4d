"""`explain`: from a model, images and directions to heatmaps."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from vitdecomp._utils.modes import neutral
from vitdecomp.component import matching
from vitdecomp.decompose import Decomposer
from vitdecomp.errors import InputError, LoadError, SpecError
from vitdecomp.heatmaps.directions import Asked, Reader
from vitdecomp.heatmaps.explainer import EXPLAINERS, Explainer, explainers, make_explainer
from vitdecomp.heatmaps.gate_gap import gap_gates, gate_gap
from vitdecomp.heatmaps.heatmaps import Heatmaps
from vitdecomp.heatmaps.methods.from_attention import FromAttention, explain_together
from vitdecomp.heatmaps.shifts import offsets, put_together
from vitdecomp.heatmaps.subject import Subject
from vitdecomp.models.adapter import LoadedModel
from vitdecomp.models.loaded_model import EncodeText, TextEncoder, as_encoder
from vitdecomp.sources.aligner import Aligner


def explain(  # noqa: PLR0913 - one for each setting
    model: nn.Module | LoadedModel | Decomposer | str,
    images: Tensor,
    directions: Asked,
    method: str = "decompose",
    *,
    components: str | Collection[str] | None = None,
    aligner: Aligner | None = None,
    encode_text: EncodeText | TextEncoder | None = None,
    shifts: int = 1,
    gap: bool = False,
    labels: Sequence[str] = (),
    **settings: Any,
) -> Heatmaps:
    """Show where in each image, or other input, the score of each direction comes from.

    Args:
        model: a spec, a module, a `LoadedModel`, or a fitted `Decomposer`, which saves the time to trace.
        images: `(n, channels, height, width)`, as the model takes them; or other inputs, such as videos `(n, frames,
            channels, height, width)`, spectrograms `(n, time, frequency)` or volumes `(n, channels, depth, ...)`.
        directions: vectors in the representation's space, `(direction, d)`, or for each image `(n, direction, d)`;
            or texts, where the model or `encode_text` reads them, else names of classes; numbers of classes; pairs
            `(a, b)` for the difference a - b. A list of n lists has directions of its own for each image. Texts
            become unit vectors.
        method: one of `explainers()`.
        components: patterns of names, such as `"blocks.5.attn.*"`, for `decompose` and `value`.
        aligner: maps into another space, such as CLIP's, in which the directions lie.
        encode_text: gives texts vectors there: a function, or an object with such a method, such as `ClipSpace`.
        shifts: 1, or 4, 9, ...: the mean over images shifted by halves (thirds, ...) of a patch in both axes, on a grid
            that is finer in proportion. Images are shifted cyclically, so that maps still add up; not for videos.
        gap: measure the gate gap too, for one more forward and two backward passes a direction.
        labels: of the directions, for figures; by default the texts and classes.
        settings: of the method.

    Returns:
        Maps with `values` of shape `(n, direction, height, width)`, or along the axes of the input that patches lie
        along, such as `(n, direction, frames, height, width)`.

    Raises:
        SpecError: no such method, setting, component or class; a text that nobody reads; or the method has no meaning
            for the model.
        InputError: images or directions that do not fit the model.
        InexactError: a map that should add up to its score does not.
    """
    return explain_each(
        model,
        images,
        directions,
        {method: settings},
        components=components,
        aligner=aligner,
        encode_text=encode_text,
        shifts=shifts,
        gap=gap,
        labels=labels,
    )[method]


def explain_each(  # noqa: PLR0913 - one for each setting
    model: nn.Module | LoadedModel | Decomposer | str,
    images: Tensor,
    directions: Asked,
    methods: Collection[str] | Mapping[str, Mapping[str, Any]],
    *,
    components: str | Collection[str] | None = None,
    aligner: Aligner | None = None,
    encode_text: EncodeText | TextEncoder | None = None,
    shifts: int = 1,
    gap: bool = False,
    labels: Sequence[str] = (),
) -> dict[str, Heatmaps]:
    """Explain by several methods, as `explain` does.

    `methods` are names of explainers, or these with the settings of each.
    """
    known = methods if isinstance(methods, Mapping) else {name: {} for name in methods}
    made = {name: make_explainer(name, settings) for name, settings in known.items()}
    parts = offsets(shifts)
    decomposer = model if isinstance(model, Decomposer) else Decomposer(model).fit(images[:1])
    images = decomposer.checked(images)
    patterns = None if components is None else (components,) if isinstance(components, str) else tuple(components)
    if patterns is not None:
        _check_components(made, patterns, decomposer)
    with neutral(images):
        reader = Reader(decomposer, aligner, as_encoder(encode_text))
        asked = reader.directions(directions, images)
        if labels and len(labels) != len(asked):
            raise InputError(f"{len(labels)} labels for {len(asked)} directions")
        asked = replace(asked, labels=tuple(labels) or asked.labels)
        subject = Subject(decomposer, images, asked, patterns)
        gates = [gate for each in made.values() for gate in each.gates(subject)]
        subject = replace(subject, gates=(*gates, *(gap_gates(subject) if gap else ())))
        found = [_explained(made, subject.shifted(rows, columns), gap) for rows, columns in parts]
        return {name: put_together([each[name] for each in found], subject.grid.size) for name in made}


def _explained(made: Mapping[str, Explainer], subject: Subject, gap: bool) -> dict[str, Heatmaps]:
    """Explain a batch in portions, each by one run of the model for all methods."""
    most = min((each.images_at_once(subject) for each in made.values()), default=len(subject.images))
    found = [_by_each(made, portion, gap) for portion in subject.portions(most)]
    return {name: Heatmaps.joined([each[name] for each in found], len(subject.images)) for name in made}


def _by_each(made: Mapping[str, Explainer], subject: Subject, gap: bool) -> dict[str, Heatmaps]:
    together = {name: each for name, each in made.items() if isinstance(each, FromAttention)}
    found, subject = explain_together(together, subject)
    maps = {name: found[name] if name in found else each.explain(subject) for name, each in made.items()}
    return gate_gap(subject, maps) if gap else maps


def _check_components(made: Mapping[str, Explainer], patterns: tuple[str, ...], decomposer: Decomposer) -> None:
    """Raise `SpecError` where a pattern matches nothing, or a method explains all components or none."""
    matching(decomposer.components_of("head"), patterns)
    for name, each in made.items():
        if not each.takes_components:
            able = " and ".join(known for known in explainers() if EXPLAINERS[known].takes_components)
            raise SpecError(f"{name} explains the whole representation: components= is for {able}")


def refusals(methods: Iterable[str], make: Callable[[str], object]) -> dict[str, str]:
    """Find the methods that have no meaning for a model, or whose package is not installed, and why.

    Args:
        methods: names.
        make: makes the maps of one image by one of them.
    """
    found = {}
    for method in methods:
        try:
            make(method)
        except (LoadError, SpecError) as error:
            found[method] = str(error)
    return found
