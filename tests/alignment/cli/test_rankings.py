"""`vitdecomp rank`, and what scores are worth where the truth is known."""

import json
from contextlib import nullcontext

import numpy as np
import pytest
import torch
from commands import in_process, launched, succeeded
from PIL import Image
from scipy.stats import spearmanr
from vitdecomp_alignment import ClipSpace, ClosedForm
from vitdecomp_alignment.cli.options import count
from vitdecomp_alignment.cli.rank.rankings import RankConfig, rank
from vitdecomp_alignment.clip.contributions import Reading
from vitdecomp_alignment.texts import FEATURE_WORDS, scene_features
from vitdecomp_alignment.texts.feature_words import SETS, read_features

import vitdecomp as vd
from vitdecomp.errors import InputError, SpecError
from vitdecomp.metrics import causal_matrix, component_decodability, feature_precision
from vitdecomp.models.image_loader import Loading
from vitdecomp.models.prepare import ModelOptions, prepare
from vitdecomp.scenes import FACTORS, SceneDataset
from vitdecomp.sources.aligned import Aligned
from vitdecomp.testing import AlignerContract

pytestmark = pytest.mark.xdist_group("rankings")
SEEN = 300  # scenes, of which half teach maps and scores, and half judge
JUDGED = ("shape", "colour", "pattern", "location")  # scenes:deit knows little of size


# On scenes


@pytest.fixture(scope="module")
def world():
    data = SceneDataset(SEEN, 11, "test")
    pictures = [Image.fromarray(picture) for picture in data.arrays(range(SEEN))]
    clip = prepare(ModelOptions("scenes:clip", device="cpu"))
    space = ClipSpace(clip.loaded)
    words = {name: space.encode_text(words) for name, words in scene_features().items()}
    return {"clip": taken_apart(clip, pictures), "deit": deit(pictures, space), "words": words, "labels": data.labels}


def taken_apart(prepared, pictures):
    dec = vd.Decomposer(prepared.loaded).fit(prepared.batch(pictures[:1]))
    parts = [dec.transform(prepared.batch(pictures[i : i + 100])) for i in range(0, len(pictures), 100)]
    values, error = (torch.cat([getattr(part, key) for part in parts]) for key in ("values", "error"))
    return vd.Contributions(values, parts[0].components, error, origin=parts[0].origin)


