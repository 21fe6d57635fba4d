"""Step 6: where in a picture the representation reads a factor's value."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from vitdecomp.demo.context import Context
from vitdecomp.demo.figure import Number, Sentence
from vitdecomp.demo.methods import by_method
from vitdecomp.demo.picture import data_uri, masked, overlay
from vitdecomp.demo.section import Gallery, Page, Picture, Row, Section, Table
from vitdecomp.demo.subject import Subject
from vitdecomp.heatmaps.sheet import write_heatmaps
from vitdecomp.metrics import Localisation, localisation

GRID = 8  # patches along a side
FACTORS = ("shape", "colour", "pattern", "location")
PLACE = "location"  # its value lies around the object, not in it
MEASURED, SHOWN = 96, 5  # pictures


def localised(context: Context) -> tuple[Subject, ...]:
    """Choose the models that have a class token and a grid of patches."""
    kinds = ["class", *["patch"] * (GRID * GRID)]
    return tuple(s for s in context.subjects if [token.kind for token in s.dec.tokens_] == kinds)


def heatmaps(context: Context) -> Section:
    """Heatmaps of every factor, and how well they lie where the factor is."""
    subjects = localised(context)
    maps = {s.name: maps_of(s) for s in subjects}
    measured = {s.name: measures_of(s, maps[s.name]) for s in subjects}
    first = subjects[0]
    on_object = [found.mean() for factor, found in measured[first.name].items() if factor != PLACE]
    precision = Number(float(np.mean([mean["average_precision"] for mean in on_object])))
    return Section(
        title="Where it is seen",
        finding=Sentence(
            "The patches from which {model} reads an object’s shape, colour and pattern lie on the object with an "
            "average precision of {found}, against {chance} by chance.",
            {
                "model": first.name,
                "found": precision,
                "chance": Number(on_object[0]["chance"]),
            },
        ),
        blocks=(
            *_galleries(first, maps[first.name], measured[first.name]),
            *(_table(s, measured[s.name], folded=s is not first) for s in subjects),
        ),
        how=Sentence(
            "Direction of a value: the mean representation of its pictures minus the mean of all, from other "
            "pictures than those measured. Heat of a patch: ⟨direction, what all components take from it⟩, on "
            "{n} pictures; the truth is the object’s mask, for the location its surroundings.",
            {"n": Number(len(maps[first.name]), "count")},
        ),
        repeat=context.options.command,
        key={"average precision of heatmaps": precision},
        pages={"heatmaps.html": _page(first)},
    )


def _page(subject: Subject) -> Page:
    """Show the same factors by every method, on the first pictures."""
    world = subject.world
    places = world.examples(_places(subject), SHOWN)
    pictures = [(world.names[i], world.pictures[i]) for i in places]
    sheet = by_method(subject, pictures, _own_directions(subject, places), FACTORS)
    return Page(sheet.title, partial(write_heatmaps, sheet))


def maps_of(subject: Subject) -> Float[Tensor, "n factor 8 8"]:
    """Heatmaps of the own value of each of some pictures, for every factor."""
    places = _places(subject)
    directions = _own_directions(subject, places)
    images = subject.prepared.batch([subject.world.pictures[i] for i in places])
    heat = subject.dec.attribute(images, directions, by="token").sum(2)[..., 1:]  # the class token has no place
    return heat.reshape(*heat.shape[:2], GRID, GRID)


def _own_directions(subject: Subject, places: Sequence[int] | np.ndarray) -> Float[Tensor, "n factor d"]:
    """Return the directions of each picture's own values."""
    return torch.stack([_directions(subject, f)[subject.world.labels[f][places]] for f in FACTORS], 1)


def measures_of(subject: Subject, maps: Float[Tensor, "n factor 8 8"]) -> dict[str, Localisation]:
    """Return how well the heatmaps of every factor lie where it is."""
    masks = _masks(subject)
    return {factor: localisation(maps[:, i], ~masks if factor == PLACE else masks) for i, factor in enumerate(FACTORS)}


def _places(subject: Subject) -> np.ndarray:
    """Return the indices of the images that are measured: odd ones, as the directions come from the even ones."""
    return np.arange(1, len(subject.world), 2)[:MEASURED]


def _masks(subject: Subject) -> np.ndarray:
    masks = subject.world.masks
    assert masks is not None  # a need of this step
    measured: np.ndarray = masks[_places(subject)]
    return measured


def _directions(subject: Subject, factor: str) -> Float[Tensor, "value d"]:
    """For each value, the mean of its pictures' representations minus the mean of all."""
    c, labels = subject.part(0)
    whole, number = c.total(), torch.from_numpy(labels[factor])
    means = [whole[number == value].mean(0) for value in range(len(subject.world.values[factor]))]
    return torch.stack(means).nan_to_num() - whole.mean(0)


def _galleries(
    subject: Subject, maps: Float[Tensor, "n factor 8 8"], measured: dict[str, Localisation]
) -> list[Gallery]:
    masks, galleries = _masks(subject), []
    places = _places(subject)
    for place in subject.world.examples(places, SHOWN):
        row = places.tolist().index(place)
        picture, name = subject.world.pictures[place], subject.world.names[place]
        truth = Picture(data_uri(masked(picture, masks[row])), f"the object's mask: {name}", Sentence("true mask"))
        shown = [Picture(data_uri(picture), name, Sentence("picture")), truth]
        for i, factor in enumerate(FACTORS):
            value = subject.world.value(factor, place)
            caption = Sentence(
                "{factor}: {value}, precision {inside}",
                {"factor": factor, "value": value, "inside": Number(float(measured[factor].average_precision[row]))},
            )
            shown.append(
                Picture(
                    data_uri(overlay(picture, _enlarged(maps[row, i], picture.size))),
                    f"heatmap of {factor} {value} over: {name}",
                    caption,
                )
            )
        galleries.append(Gallery(name, tuple(shown)))
    return galleries


def _enlarged(heat: Float[Tensor, "8 8"], size: tuple[int, int]) -> np.ndarray:
    """Enlarge a heatmap to the size of its image."""
    big: Tensor = torch.nn.functional.interpolate(heat[None, None].double(), size[::-1], mode="bilinear")[0, 0]
    pixels: np.ndarray = big.numpy()
    return pixels


def _table(subject: Subject, measured: dict[str, Localisation], folded: bool) -> Table:
    means = {factor: found.mean() for factor, found in measured.items()}
    columns = tuple(next(iter(means.values())))
    rows = [Row(factor, tuple(Number(mean[column]) for column in columns)) for factor, mean in means.items()]
    return Table(
        f"Heatmaps of {subject.name} against the masks",
        "factor",
        tuple(column.replace("_", " ") for column in columns),
        tuple(rows),
        heat=(0.0, 1.0),
        folded=folded,
    )
