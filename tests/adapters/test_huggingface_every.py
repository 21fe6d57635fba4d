"""Every vision class of the installed transformers: what its classifier or pooler reads is the embedding."""

from __future__ import annotations

import re

import pytest
import torch
from helpers import pictures
from transformers.models.auto import modeling_auto
from vision_zoo import bare_models, made, names_of, reason
from vitdecomp_adapters.huggingface import HuggingFaceAdapter

import vitdecomp as vd
from vitdecomp.testing import untouched

OLD = ("EfficientFormer", "Nat", "Van", "ViTHybrid")  # which transformers 4 has for the sake of old code alone
CLASSIFIERS = [
    name for name in names_of(modeling_auto.MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES) if not name.startswith(OLD)
]
HEADS = ("classifier", "fc", "head", "timm_model.head")  # a model has one of these, if not several
SEVERAL_HEADS = {
    "DeiTForImageClassificationWithTeacher": ("cls_classifier", "distillation_classifier"),
    "LevitForImageClassificationWithTeacher": ("classifier", "classifier_distill"),
    "SwiftFormerForImageClassification": ("head", "dist_head"),
}
# Why a classifier has no embedding here: the error, or None where it has no way for images at all.
REFUSED = {
    "DinatForImageClassification": (ImportError, "natten"),
    "ImageGPTForImageClassification": (None, "colors are words"),
    "PerceiverForImageClassificationConvProcessing": (vd.SpecError, "reads rows, and gives one of them"),
    "PerceiverForImageClassificationFourier": (vd.SpecError, "reads rows, and gives one of them"),
    "PerceiverForImageClassificationLearned": (vd.SpecError, "reads rows, and gives one of them"),
    "ShieldGemma2ForImageClassification": (vd.SpecError, "reads a text too"),
    "Siglip2ForImageClassification": (vd.SpecError, "reads patches that are cut out before"),
}


def classified(module, name, embedding):
    """The logits of an embedding by the model's own heads: their mean, each on its part or all on the whole."""
    paths = SEVERAL_HEADS.get(name) or [next(h for h in HEADS if _calls(module, h))]
    heads = [module.get_submodule(path) for path in paths]
    width = next(p for p in heads[0].parameters()).shape[-1]
    parts = embedding.split(width, 1) if embedding.shape[1] > width and len(heads) > 1 else [embedding] * len(heads)
    return sum(head(part) for head, part in zip(heads, parts, strict=True)) / len(heads)


def _calls(module, path):
    try:
        return not isinstance(module.get_submodule(path), torch.nn.ModuleList)
    except AttributeError:
        return False


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_the_classifier_makes_the_logits_of_the_embedding(name):
    error, _ = REFUSED.get(name, (None, ""))
    if error is not None:
        with pytest.raises(error):
            HuggingFaceAdapter().recognise(made(name))
        return
    module = made(name)
    with untouched(module):
        known = HuggingFaceAdapter().recognise(module)
    if name in REFUSED:
        assert known is None
        return
    x = pictures(2, (known.input_size or (3, 64, 64))[-1])
    with torch.no_grad():
        embedding, logits = (known.representation(output)(x) for output in ("embedding", "logits"))
        result = module(pixel_values=x)
        assert torch.equal(logits, getattr(result, "logits", result.last_hidden_state if "logits" not in result else 0))
        assert torch.allclose(classified(module, name, embedding), logits, atol=1e-12, rtol=1e-12)
        if known.classifier is not None:
            assert torch.allclose(known.classifier.layer(embedding), logits, atol=1e-12, rtol=1e-12)
            assert len(known.classifier.names) == logits.shape[1]
        assert not torch.allclose(classified(module, name, embedding * 1.1 + 1), logits)


CLASS_TOKEN = re.compile(r"cls|class_(emb|tok)")  # in the name of a parameter
# Why a bare model has no embedding here, beside the reasons that `reason` finds.
BARE = {
    "DinatModel": (ImportError, "needs natten"),
    "EfficientLoFTRModel": (vd.SpecError, "compares two images"),
    "LightGlueForKeypointMatching": (vd.SpecError, "compares two images"),
    "MiniCPMOcrVisionModel": (vd.SpecError, "the patches of all images are one sequence"),
    "MiniCPMV4_7VisionModel": (vd.SpecError, "the patches of all images are one sequence"),
    "PixtralVisionModel": (vd.SpecError, "the patches of all images are one sequence"),
    "Sam3LiteTextTextModel": (None, "reads texts, whatever it says"),
}


def check(module, known):
    """One finite vector per image, of which the first note says how it is found, as the parameters' names confirm."""
    x = pictures(2, (known.input_size or (3, 64, 64))[-1])
    with torch.no_grad():
        vectors, alone = known.representation()(x), known.representation()(x[1:])
    assert vectors.ndim == 2
    assert vectors.isfinite().all()
    assert torch.allclose(vectors[1:], alone, atol=1e-9)
    if "last_hidden_state" in known.notes[0]:
        has_one = any(CLASS_TOKEN.search(name) for name, _ in module.named_parameters())
        assert ("the class token" in known.notes[0]) == has_one


@pytest.mark.slow
def test_every_bare_model_gives_one_vector_per_image():
    models = {name: kind for name, kind in bare_models() if not name.startswith(OLD) and not reason(kind)}
    failed = {}
    for name in models:
        try:
            module = made(name)
            known = HuggingFaceAdapter().recognise(module)
            if known is None:
                failed[name] = None
            else:
                check(module, known)
        except Exception as error:
            failed[name] = error
    assert len(models) > 3 * len(BARE)
    assert {name: error if error is None else type(error) for name, error in failed.items()} == {
        name: error for name, (error, _) in BARE.items() if name in models
    }, failed
