"""What the steps report is what the measures give."""

import numpy as np
import pytest
import torch

import vitdecomp as vd
from vitdecomp.ablation import LinearHead
from vitdecomp.demo.figure import Number
from vitdecomp.demo.section import Chart
from vitdecomp.demo.steps.heatmaps import FACTORS, GRID, maps_of
from vitdecomp.demo.story import STEPS, Step, story
from vitdecomp.metrics import causal_matrix, choose, component_decodability, feature_precision, localisation
from vitdecomp.models.prepare import ModelOptions, prepare
from vitdecomp.scenes import FACTORS as FACTORS_OF_SCENES
from vitdecomp.scenes import SceneDataset

pytestmark = pytest.mark.xdist_group("demo")  # which is made once


@pytest.fixture(scope="module")
def direct():
    """The featured model's contributions and labels, without the demo."""
    data = SceneDataset(200, 0, "test")
    prepared = prepare(ModelOptions("scenes:deit", random_weights=True, device="cpu"))
    images = prepared.batch([data[i][0] for i in range(200)])
    c = vd.Decomposer(prepared.loaded).fit(images[:1]).transform(images)
    return c, data.labels, prepared.loaded.representation()(images).detach()


def parts(direct, first):
    c, labels, _ = direct
    half = vd.Contributions(c.values[first::2], c.components, c.error[first::2])
    return half, {factor: labels[factor][first::2] for factor in FACTORS_OF_SCENES}


def table(section, title):
    return next(block for block in section["blocks"] if block["title"].startswith(title))["rows"]


def test_the_steps_are_those_of_the_table(summary):
    assert list(summary["sections"]) == [step.name for step in story()]
    assert summary["left_out"] == {}


def test_the_world_is_the_data_set(summary):
    pictures = summary["sections"]["world"]["blocks"][0]["pictures"]
    assert len(pictures) == 24
    assert pictures[0]["alt"] == SceneDataset(200, 0, "test").captions[0]


def test_the_sum_is_the_model(demo, direct):
    c, _, representation = direct
    subject = demo.context.featured
    torch.testing.assert_close(subject.contributions.values, c.values, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(subject.representation, representation, rtol=1e-4, atol=1e-5)
    assert 0 < demo.key["largest error"].value < 1e-5
    assert demo.key["named parts"].value == sum(len(s.report.components) for s in demo.context.subjects)


def test_shares_of_the_blocks_add_up(summary):
    bars = summary["sections"]["decompose"]["blocks"][1]["bars"]
    assert list(bars) == [*(f"blocks.{i}" for i in range(6)), "constants"]
    assert sum(bars.values()) == pytest.approx(1, abs=1e-5)


def test_knowledge_is_decodability(summary, direct):
    known = component_decodability(*parts(direct, 0))
    rows = table(summary["sections"]["knowledge"], "All components of scenes:deit")
    expected = {k.name: known.scores[i] for i, k in enumerate(known.components) if not k.is_constant}
    assert [row["component"] for row in rows] == list(expected)
    for row in rows:
        np.testing.assert_allclose([row[f] for f in known.factors], expected[row["component"]], atol=0.05)


def test_retrieval_and_ablation_are_measured_on_other_pictures(demo, direct):
    subject = demo.context.featured
    chosen = choose(subject.knowledge, 6)
    assert chosen == subject.chosen
    c, labels = parts(direct, 1)
    few = {factor: chosen[factor] for factor in ("shape", "colour", "pattern", "location")}
    precision = feature_precision(c, labels, few)
    assert demo.key["precision@10 by factor"].value == pytest.approx(precision.chosen.mean(), abs=0.01)
    found = causal_matrix(c, labels, choose(subject.knowledge, 24))
    assert demo.key["selectivity of ablation"].value == pytest.approx(found.selectivity.mean(), abs=0.02)


def test_heatmaps_add_up_to_what_the_patches_give(demo):
    """All tokens together make the dot product with the representation, but for the constants."""
    subject = demo.context.featured
    maps = maps_of(subject)
    assert maps.shape == (96, len(FACTORS), GRID, GRID)
    world = subject.world
    even = subject.contributions.total()[::2]
    value = world.labels["colour"][1]
    direction = even[torch.from_numpy(world.labels["colour"][::2] == value)].mean(0) - even.mean(0)
    image = subject.prepared.batch([world.pictures[1]])
    tokens = subject.dec.attribute(image, direction[None], by=("head", "token"))[0, 0, :, 1:].sum(0)
    torch.testing.assert_close(maps[0, 1].flatten(), tokens, rtol=1e-3, atol=1e-5)


def test_localisation_is_measured_against_the_masks(demo, summary):
    subject = demo.context.featured
    masks = subject.world.masks[1::2][:96]
    rows = table(summary["sections"]["heatmaps"], "Heatmaps of scenes:deit")
    maps = maps_of(subject)
    for i, row in enumerate(rows):
        expected = localisation(maps[:, i], ~masks if row["factor"] == "location" else masks).mean()
        assert row["average precision"] == pytest.approx(expected["average_precision"])
        assert row["chance"] == pytest.approx(expected["chance"])


def test_heatmaps_are_for_models_whose_tokens_lie_on_a_grid(summary):
    titles = [block["title"] for block in summary["sections"]["heatmaps"]["blocks"]]
    assert not any("swin" in title for title in titles)


def test_layers_are_taken_away_as_the_ablation_does_it(demo, summary):
    chart = table_of(summary, "curves", "Reading the shape from scenes:deit")
    subject = demo.context.featured
    (learned, known), (seen, truth) = subject.part(0), subject.part(1)
    head = LinearHead.fit(learned.total(), known["shape"], 10)
    cleaned = vd.Ablator("blocks.5.*").fit(learned).transform(seen)
    for step, vectors in enumerate((seen.total(), cleaned.total())):
        right = float((head(vectors).argmax(1).numpy() == truth["shape"]).mean())
        assert chart["from the last layer"][step] == pytest.approx(right, abs=0.011)  # one picture may lie on a border
    assert {len(line) for line in chart.values()} == {7}


def table_of(summary, step, title):
    return next(block["lines"] for block in summary["sections"][step]["blocks"] if block["title"] == title)


def test_a_chart_is_drawn_over_the_whole_width():
    chart = Chart("title", "across", "up", (("line", (Number(1.0), Number(0.5), Number(0.0))),))
    assert chart.points(chart.lines[0][1], 100, 10) == "0.0,0.0 50.0,5.0 100.0,10.0"
    assert chart.points((Number(0.25),), 100, 10) == "0.0,7.5"


def test_a_plugins_step_may_follow_another_plugins(monkeypatch):
    late, early = (Step(n, n, lambda _: None, after=after) for n, after in (("late", "early"), ("early", "world")))
    monkeypatch.setattr("vitdecomp.demo.story.offered", lambda group: ({"late": late, "early": early}, {}))
    assert [step.name for step in story()][:4] == ["world", "early", "late", "decompose"]


def test_a_step_that_cannot_be_imported_is_left_out_and_named(monkeypatch, caplog):
    broken = vd.LoadError("plug-in 'late' cannot be imported")
    monkeypatch.setattr("vitdecomp.demo.story.offered", lambda group: ({}, {"late": broken}))
    assert story() == STEPS
    assert caplog.messages == [str(broken)]
