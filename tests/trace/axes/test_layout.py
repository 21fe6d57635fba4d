"""Layouts factor axes and put them back, and models say by which evidence they were found."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from vitdecomp.trace.axes.layout import LABELS, Axis, Layout

IMAGES = 2


@st.composite
def layouts(draw: st.DrawFn) -> Layout:
    """One factor of images among factors of any labels, on a few axes."""
    others = draw(st.lists(st.tuples(st.sampled_from(LABELS[1:]), st.integers(1, 3)), max_size=4))
    factors = draw(st.permutations([(Axis.IMAGE, -1), *others]))
    ends = sorted(draw(st.lists(st.integers(0, len(factors)), max_size=3)))
    bounds = zip([0, *ends], [*ends, len(factors)], strict=True)
    return Layout(tuple(tuple(factors[a:b]) for a, b in bounds))


@given(layouts())
def test_a_layout_undoes_itself(layout: Layout) -> None:
    sizes = [torch.Size([IMAGES if s < 0 else s for _, s in axis]).numel() for axis in layout.factors]
    x = torch.arange(torch.Size(sizes).numel()).reshape(sizes)
    canonical = layout.canonical(x, IMAGES)
    assert canonical.shape == (IMAGES, *(layout.count(label) for label in LABELS[1:]))
    assert torch.equal(layout.native(canonical, IMAGES), x)
    assert torch.equal(layout.canonical(torch.stack([x, 2 * x]), IMAGES), torch.stack([canonical, 2 * canonical]))


def test_windows_beside_images_are_tokens() -> None:
    layout = Layout((((Axis.IMAGE, -1), (Axis.TOKEN, 4)), ((Axis.HEAD, 3),), ((Axis.TOKEN, 5),), ((Axis.CHANNEL, 7),)))
    x = torch.randn(IMAGES * 4, 3, 5, 7)
    canonical = layout.canonical(x, IMAGES)
    assert canonical.shape == (IMAGES, 3, 20, 7)
    assert torch.equal(canonical[1, 2, 5 * 3 + 4], x[4 + 3, 2, 4])
    assert (layout.axes(Axis.TOKEN), layout.axes(Axis.HEAD)) == ({0, 2}, {1})


def test_labels_are_the_letters_that_files_hold() -> None:
    read = Layout(((("n", -1),), (("h", 2),), (("t", 3),), (("w", 4),)))  # type: ignore[arg-type]
    assert read == Layout((((Axis.IMAGE, -1),), ((Axis.HEAD, 2),), ((Axis.TOKEN, 3),), ((Axis.CHANNEL, 4),)))
    assert [read.count(label) for label in LABELS[1:]] == [2, 3, 4]
