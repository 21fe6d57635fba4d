"""The step of the demo that speaks, on the models as they were trained."""

from dataclasses import replace

import pytest
import torch
from vitdecomp_alignment import ClipSpace, ClosedForm
from vitdecomp_alignment.demo import KEPT, few, no_texts, words
from vitdecomp_alignment.texts import scene_values

from vitdecomp.demo.context import Context, Options
from vitdecomp.demo.story import story
from vitdecomp.demo.subject import decompose
from vitdecomp.demo.world import scenes_world
from vitdecomp.prepare import Request

N = 400


@pytest.fixture(scope="module")
def context():
    world = scenes_world(N, 5)
    subjects = [decompose(Request(f"scenes:{name}", device="cpu"), world, N) for name in ("deit", "clip")]
    return Context(Options(), world, tuple(subjects))


@pytest.fixture(scope="module")
def section(context, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VITDECOMP_CACHE", str(tmp_path_factory.mktemp("cache")))
        return words(context)


def rows(section, title):
    return next(block.to_json()["rows"] for block in section.blocks if title in block.title)


def test_the_step_comes_after_what_components_know():
    names = [step.name for step in story()]
    assert names[names.index("words") - 1] == "knowledge"


def test_another_model_is_read_in_words_that_it_never_saw(context, section):
    read, itself = rows(section, "Read by words alone")
    assert (read["model"], itself["model"]) == ("scenes:deit", "scenes:clip itself")
    assert "position" not in read  # CLIP cannot tell it itself
    for factor in ("shape", "colour", "location"):
        assert read[factor] > 0.9
    # The same, step by step, for one factor.
    space, subject = ClipSpace("scenes:clip", device="cpu"), context.featured
    seen = space.encode_image(list(context.world.pictures))
    totals = ClosedForm(keep=KEPT).fit(subject.part(0)[0], seen[::2]).transform(subject.part(1)[0]).total()
    means = torch.stack([space.encode_text(texts).mean(0) for texts in scene_values()["colour"].values()])
    nearest = (totals @ (means / means.norm(dim=1, keepdim=True)).T).argmax(1).numpy()
    assert read["colour"] == pytest.approx((nearest == context.world.labels["colour"][1::2]).mean(), abs=0.01)


def test_words_are_truer_than_chance(section):
    for row in rows(section, "Whether the words are true"):
        assert row["components that know a factor"] > 30
        assert row["named by this factor"] > row["by chance"] + 0.15
    assert section.key["components named rightly"].value == rows(section, "Whether")[0]["named by this factor"]


def test_every_component_that_varies_has_texts(context, section):
    for subject in context.subjects:
        told = {row["component"]: row for row in rows(section, f"components of {subject.name} in words")}
        varying = [c.name for c in subject.contributions.components if not c.is_constant]
        assert list(told) == varying
        assert sum(row["share of the variance"] for row in told.values()) <= 1 + 1e-6
        for row in told.values():
            assert 1 <= len(row["texts"].split(", ")) <= 3
            assert 0 < row["explained by"] <= 1


def test_without_labels_general_texts_are_used(context, tmp_path, monkeypatch):
    monkeypatch.setenv("VITDECOMP_CACHE", str(tmp_path))
    world = replace(context.world, labels={}, values={}, masks=None)
    subject = replace(context.subjects[1], world=world)
    section = words(Context(Options("scenes:clip", tmp_path, clip="scenes:clip"), world, (subject,)))
    assert len(section.blocks) == 1
    assert not section.key
    assert "scenes:clip" in str(section.finding)


def test_the_reasons_to_be_left_out(context, tmp_path):
    assert no_texts(context) == ""
    assert "--clip" in no_texts(replace(context, options=Options("timm:test_vit", tmp_path)))
    assert few(context) == ""
    assert "40 pictures" in few(replace(context, world=context.world.some(39)))
