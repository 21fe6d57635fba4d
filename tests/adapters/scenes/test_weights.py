"""The weights that come with vitdecomp: small, described, as good as they say, and loaded by their libraries too."""

import importlib.util
import json
from dataclasses import asdict
from pathlib import Path

import open_clip
import pytest
import timm
import torch
from safetensors import safe_open
from scenes_training.recipes import RECIPES
from vitdecomp_adapters.scenes import clip
from vitdecomp_adapters.scenes.adapter import MODELS
from vitdecomp_adapters.scenes.measure import TEMPLATES, embeddings, probe, zero_shot

from vitdecomp.models.adapter import load_model
from vitdecomp.scenes import SceneDataset

DOCS = Path(__file__).parents[3] / "docs"
SHIPPED = list(MODELS)
SHAPE = {"dino": 0.85}  # the least accuracy; without any label it is harder
UNSEEN = 31_337  # a seed that no model was trained or measured with


def facts_of(name):
    with safe_open(clip.WEIGHTS / f"{name}.safetensors", "pt") as file:
        return json.loads(file.metadata()["vitdecomp"])


def test_all_weights_together_are_small():
    assert sum((clip.WEIGHTS / f"{name}.safetensors").stat().st_size for name in SHIPPED) < 25e6


@pytest.mark.parametrize("name", SHIPPED)
def test_weights_say_where_they_come_from(name):
    facts = facts_of(name)
    assert facts["model"] == MODELS[name]
    assert facts["recipe"] == asdict(RECIPES[name])
    assert {"seed", "seconds", "threads", "device", "torch", "commit", "figures"} < set(facts)
    assert not facts["commit"].endswith("dirty")


@pytest.mark.parametrize("name", SHIPPED)
def test_what_is_aimed_at_is_reached(name):
    figures = facts_of(name)["figures"]
    assert figures["probe.shape"] >= SHAPE.get(name, 0.95)
    assert figures["probe.location"] >= 0.9
    if name == "clip":
        assert all(figures[f"zero_shot.{factor}"] >= 0.95 for factor in TEMPLATES)


@pytest.mark.slow
@pytest.mark.parametrize("name", SHIPPED)
def test_other_scenes_give_the_same_figures(name):
    module, figures = load_model(f"scenes:{name}").module, facts_of(name)["figures"]
    fitted, held_out = SceneDataset(400, UNSEEN, "val"), SceneDataset(300, UNSEEN, "test")
    y = embeddings(module, held_out)
    found = (
        {f"zero_shot.{f}": zero_shot(module, y, f, held_out.labels[f]) for f in TEMPLATES}
        if name == "clip"
        else {
            "probe.location": probe(
                embeddings(module, fitted), fitted.labels["location"], y, held_out.labels["location"]
            )
        }
    )
    assert found == pytest.approx({key: figures[key] for key in found}, abs=0.03)


@torch.no_grad()
def test_the_libraries_themselves_load_them():
    x = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    clip.register()
    models = {
        name: timm.create_model(spec.removeprefix("timm:"), pretrained=True)
        for name, spec in MODELS.items()
        if name in SHIPPED and name != "clip"
    }
    models["clip"] = open_clip.create_model("scenes-clip", pretrained=str(clip.WEIGHTS / "clip.safetensors")).visual
    for name, model in models.items():
        ours = load_model(f"scenes:{name}").module.eval()
        assert torch.equal(model.eval()(x), (ours.visual if name == "clip" else ours)(x)), name


def test_the_documentation_shows_the_figures_of_the_weights():
    spec = importlib.util.spec_from_file_location("trained", DOCS / "trained.py")
    trained = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(trained)
    page = trained.PAGE.read_text(encoding="utf-8")
    assert trained.with_table(page) == page
