"""The experiment of cue removal, where the cue's component is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import vitdecomp as vd
from vitdecomp.ablation import Labelled, LinearHead, Plan, debias
from vitdecomp.ablation.choice import choose_k, disagreeing, held_out, worst_losses

PARTS = tuple(vd.Component(f"b.attn.head.{i}", "attn", "b") for i in range(5))


def made(n: int, tie: float, seed: int) -> tuple[Labelled, np.ndarray]:
    """Head 0 and 1 carry a cue, head 2 the class, the others noise; the cue goes with the class in a share `tie`."""
    source = np.random.default_rng(seed)
    labels = source.integers(0, 2, n)
    cue = np.where(source.random(n) < tie, labels, 1 - labels)
    values = 0.5 * torch.from_numpy(source.standard_normal((n, 5, 4)))
    for place in (0, 1):
        values[:, place, 0] += torch.from_numpy(cue * 2.0 - 1)
    values[:, 2, 1] += torch.from_numpy(labels * 2.0 - 1)
    c = vd.Contributions(values, PARTS, torch.zeros(n, dtype=torch.float64))
    return Labelled(c, labels, 2 * labels + cue), cue


TRAIN, TEST = made(800, 0.95, 0), made(800, 0.5, 1)[0]
CUE = TRAIN[0].source.take(range(800)).total()[:, :1].numpy()


def test_the_worst_group_gains_and_controls_do_not():
    runs = debias(TRAIN[0], TEST, PARTS, Plan(k=2, seeds=2), others={"others": PARTS[::-1]})
    for run in runs:
        assert [c.name for c in run.components] == ["b.attn.head.0", "b.attn.head.1"]
        assert run.after.worst > run.before.worst + 0.1
        assert run.after.average >= run.before.average - 0.01
        assert run.controls["others"][0].worst < run.before.worst + 0.02
        assert len(run.controls["random"]) == 10
        assert sorted(run.before.groups) == [0, 1, 2, 3]
    assert runs[0].before != runs[1].before  # another share of the images


def test_before_and_after_are_what_ablator_and_head_say():
    run = debias(TRAIN[0], TEST, PARTS, Plan(k=2, share=1.0, seeds=1))[0]
    head = LinearHead.fit(TRAIN[0].source.take(range(800)).total(), TRAIN[0].labels, 2)
    left = vd.Ablator(PARTS[:2]).fit(TRAIN[0].source).transform(TEST.source.take(range(800))).total()
    right = head(left).argmax(1).numpy() == TEST.labels
    assert run.after.average == pytest.approx(right.mean())
    assert run.after.groups[1] == pytest.approx(right[TEST.groups == 1].mean())


def test_the_number_of_components_is_found_without_groups():
    disagree = disagreeing(CUE, TRAIN[0].labels)
    truth = TRAIN[1] != TRAIN[0].labels
    assert (disagree & truth).sum() / truth.sum() > 0.8  # most of the hidden groups are found
    blind = Labelled(TRAIN[0].source, TRAIN[0].labels, np.zeros(800, dtype=np.int64))
    run = debias(blind, TEST, PARTS, Plan(k="auto", seeds=1), cue=CUE)[0]
    assert [c.name for c in run.components] == ["b.attn.head.0", "b.attn.head.1"]


def test_the_choice_never_takes_the_class():
    ablator = vd.Ablator(PARTS).fit(TRAIN[0].source)
    found = held_out(TRAIN[0].source, TRAIN[0].labels, ablator)
    disagree = TRAIN[1] != TRAIN[0].labels
    losses = worst_losses(found, PARTS, TRAIN[0].labels, disagree)
    assert losses[2] == losses.min()
    assert losses[3] > losses[2] + 0.1
    assert choose_k(found, PARTS[2:], TRAIN[0].labels, disagree) == 0


def test_without_disagreement_nothing_can_be_chosen():
    train, cue = made(400, 1.0, 2)
    with pytest.raises(vd.InputError, match=r"disagree on 0 of 320.*give --top N"):
        debias(train, TEST, PARTS, Plan(k="auto", seeds=1), cue=cue[:, None].astype(np.float64))
    with pytest.raises(vd.InputError, match="needs cue="):
        debias(train, TEST, PARTS, Plan(k="auto", seeds=1))


def test_a_refitted_head_and_a_subspace():
    x = torch.eye(4, dtype=torch.float64)[:1]
    for plan in (Plan(k=2, refit=True, seeds=1), Plan(k=2, directions=x, seeds=1)):
        run = debias(TRAIN[0], TEST, PARTS, plan)[0]
        assert run.after.worst > run.before.worst + 0.1
    elsewhere = run.controls["random directions"]
    assert len({one.worst for one in elsewhere}) == 3
    assert all(one.worst < run.after.worst - 0.05 for one in elsewhere)


def test_a_head_that_is_there_already():
    head = LinearHead(torch.tensor([[-1.0, -1, 0, 0], [1, 1, 0, 0]]), torch.zeros(2))
    runs = debias(TRAIN[0], TEST, PARTS, Plan(k=2, seeds=2), head=head)
    assert runs[0].before == runs[1].before
    assert runs[0].after.worst > runs[0].before.worst + 0.1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"value": "class-mean"}, "class means would need the classes"),
        ({"share": 0.0}, "share"),
        ({"seeds": 0}, "seeds"),
        ({"strength": -1.0}, "strength"),
    ],
)
def test_plans_that_mean_nothing(settings, message):
    with pytest.raises(vd.SpecError, match=message):
        Plan(**settings)


def test_too_many_components():
    with pytest.raises(vd.InputError, match="k = 6, but there are 5"):
        debias(TRAIN[0], TEST, PARTS, Plan(k=6))
