"""Latent tokens on scenes, and what they cost: one small real run each."""

from __future__ import annotations

import json
from pathlib import Path

import attribute_worlds
import latent_attribute
import latent_faithfulness
import latent_scenes
import latent_swap
import latent_time
import latent_typographic
import named_regions
import pytest
import reading_clip
import torch
import typer
import typographic_worlds
from typer.testing import CliRunner

from vitdecomp.latent import Smoothing


def test_tokens_name_what_lies_under_them(tmp_path: Path) -> None:
    app = typer.Typer()
    app.command()(latent_scenes.main)
    result = CliRunner().invoke(app, ["--quick", "--model", "scenes:clip", "--out", str(tmp_path)])
    assert result.exit_code == 0, result.output
    (found,) = json.loads((tmp_path / "latent.json").read_text())["models"].values()
    assert found["right"]["location"][-1][0] > 0.9
    assert max(shuffled for _, shuffled in found["right"]["location"]) < 0.4
    assert found["drift"][-1] == pytest.approx(0, abs=1e-6)
    assert "| the model's own |" in (tmp_path / "latent.md").read_text()


def test_the_slow_way_is_the_same(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(latent_time, "VIT", "timm:test_vit")
    app = typer.Typer()
    app.command()(latent_time.main)
    result = CliRunner().invoke(app, ["--quick", "--batch", "1", "--threads", "1", "--out", str(tmp_path)])
    assert result.exit_code == 0, result.output
    (found,) = json.loads((tmp_path / "latent_time.json").read_text())["models"].values()
    assert {"plain", "all 7 layers", "one run for each layer, by hand"} <= set(found)


def test_entities_are_exchanged_by_their_tokens(tmp_path: Path) -> None:
    app = typer.Typer()
    app.command()(latent_swap.main)
    result = CliRunner().invoke(app, ["--quick", "--model", "scenes:clip", "--out", str(tmp_path)])
    assert result.exit_code == 0, result.output
    (found,) = json.loads((tmp_path / "latent_swap.json").read_text())["models"].values()
    words, random = found["1, words"], found["1, random"]
    assert words["colour"] > 0.9
    assert random["colour"] < 0.5
    assert words["location"] > 0.9
    assert words["patches"] == random["patches"] < 32
    assert "| true mask |" in (tmp_path / "latent_swap.md").read_text()


def test_typographic_attacks_are_repaired_by_words(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    recipe = reading_clip.Recipe(steps=2, batch_size=4, warmup=1)
    monkeypatch.setattr(reading_clip, "RECIPE", recipe)  # which learns nothing yet: the model is robust as it was
    monkeypatch.setattr(reading_clip, "IMAGES", 12)
    monkeypatch.setattr(typographic_worlds, "METHODS", ("raw-attention",))
    app = typer.Typer()
    app.command()(latent_typographic.main)
    result = CliRunner().invoke(app, ["--quick", "--seed", "5", "--out", str(tmp_path)])
    assert result.exit_code == 0, result.output
    (found,) = json.loads((tmp_path / "latent_typographic.json").read_text())["models"].values()
    assert {"none", "words", "raw-attention", "random", "true mask"} <= set(found)
    assert found["none"]["removed"] == 0
    assert found["true mask"]["plain"] == found["none"]["plain"]
    assert 0.02 < found["true mask"]["removed"] < 0.6
    assert found["random"]["removed"] == pytest.approx(found["words"]["removed"], abs=1 / 64)


@pytest.mark.slow
def test_biased_classifiers_are_compared_by_what_is_removed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(attribute_worlds, "METHODS", ("raw-attention",))
    monkeypatch.setattr(latent_attribute, "ABOVE", (0.5,))
    noises = {"": None, ", smoothed": Smoothing(draws=2, factor=0.1)}
    monkeypatch.setattr(attribute_worlds, "NOISES", noises)
    app = typer.Typer()
    app.command()(latent_attribute.main)
    result = CliRunner().invoke(app, ["--quick", "--subset", "waterbirds", "--out", str(tmp_path)])
    assert result.exit_code == 0, result.output
    models = json.loads((tmp_path / "latent_attribute.json").read_text())["models"]
    assert set(models) == {"waterbirds", "waterbirds, tied"}
    plain = {"words, cue", "words, all but the class", "threshold, cue"}
    words, components = plain | {f"{name}, smoothed" for name in plain}, {"components", "components, random"}
    random = {f"random, as {name}" for name in words}
    for found in models.values():
        assert found.pop("notes") == []
        assert set(found) == {"none", "raw-attention", *words, *random, *components}
        assert all(row["worst"] <= row["average"] for row in found.values())
        for name in words:
            assert found[f"random, as {name}"]["removed"] == pytest.approx(found[name]["removed"], abs=1 / 64)
        assert "cosine above" in found["threshold, cue"]["setting"]
    assert models["waterbirds"]["none"]["worst"] > 0.5
    assert models["waterbirds, tied"]["none"]["worst"] < models["waterbirds"]["none"]["worst"]


@pytest.mark.slow
def test_named_regions_are_what_the_model_uses(tmp_path: Path) -> None:
    app = typer.Typer()
    app.command()(latent_faithfulness.main)
    result = CliRunner().invoke(app, ["--quick", "--model", "scenes:clip", "--out", str(tmp_path)])
    assert result.exit_code == 0, result.output
    (found,) = json.loads((tmp_path / "latent_faithfulness.json").read_text())["models"].values()
    for name in ("colour", "any of them"):
        row = found["masked"][name]
        assert row["ahead"]["random"][1] > 0  # the interval is above 0
        assert row["drop"]["named"] > row["drop"]["moved"]
        assert row["right"]["named"] < row["right"]["nothing"]
    decompose = found["overlap"]["colour"]["decompose"]
    assert decompose["average_precision"][0] > 2 * decompose["chance"]
    assert decompose["ahead"][1] > 0
    blind = found["overlap"]["colour"]["center"]
    assert blind["average_precision"][0] < decompose["average_precision"][0]
    assert blind["ahead"] == [0, 0, 0]
    assert "| any of them |" in (tmp_path / "latent_faithfulness.md").read_text()


def test_regions_of_equal_area() -> None:
    region = torch.zeros(5, 16, dtype=torch.bool)
    region[:, [0, 1, 4]] = True
    region[4] = False
    generator = torch.Generator().manual_seed(0)
    for other in (named_regions.random_patches(region, generator), named_regions.moved(region, (4, 4), generator)):
        assert other.sum(1).tolist() == region.sum(1).tolist()
        assert not torch.equal(other, region)
    values = torch.tensor([2, 2, 1, 2])
    assert latent_faithfulness.other_values(values).tolist() == [1, 1, 2, 1]