def deit(pictures, space):
    """Aligned by what the first half taught."""
    c = taken_apart(prepare(ModelOptions("scenes:deit", device="cpu")), pictures)
    aligner = ClosedForm().fit(c.take(range(SEEN // 2)), space.encode_image(pictures[: SEEN // 2]))
    return Aligned(c, aligner).take(range(SEEN))


@pytest.fixture(scope="module", params=["clip", "deit"])
def scored(request, world):
    c, half = world[request.param], SEEN // 2
    scorer = vd.FeatureScorer(bootstrap=0, shuffles=50).fit(c.take(range(half)), world["words"])
    labels = {name: world["labels"][name][half:] for name in world["words"]}
    return scorer, c.take(range(half, SEEN)), labels


def test_scores_follow_what_components_know(scored):
    scorer, judged, labels = scored
    known = component_decodability(judged, labels)
    computed = [not component.is_constant for component in judged.components]
    own, other = [], []
    for row, feature in enumerate(scorer.features_):
        for factor in JUDGED:
            found = spearmanr(scorer.scores_[row, computed], known.of(factor)[computed]).statistic
            (own if factor == feature else other).append(found)
    assert np.mean(own) > 0.5
    assert np.mean(own) > np.mean(other) + 0.2


@pytest.mark.parametrize("by", ["margin", "agreement"])
def test_chosen_components_find_pictures_alike_in_their_feature(scored, by):
    scorer, judged, labels = scored
    chosen = {feature: scorer.top(feature, "auto", by=by) for feature in JUDGED}
    found = feature_precision(judged, labels, chosen, k=5, queries=SEEN)
    assert (found.chosen > found.everything).all()
    assert (found.chosen - found.everything).mean() > 0.2
    for row, factor in enumerate(found.factors):
        assert (np.delete(found.across[:, row], row) < found.chosen[row] - 0.05).all(), factor


def test_scores_of_their_feature_beat_texts_at_random(scored):
    scorer, _, _ = scored
    for row, feature in enumerate(scorer.features_):
        if feature in JUDGED:
            best = [scorer.components_.index(component) for component in scorer.top(feature, 3)]
            assert np.median(scorer.p_value_[row, best]) < 0.05


def test_without_its_components_a_feature_is_lost_before_others(world):
    """On scenes:deit; scenes:clip knows everything in so many places that a fifth of them is not missed."""
    c, half = world["deit"], SEEN // 2
    scorer = vd.FeatureScorer(bootstrap=0, shuffles=0).fit(c.take(range(half)), world["words"])
    chosen = {feature: scorer.top(feature, "auto") for feature in JUDGED}
    found = causal_matrix(c, world["labels"], chosen)
    own = found.drop.diagonal()
    others = (found.drop.sum(1) - own) / (len(JUDGED) - 1)
    assert own.mean() > others.mean() + 0.2
    assert own.mean() > 2 * found.control.mean()


# Words


def test_every_value_has_a_text():
    for factor, words in scene_features().items():
        assert len(words) == len(FACTORS[factor]) == len({*words})
    assert scene_features()["colour"][1] == "something orange"
    assert scene_features()["shape"][-1] == "an arrow"


def test_features_are_asked_for_by_name_words_and_file(tmp_path):
    (tmp_path / "mine.json").write_text(json.dumps({"wood": ["wood"], "metal": ["iron", " gold "]}))
    found = read_features(["location", "tone= dark, bright", str(tmp_path / "mine.json"), "fabric"], "scenes")
    assert found.shown == ("location", "tone", "wood", "metal", "fabric") == tuple(found.words)
    assert found.words["location"] == scene_features()["location"]
    assert found.words["fabric"] == FEATURE_WORDS["fabric"]
    assert found.words["tone"] == ("dark", "bright")
    assert found.words["metal"] == ("iron", "gold")
    assert read_features(["location"], "photographs").words["location"] == FEATURE_WORDS["location"]
    for name, words in SETS.items():
        assert dict(read_features([], name).words) == dict(read_features([name], "scenes").words) == dict(words())


def test_one_feature_is_compared_with_the_others_of_its_set():
    found = read_features(["location=sea,city"], "photographs")
    assert found.shown == ("location",)
    assert found.words["location"] == ("sea", "city")
    assert {*found.words} == {*FEATURE_WORDS}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["locaton"], "no feature 'locaton'; did you mean location"),
        (["tone="], "feature 'tone' needs a name and words"),
        (["=red"], "needs a name and words"),
        (["tone=dark,,bright"], "none of them empty"),
        (["colour", "colour=red,blue"], "feature 'colour' is given twice"),
        (["none.json"], "cannot read features from none.json: No such file"),
    ],
)
def test_words_that_mean_nothing(given, message):
    with pytest.raises((InputError, SpecError), match=message):
        read_features(given, "scenes")


@pytest.mark.parametrize("text", ["[1, 2]", "{}", '{"a": "red"}', '{"a": []}', '{"a": [3]}', "{", '{"a": [""]}'])
def test_files_that_hold_no_features(tmp_path, text):
    (tmp_path / "words.json").write_text(text)
    with pytest.raises(InputError, match=r"words\.json|needs a name and words"):
        read_features([str(tmp_path / "words.json")], "scenes")


def test_a_number_or_auto():
    assert (count("12"), count("auto")) == (12, "auto")
    for wrong in ("0", "-3", "2.5", "all"):
        with pytest.raises(SpecError, match="--top must be a positive number or auto"):
            count(wrong)


