"""Ablation curves: every point is what an Ablator and the head say, in every order."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import vitdecomp as vd
from vitdecomp.ablation import LinearHead, Steps, ablation_curves, draw_curves

PARTS = tuple(
    vd.Component(f"b.{block}.{part}", kind, f"b.{block}")
    for block in range(3)
    for part, kind in (("attn.head.0", "attn"), ("attn.head.1", "attn"), ("mlp", "mlp"))
)
ALL = (*PARTS, vd.Component("embed", "embed"), vd.Component("bias.norm", "const"))


def made(n: int = 200, seed: int = 0):
    """Two classes that only block 2 tells; the others are noise."""
    source = torch.Generator().manual_seed(seed)
    labels = np.arange(n) % 2
    values = 0.3 * torch.randn(n, len(ALL), 5, generator=source)
    values[:, 6:9, 0] += torch.from_numpy(labels * 2.0 - 1)[:, None]
    return vd.Contributions(values, ALL, torch.zeros(n, dtype=torch.float64)), labels


@pytest.fixture(scope="module")
def setting():
    (train, labels), (test, truth) = made(), made(seed=1)
    return train, test, truth, LinearHead.fit(train.total(), labels, 2)


@pytest.mark.parametrize("unit", ["layer", "component"])
@pytest.mark.parametrize("value", ["mean", "zero", "resample"])
def test_every_point_is_an_ablation(setting, unit, value):
    train, test, truth, head = setting
    for curve in ablation_curves(train, test, truth, head, Steps(unit, value=value, draws=1)):
        gone = []
        for step, accuracy in enumerate(curve.accuracy):
            if step:
                name = curve.units[step - 1]
                gone += [c for c in PARTS if c.block == name] if unit == "layer" and name != "embed" else [name]
            left = vd.Ablator(gone, value="zero").fit(train).transform(test)
            if value != "zero" and gone:
                # resampling draws one image for all components, so the ablator must hold all that curves do
                members = [c for c in ALL if not c.is_constant and (unit == "component" or c.block)]
                whole = vd.Ablator(members, value=value).fit(train)
                names = [g if isinstance(g, str) else g.name for g in gone]
                removed = whole.removed(test)[:, [c.name in names for c in whole.components_]].sum(1)
                expected = head(test.total() - removed)
            else:
                expected = head(left.total())
            assert accuracy == pytest.approx(float((expected.argmax(1).numpy() == truth).mean()), abs=0.011)


def test_orders(setting):
    train, test, truth, head = setting
    curves = {curve.order: curve for curve in ablation_curves(train, test, truth, head, Steps(draws=4))}
    assert curves["last"].units == ("b.2", "b.1", "b.0")
    assert curves["first"].units == ("b.0", "b.1", "b.2")
    assert curves["score"].units[0] == "b.2"  # where the class is
    assert curves["last"].accuracy[0] > 0.95
    assert curves["last"].accuracy[1] < 0.75
    assert curves["first"].accuracy[2] > 0.95
    assert max(curves["random"].deviation) > 0
    assert max(curves["first"].deviation) == 0
    for curve in curves.values():
        assert curve.accuracy[0] == curves["last"].accuracy[0]


def test_a_figure_has_a_line_for_each_model_in_each_panel(setting):
    train, test, truth, head = setting
    curves = ablation_curves(train, test, truth, head, Steps(draws=2))
    figure = draw_curves({"one": curves, "two": curves})
    assert [axes.get_title() for axes in figure.axes] == [f"order: {c.order}" for c in curves]
    for axes, curve in zip(figure.axes, curves, strict=True):
        assert len(axes.get_lines()) == 2
        assert axes.get_lines()[0].get_ydata() == pytest.approx(curve.accuracy)


def test_steps_that_mean_nothing(setting):
    with pytest.raises(vd.SpecError, match="did you mean layer"):
        Steps("layers")
    with pytest.raises(vd.SpecError, match="did you mean last"):
        Steps(orders=("lst",))
    train, test, truth, head = setting
    only = train.select("embed")
    with pytest.raises(vd.InputError, match="no layer to take away"):
        ablation_curves(only, test.select("embed"), truth, head, Steps())


def test_a_head_knows_its_classes():
    c, labels = made()
    head = LinearHead.fit(c.total(), labels, 2)
    assert (head(c.total()).argmax(1).numpy() == labels).mean() > 0.95
    with pytest.raises(vd.InputError, match="none of class 2"):
        LinearHead.fit(c.total(), labels, 3)
    named = LinearHead.named(torch.eye(3), None, ("cat, tom", "Dog", "cow"), ("dog", "cat"))
    assert torch.equal(named.weight, torch.eye(3)[[1, 0]])
    with pytest.raises(vd.SpecError, match="no class 'cart'; did you mean cat"):
        LinearHead.named(torch.eye(3), None, ("cat", "dog", "cow"), ("cart",))
