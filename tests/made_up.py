"""Contributions that are made up so that every way of encoding them occurs."""

import torch

import vitdecomp as vd
from vitdecomp.datasets import Picture
from vitdecomp.store.lock import locked
from vitdecomp.store.metadata import Metadata
from vitdecomp.store.rows import Chunk, rows_of
from vitdecomp.store.staging import Staging
from vitdecomp.store.writer import StoreWriter
from vitdecomp.testing import AlignerContract

D, SIZE = 16, 5  # dimensions; images that are written together
NAMES = ("head.0", "head.1", "mlp", "bias", "const", "zero", "late")
COMPONENTS = tuple(vd.Component(name, "attn" if "head" in name else "other") for name in NAMES)


def metadata(precision="float16", **changes):
    plain = {"model": "a:b", "weights": "w", "preprocessing": "p", "output": "embedding", "by": "head"}
    sizes = {"through": None, "dtype": "float32", "dimension": D, "components": COMPONENTS}
    return Metadata(**{**plain, **sizes, "precision": precision, **changes})


def values(rows):
    """Contributions to some images: of few and of all dimensions, constant, zero, and one that begins to vary late."""
    maps = torch.randn(3, D, D, generator=torch.Generator().manual_seed(0))
    found = torch.zeros(len(rows), len(NAMES), D)
    for place, row in enumerate(rows):
        x = torch.randn(4, D, generator=torch.Generator().manual_seed(row + 1))
        found[place, 0] = x[0, :4] @ maps[0, :4]
        found[place, 1] = x[1, : 3 + row // 20] @ maps[1, : 3 + row // 20]
        found[place, 2] = x[2]
        found[place, 3] = (1 + 0.1 * x[3, 0]) * maps[2, 0]
        found[place, 4] = maps[2, 1]
        found[place, 6] = x[3, 1] * maps[2, 2] if row >= 30 else 0
    return found


def chunk(rows):
    return Chunk(
        pictures=[Picture(f"{row}.png", "cat" if row % 2 else None, {"place": "water"}) for row in rows],
        paths=[f"/photos/{row}.png" for row in rows],
        digests=[f"d{row}" for row in rows],
        values=values(rows),
        error=torch.full((len(rows),), 1e-7, dtype=torch.float64),
    )


def write_pairs(place, n):
    """Such a store, with vectors of a CLIP, `made:clip`, that are not quite what any map makes of its contributions."""
    c = AlignerContract().contributions(n)
    noise = torch.randn(n, 8, generator=torch.Generator().manual_seed(5))
    vd.Store(write_made(place, c)).add_vectors("made:clip", AlignerContract().target(c) + noise)


def write_made(place, c, digests=None):
    """A store of contributions of a model that nobody can load, `random:made`."""
    names = [f"{row}.png" for row in range(len(c))]
    own = metadata("float32", model="random:made", dimension=c.dimension, components=c.components)
    with locked(str(place)):
        writer = StoreWriter(str(place))
        writer.write(own, Chunk([Picture(name) for name in names], names, digests or names, c.values, c.error))
        writer.finish()
    return place


def flip(path, place, bit=0):
    """Flip one bit of a file."""
    with path.open("r+b") as file:
        file.seek(place)
        old = file.read(1)[0]
        file.seek(place)
        file.write(bytes([old ^ (1 << bit)]))


def write(place, starts, size=10, precision="float16", finish=True):
    """Write rows in chunks, each process anew."""
    writer = StoreWriter(str(place))
    for start in starts:
        writer.write(metadata(precision), chunk(range(start, start + size)))
    if finish:
        writer.finish()


def go_on(place, n):
    """Write what is missing of n rows, five at a time."""
    with locked(place):
        writer = StoreWriter(place)
        for start in range(len(writer), n, 5):
            writer.write(metadata(), chunk(range(start, start + 5)))
        writer.finish()


def begin(place, precision="float16"):
    """What the first process writes before the others come."""
    writer = StoreWriter(str(place))
    writer.write(metadata(precision), chunk(range(SIZE)))
    staging_of(place).start(3)


def staging_of(place):
    return Staging(str(place), StoreWriter(str(place)).images)


def work(place, starts, precision="float16", number=0):
    """What a process does with its share, with the encodings that it finds."""
    writer, staging = StoreWriter(str(place)), staging_of(place)
    for start in starts:
        rows = rows_of(metadata(precision), chunk(range(start, start + SIZE)), writer.encodings())
        staging.record(staging.own(number), start, rows)


def end(place):
    """What the first process does when the others are done."""
    writer = StoreWriter(str(place))
    Staging(str(place), writer.images).merge_into(writer)
    writer.finish()
    return vd.Store(place)
