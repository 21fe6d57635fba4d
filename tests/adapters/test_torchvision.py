"""torchvision models: what the classifier reads, without a change to the model."""

import pytest
import torch
from torchvision.models import resnet18
from torchvision.models.segmentation import lraspp_mobilenet_v3_large
from torchvision.models.vision_transformer import VisionTransformer
from vitdecomp_adapters.submodule import replaced
from vitdecomp_adapters.torchvision import TorchvisionAdapter, classifier

import vitdecomp as vd
from vitdecomp.testing import AdapterContract, randomise, untouched

TINY = {"image_size": 32, "num_layers": 2, "hidden_dim": 48, "mlp_dim": 64, "num_heads": 4}


class TestContract(AdapterContract):
    adapter = TorchvisionAdapter
    name = "vit_b_16"
    options = TINY
    unknown = "vit_b_61"

    def load(self):
        # The names in torchvision fix the sizes, and a base model is too big for a test.
        module = VisionTransformer(patch_size=8, num_classes=5, **self.options).eval().double()
        randomise(module)
        known = TorchvisionAdapter().recognise(module)
        return vd.LoadedModel(module, None, "torchvision:vit_b_16", known.outputs, (3, 32, 32))


def test_the_embedding_is_what_the_classifier_reads():
    loaded = TestContract().load()
    x = TestContract().images(loaded)
    with untouched(loaded.module), torch.no_grad():
        embedding, logits = (loaded.representation(o)(x) for o in ("embedding", "logits"))
    assert embedding.shape == (2, 48)
    assert torch.equal(loaded.module.heads.head(embedding), logits)


def test_a_module_without_its_classifier_shares_all_the_rest():
    model = resnet18(weights=None, num_classes=3)
    twin = replaced(model, classifier(model), torch.nn.Identity())
    assert classifier(model) == "fc"
    assert isinstance(model.fc, torch.nn.Linear)
    assert isinstance(twin.fc, torch.nn.Identity)
    assert twin.conv1 is model.conv1


def test_a_model_that_does_not_classify_is_left_to_its_user():
    segmenter = lraspp_mobilenet_v3_large(weights=None, weights_backbone=None)
    assert TorchvisionAdapter().recognise(segmenter) is None


def test_a_model_without_a_linear_layer_has_no_embedding():
    with pytest.raises(vd.SpecError, match="no linear classifier"):
        classifier(torch.nn.Sequential(torch.nn.Conv2d(3, 3, 1)))


def test_loading_by_name():
    loaded = vd.load_model("torchvision:resnet18", pretrained=False, num_classes=4)
    assert isinstance(loaded.module, torch.nn.Module)
    assert not loaded.module.training
    assert loaded.input_size == (3, 224, 224)
    assert not loaded.pretrained


def test_classes_have_the_names_that_the_weights_have():
    loaded = vd.load_model("torchvision:vit_b_16", pretrained=False)
    assert loaded.classifier.names[:2] == ("tench", "goldfish")
    assert loaded.classifier.ids[134] == "n02012849"  # crane, which torchvision calls a crane bird
    few = vd.load_model("torchvision:vit_b_16", pretrained=False, num_classes=3)
    assert (few.classifier.names, few.classifier.ids) == (("class 0", "class 1", "class 2"), ())
    images = torch.randn(1, 3, 224, 224)
    with torch.no_grad():
        logits = few.classifier.layer(few.outputs["embedding"](few.module, images))
        torch.testing.assert_close(logits, few.module(images))


def test_unknown_names_and_options_are_refused():
    with pytest.raises(vd.SpecError, match="did you mean vit_b_16"):
        vd.load_model("torchvision:vit_b_61")
    with pytest.raises(vd.SpecError, match="cannot build vit_b_16"):
        vd.load_model("torchvision:vit_b_16", pretrained=False, lays=3)


def test_a_checkpoint_is_loaded(tmp_path):
    from safetensors.torch import save_model

    module = resnet18(weights=None, num_classes=4)
    save_model(module, str(tmp_path / "weights.safetensors"))
    loaded = vd.load_model("torchvision:resnet18", checkpoint_path=tmp_path / "weights.safetensors", num_classes=4)
    assert loaded.pretrained
    assert torch.equal(loaded.module.fc.weight, module.fc.weight)
    with pytest.raises(vd.LoadError, match="does not fit torchvision:resnet18"):
        vd.load_model("torchvision:resnet18", checkpoint_path=tmp_path / "weights.safetensors", num_classes=5)