# The command


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Pictures, and maps of scenes:deit to scenes:clip."""
    place = tmp_path_factory.mktemp("rankings")
    SceneDataset(40, 3, "test").write(place / "scenes")
    told = ("--clip", "scenes:clip", "--images", "scenes", "--method", "closed-form", "--out", "maps.safetensors")
    run(place, "align", "scenes:deit", *told)
    return place


def run(place, *words, by=in_process, code=0):
    return succeeded(by(place, *words, "--cache", "cache"), code)


def test_rank_an_aligned_model(place):
    words = ("--maps", "maps.safetensors", "--images", "scenes", "--features", "scenes", "--k", "auto", "--quality")
    done = run(place, "rank", "scenes:deit", *words, "--figure", "scores.png", "--json", by=launched)
    told = json.loads(done.stdout)
    assert (told["model"], told["clip"], told["images"]) == ("scenes:deit", "scenes:clip", 40)
    assert list(told["features"]) == list(scene_features())
    for feature in told["features"].values():
        assert 1 <= len(feature["components"]) <= 54
        for row in feature["components"]:
            assert -1 <= row["interval"][0] <= row["interval"][1] <= 1
            assert 0 < row["p_value"] <= 1
            assert not row["component"].startswith(("bias", "const"))
    assert told["quality"]["between_components"] > 0.3
    assert "vectors of scenes:clip" not in done.stderr  # `align` left them in the cache
    with Image.open(place / "scores.png") as picture:
        assert picture.format == "PNG"


def test_rank_a_clip_by_words_of_ones_own(place):
    words = ("--images", "scenes", "--features", "ground=water,snow", "--features", "colour=red,blue", "--k", "2")
    done = run(place, "rank", "scenes:clip", *words, "--choose", "agreement", "--centre", "feature")
    assert "scenes:clip in words of scenes:clip: 40 images, 70 components" in done.stdout
    assert "ground: water, snow" in done.stdout
    assert done.stdout.count("visual.trunk.") == 4
    alone = run(place, "rank", "scenes:clip", "--images", "scenes", "--features", "location", "--k", "1")
    assert "compared with color, texture, animal" in alone.stdout
    assert alone.stdout.count("visual.trunk.") == 1


def _untold(text):
    return nullcontext(lambda done, total: None)


@pytest.mark.parametrize(
    ("asking", "message"),
    [
        ({"by": "margins"}, "by cannot be 'margins'; did you mean margin"),
        ({"scorer": vd.FeatureScorer(center="all")}, "center cannot be 'all'; there are: none, feature, pool"),
        ({"features": ("locaton",)}, "did you mean location"),
    ],
)
def test_settings_are_looked_at_before_anything_is_computed(tmp_path, asking, message):
    whole = RankConfig(**{"reading": Reading(tmp_path / "none"), "scorer": vd.FeatureScorer(), **asking})
    with pytest.raises(SpecError, match=message):
        rank(ModelOptions("scenes:none"), whole, tmp_path, loading=Loading(), stage=_untold)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("scenes:clip", "--features", "locaton"), "no feature 'locaton'; did you mean location"),
        (("scenes:clip", "--k", "many"), "--top must be a positive number or auto, not 'many'"),
        (("scenes:clip", "--k", "99"), "--top 99: there are 54 components that vary"),
        (("scenes:clip", "--choose", "margins"), "by cannot be 'margins'; did you mean margin"),
        (("scenes:clip", "--figure", "nowhere/scores.png"), "there is no directory nowhere"),
    ],
    ids=lambda value: value[-1][:30] if isinstance(value, tuple) else value[:30],
)
def test_what_is_refused(place, words, told):
    before = {path.name for path in place.iterdir()}
    assert told in refusal(in_process(place, "rank", *words, "--images", "scenes", "--cache", "cache"))
    assert {path.name for path in place.iterdir()} == before


def test_too_many_components_are_refused_before_a_model_is_loaded(tmp_path):
    c = AlignerContract().contributions(9)
    able = sum(component.kind != "const" for component in c.components)
    ClosedForm().fit(c, c.total()).save(tmp_path / "m.safetensors")
    Image.new("RGB", (8, 8)).save(tmp_path / "one.png")
    for k, message in (
        (able + 1, f"--top {able + 1}: there are {able} components that vary"),
        (able, "no adapter|library"),
    ):
        reading = Reading(tmp_path, tmp_path / "m.safetensors", "none:clip")
        with pytest.raises(SpecError, match=message):
            rank(
                ModelOptions("none:model"),
                RankConfig(reading, vd.FeatureScorer(), k=k),
                tmp_path,
                loading=Loading(),
                stage=_untold,
            )


def test_a_model_without_texts_needs_maps(place):
    done = run(place, "rank", "scenes:deit", "--images", "scenes", code=2)
    assert "has no texts of its own: give --maps" in refusal(done)


def refusal(done):
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("error: ")
    return last
