"""A session opens what it is told to, and loads nothing that a file names on its own."""

import pytest
import torch
from commands import in_process, succeeded
from vitdecomp_alignment.app.config import SessionConfig
from vitdecomp_alignment.app.names import centers, name_components
from vitdecomp_alignment.app.recipe import command, python
from vitdecomp_alignment.app.sample import SAMPLE, sample
from vitdecomp_alignment.app.session import Session
from vitdecomp_alignment.app.views.table import finite, shown, view_of
from vitdecomp_alignment.clip.contributions import Reading
from vitdecomp_alignment.readout.readout import Readout

from vitdecomp._utils.progress import unseen
from vitdecomp.errors import InputError, SpecError
from vitdecomp.models.prepare import ModelOptions
from vitdecomp.score import FeatureScorer

pytestmark = pytest.mark.xdist_group("alignment-app")


@pytest.fixture(scope="module")
def mapped(place):
    """A session on a store of a model without texts, through maps."""
    common = ("scenes:deit", "--images", "scenes", "--quiet")
    succeeded(in_process(place, "extract", *common, "--out", "deit.lance"))
    align = ("align", *common, "--clip", "scenes:clip", "--out", "deit.safetensors", "--cache", "cache")
    succeeded(in_process(place, *align))
    reading = Reading(store=str(place / "deit.lance"), maps=place / "deit.safetensors", clip="scenes:clip")
    session = Session.of(SessionConfig(ModelOptions, None, reading, folders=(place / "scenes",), cache=place / "cache"))
    yield session
    session.close()


def test_a_store_with_maps_needs_no_model_until_an_image_is_asked_about(mapped):
    assert mapped.options.model == "scenes:deit"
    assert mapped.found.subject is None
    shown(view_of("model", {}), mapped, unseen)
    shown(view_of("search", {"text": "a red thing"}), mapped, unseen)
    assert "subject" not in mapped._made
    shares = shown(view_of("image", {"row": 2}), mapped, unseen)["answer"]["shares"]
    assert sum(shares.values()) == pytest.approx(1, abs=1e-4)
    assert "subject" in mapped._made


def test_names_through_maps_are_what_components_vary_along(mapped):
    component = next(c for c in mapped.components if not c.is_constant)
    found = name_components(mapped, [component], unseen)[component.name]
    assert found["method"] == "variance"
    assert 0 < found["texts"][0]["explained"] <= 1
    answer = shown(view_of("component", {"component": component.name}), mapped, unseen)["answer"]
    assert answer["text"] == found["texts"][0]["text"]


def test_recipes_name_the_store_and_the_maps(mapped):
    line = command(mapped, "search", "--text=x")
    assert line.startswith("vitdecomp search scenes:deit --")
    assert " --maps=" in line
    assert "--store=" in line
    assert "--limit" not in line
    assert "store=" in python(mapped, "pass")


def test_what_a_store_names_is_not_loaded_unless_a_library_defines_it(place, monkeypatch):
    monkeypatch.setattr("vitdecomp_alignment.app.config.is_defined", lambda spec: False)
    with pytest.raises(SpecError, match="what a file names is not loaded: give MODEL yourself"):
        SessionConfig(ModelOptions, None, Reading(store=str(place / "deit.lance"))).options()


def test_images_of_a_store_are_taken_from_folders_that_are_named_alone(mapped, place):
    assert mapped.image(0).size == (64, 64)
    closed = Session(
        SessionConfig(ModelOptions, None, mapped.config.reading, cache=place / "cache"),
        mapped.options,
        mapped.found,
        None,
    )
    with pytest.raises(InputError, match="no folder is named with --image-root"):
        closed.image(0)


def test_a_sample_is_spread_over_all_images():
    assert sample(48) == (range(48),)
    rows = [row for some in sample(50_000) for row in some]
    assert len(set(rows)) == SAMPLE
    assert (rows[0], rows[-1]) == (0, 49_999)


