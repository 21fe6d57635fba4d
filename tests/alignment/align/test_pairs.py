"""Images that two models see: what a pairing refuses, and where its models go."""

from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from vitdecomp_alignment.align.pairs import Pairing, gather

from vitdecomp import SpecError
from vitdecomp.distributed.process_group import Ranks
from vitdecomp.extract import ExtractConfig
from vitdecomp.images.opening import sample_photographs
from vitdecomp.models.image_loader import Loading
from vitdecomp.models.prepare import ModelOptions


def pairing(subject: ModelOptions, store: str | None = "store.lance") -> Pairing:
    return Pairing(subject, ModelOptions("open_clip:ViT-B-16", device="cpu"), Path("cache"), None, store)


def test_neither_images_nor_a_store():
    with pytest.raises(SpecError, match="give --images, or --store"):
        pairing(ModelOptions("timm:test_vit"), store=None)


def test_models_go_to_the_gpu_of_their_process(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    found = pairing(ModelOptions("timm:test_vit")).on(Ranks(3, 4, 1))
    assert (found.subject.device, found.clip.device) == ("cuda:1", "cpu")
    assert pairing(ModelOptions("timm:test_vit")).on(Ranks()) == pairing(ModelOptions("timm:test_vit"))


def test_a_model_without_texts_is_refused_before_anything_is_taken_apart(tmp_path):
    done = []

    @contextmanager
    def stage(name):
        done.append(name)
        yield lambda a, b: None

    place = sample_folder(tmp_path)
    pairing = Pairing(
        ModelOptions("scenes:deit"), ModelOptions("scenes:dino"), tmp_path / "cache", ExtractConfig(place)
    )
    with pytest.raises(SpecError, match=r"scenes:dino has no texts.*give a CLIP"):
        gather(pairing, loading=Loading(), stage=stage)
    assert not done


def sample_folder(place):
    for i, photograph in enumerate(sample_photographs()):
        photograph.save(place / f"{i}.png")
    return place
