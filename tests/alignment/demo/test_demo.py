"""The steps of the demo that speak, on the models as they were trained."""

import html
import re
from dataclasses import replace

import pytest
import torch
from vitdecomp_alignment import ClipSpace, ClosedForm
from vitdecomp_alignment.demo.cue import cue, told
from vitdecomp_alignment.demo.scores import _finding, scores
from vitdecomp_alignment.demo.search import known_features, search
from vitdecomp_alignment.demo.speech import few, no_texts, speech
from vitdecomp_alignment.demo.tokens import token_pages
from vitdecomp_alignment.demo.words import words
from vitdecomp_alignment.texts import scene_values

from vitdecomp.demo.context import Context, Options
from vitdecomp.demo.story import story
from vitdecomp.demo.subject import decompose
from vitdecomp.demo.world import scenes_world
from vitdecomp.latent import LatentTokens
from vitdecomp.models.prepare import ModelOptions
from vitdecomp.models.preprocessing import preprocessing

N = 400
pytestmark = pytest.mark.xdist_group("demo-words")  # whose models are decomposed once


@pytest.fixture(scope="module")
def context():
    world = scenes_world(N, 5)
    subjects = [decompose(ModelOptions(f"scenes:{name}", device="cpu"), world, N) for name in ("deit", "clip")]
    return Context(Options(), world, tuple(subjects))


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VITDECOMP_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def section(context):
    return words(context)


def rows(section, title):
    return next(block.to_json()["rows"] for block in section.blocks if title in block.title)


def test_every_step_comes_where_it_belongs():
    names = [step.name for step in story()]
    pairs = [("knowledge", "words"), ("words", "scores"), ("retrieval", "search"), ("curves", "cue")]
    assert all(names[names.index(late) - 1] == early for early, late in pairs)


def test_another_model_is_read_in_words_that_it_never_saw(context, section):
    read, itself = rows(section, "Read by words alone")
    assert (read["model"], itself["model"]) == ("scenes:deit", "scenes:clip itself")
    assert "position" not in read  # CLIP cannot tell it itself
    for factor in ("shape", "colour", "location"):
        assert read[factor] > 0.9
    # The same, step by step, for one factor.
    space, subject = ClipSpace("scenes:clip", device="cpu"), context.featured
    seen = space.encode_image(list(context.world.pictures))
    totals = ClosedForm(prior="own").fit(subject.part(0)[0], seen[::2]).transform(subject.part(1)[0]).total()
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


@pytest.mark.parametrize(("correlation", "told"), [(0.9, "much as"), (0.4, "somewhat"), (-0.01, "otherwise than")])
def test_an_order_is_called_what_it_is(context, correlation, told):
    first = speech(context).told[0]
    finding = _finding(first, {first.subject.name: {"shape": correlation, "colour": correlation}})
    assert told in str(finding)


def test_scores_are_the_scorers_and_agree_with_probes(context):
    section = scores(context)
    table = rows(section, "Scores of components of scenes:deit")
    scorer = speech(context).told[0].scorer
    place = {c.name: i for i, c in enumerate(scorer.components_)}
    assert len(table) == 5 * len(scorer.features_)
    for row in table:
        assert [row[f] for f in scorer.features_] == pytest.approx(scorer.scores_[:, place[row["component"]]].tolist())
    deit, clip = rows(section, "Agreement of scores with probes")
    assert all(clip[feature] > 0.5 for feature in scorer.features_)
    assert deit["shape"] > 0.5


def test_search_finds_what_the_words_say(context):
    section = search(context)
    table = {row["feature"]: row for row in rows(section, "Precision@10 of scenes:deit")}
    for feature in ("shape", "colour", "location"):
        assert table[feature]["words, in the feature"] > 0.85
        assert table[feature]["pictures, in the feature"] > table[feature]["pictures, whole"] + 0.1
        assert table[feature]["chance"] < 0.3
    # The same for colours in the whole embedding, step by step.
    known, first = speech(context), speech(context).told[0]
    totals, texts = first.mapped().total(), known.texts["colour"]
    near = torch.nn.functional.normalize(totals - totals.mean(0), dim=1)
    every = torch.cat(list(known.texts.values())).mean(0)
    hits = (near @ (texts - every).T).topk(10, dim=0).indices.T
    labels = torch.from_numpy(first.labels["colour"])
    right = (labels[hits] == torch.arange(len(texts))[:, None]).double().mean()
    assert table["colour"]["words, whole"] == pytest.approx(float(right), abs=0.03)


def test_the_cue_is_taken_out(context, monkeypatch):
    monkeypatch.setattr(f"{cue.__module__}.SEEN", 240)
    for row in rows(cue(context), "before and after"):
        assert row["gain"] == pytest.approx(row["after"] - row["worst group before"])
        assert row["gain"] > 0.1
        assert row["gain"] > row["gain, random components"] + 0.1
        assert row["average after"] > row["average before"] - 0.01


def test_without_labels_general_texts_are_used(context, tmp_path):
    world = replace(context.world, labels={}, values={}, masks=None)
    subject = replace(context.subjects[1], world=world)
    foreign = Context(Options("scenes:clip", tmp_path, clip="scenes:clip"), world, (subject,))
    section = words(foreign)
    assert len(section.blocks) == 1
    assert not section.key
    assert "scenes:clip" in str(section.finding)
    shown = scores(foreign)
    assert [block.title for block in shown.blocks] == ["Scores of components of scenes:clip"]
    assert not shown.key
    assert "not known" in known_features(foreign)
    assert "no words" in told(foreign)


def test_the_reasons_to_be_left_out(context, tmp_path):
    assert no_texts(context) == ""
    assert "--clip" in no_texts(replace(context, options=Options("timm:test_vit", tmp_path)))
    assert few(context) == ""
    assert "40 pictures" in few(replace(context, world=context.world.some(39)))


def test_tokens_of_the_clip_have_a_page(context, tmp_path):
    known = speech(context)
    texts = tuple(known.about.factor_of)
    page = token_pages(context, known.space, texts)["latent.html"]
    page.write(tmp_path / "latent.html")
    written = (tmp_path / "latent.html").read_text(encoding="utf-8")
    assert page.title in written
    assert re.findall(r"<h2 [^>]*>(.*?)</h2>", written) == [html.escape(name) for name in context.world.names[:4]]
    model = known.space.loaded
    images = torch.stack([preprocessing(model)(picture) for picture in context.world.pictures[:4]])
    found = LatentTokens(model).fit(images[:1]).describe(images, texts, known.space)
    assert all(f"{cosine:.3f}</small> <span>{text}</span>" in written for text, cosine in found.words(3, 6, 64))