def test_nothing_is_left_behind(session):
    other = Session(session.config, session.options, session.found, session.pictures)
    folder = other.folder
    assert folder.is_dir()
    other.close()
    assert not folder.exists()
    assert torch.is_grad_enabled()


def test_recipes_say_how_the_model_is_loaded(session, place):
    options = ModelOptions("scenes:clip", device="cpu", seed=7, checkpoint=place / "my weights.safetensors")
    other = Session(session.config, options, session.found, session.pictures)
    line = command(other, "search", "--text=x")
    assert f"'--checkpoint={place}/my weights.safetensors' --device=cpu --seed=7 --cache={place}/cache" in line
    code = python(other, "pass")
    assert "ModelOptions('scenes:clip', checkpoint=Path(" in code
    assert "device='cpu', seed=7)" in code
    compile(code, "copied", "exec")


def test_numbers_that_json_lacks_are_left_out():
    assert finite({"a": [1.0, float("nan"), (float("inf"), "b", None, 2)]}) == {"a": [1.0, None, [None, "b", None, 2]]}


@pytest.fixture
def large(session, monkeypatch):
    """Open the same session, where there are more images than are looked at."""
    for module in ("sample", "session"):
        monkeypatch.setattr(f"vitdecomp_alignment.app.{module}.SAMPLE", 40)
    other = Session(session.config, session.options, session.found, session.pictures)
    yield other
    other.close()


def test_measures_of_a_large_store_are_those_of_a_sample_and_say_so(large, session, monkeypatch):
    rows = [row for some in sample(len(large.store)) for row in some]
    assert len(rows) == 40 < len(large.store)
    c = large.store.take(rows)
    norms = shown(view_of("model", {}), large, unseen)["answer"]
    assert (norms["images"], norms["of"]) == (40, 48)
    wanted = dict(zip((x.name for x in c.components), c.values.norm(dim=2).mean(0).tolist(), strict=True))
    assert norms["values"] == pytest.approx(wanted, rel=1e-4)
    scores = shown(view_of("model", {"measure": "score", "feature": "location"}), large, unseen)
    scorer = FeatureScorer(bootstrap=0, shuffles=0).fit(c, large.texts)
    row = dict(zip((x.name for x in c.components), scorer.scores_[scorer.features_.index("location")], strict=True))
    assert scores["answer"]["values"] == pytest.approx(
        {name: row[name] for name in scores["answer"]["values"]}, abs=1e-5
    )
    assert "sample_scorer" in scores["command"]
    monkeypatch.undo()
    whole = shown(view_of("model", {"measure": "score", "feature": "location"}), session, unseen)
    assert (whole["answer"]["images"], whole["answer"]["of"]) == (48, 48)
    assert whole["answer"]["values"] != scores["answer"]["values"]
    assert whole["command"].startswith("vitdecomp rank")


def test_names_of_a_large_store_are_read_from_a_sample_and_say_so(large):
    component = next(c for c in large.components if not c.is_constant)
    result = shown(view_of("component", {"component": component.name}), large, unseen)
    assert (result["answer"]["measured"], result["answer"]["images"]) == (40, 48)
    assert result["command"].startswith("python - <<'END'")
    rows = [row for some in sample(len(large.store)) for row in some]
    labels, texts = large.pool
    wanted = Readout(m=5).fit(
        large.store.take(rows), large.store.embedding()[rows], texts, labels, components=[component]
    )
    assert result["answer"]["names"]["texts"][0]["text"] == wanted.labels_[0][0]
    assert result["answer"]["names"]["texts"][0]["r2"] == pytest.approx(wanted.scores_[0][0], abs=1e-4)


def test_means_on_the_sample_are_those_of_the_mapped_contributions(mapped, session):
    for one in (mapped, session):
        source = one.found.source
        wanted = source.take(range(len(source))).values.double().mean(0)
        assert torch.allclose(centers(one, source.components), wanted, atol=1e-5 * float(wanted.abs().max()))
