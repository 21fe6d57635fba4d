"""The contract for adapters finds what is wrong with one."""

import pytest
import torch
from torch import nn

import vitdecomp as vd
from vitdecomp.testing import AdapterContract, randomise, untouched


class Tiny(nn.Module):
    """One residual block of an attention-free mixer; it has all that a decomposition needs."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Conv2d(3, 8, 4, 4)
        self.norm = nn.LayerNorm(8)
        self.mlp = nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.Linear(16, 8))

    def forward(self, x):
        x = self.embed(x).flatten(2).mT
        return self.norm(x + self.mlp(x)).mean(1)


class Good(vd.Adapter):
    prefix = "good"

    def load(self, name, *, pretrained, **options):
        if name != "tiny":
            raise vd.SpecError(f"no model {name!r}")
        return vd.LoadedModel(Tiny().eval(), None, f"{self.prefix}:{name}", input_size=(3, 8, 8))

    def recognise(self, module):
        return vd.LoadedModel(module, None, "good:tiny") if isinstance(module, Tiny) else None


class TestGood(AdapterContract):
    adapter = Good
    name = "tiny"


class InTraining(Good):
    def load(self, name, *, pretrained, **options):
        loaded = super().load(name, pretrained=pretrained)
        loaded.module.train()
        return loaded


class NotAVector(Good):
    def load(self, name, *, pretrained, **options):
        loaded = super().load(name, pretrained=pretrained)
        return vd.LoadedModel(loaded.module, None, loaded.spec, {"embedding": lambda m, x: m.embed(x)}, (3, 8, 8))


class KnowsNothing(Good):
    def recognise(self, module):
        return None


class TakesEverything(Good):
    def recognise(self, module):
        return vd.LoadedModel(module, None, "good:tiny")


class NeverRefuses(Good):
    def load(self, name, *, pretrained, **options):
        return super().load("tiny", pretrained=pretrained)


class Meddles(Good):
    """Its output changes a flag of the model whenever it is computed."""

    def load(self, name, *, pretrained, **options):
        def compute(model, images):
            model.norm.training = True
            return model(images)

        loaded = super().load(name, pretrained=pretrained)
        return vd.LoadedModel(loaded.module, None, loaded.spec, {"embedding": compute}, (3, 8, 8))


@pytest.mark.parametrize(
    ("bad", "test"),
    [
        (InTraining, "test_the_loaded_model_is_complete"),
        (NotAVector, "test_every_output_is_one_vector_per_image"),
        (KnowsNothing, "test_the_module_alone_is_recognised"),
        (TakesEverything, "test_a_foreign_module_is_not_recognised"),
        (NeverRefuses, "test_an_unknown_name_is_refused"),
        (Meddles, "test_the_module_is_left_untouched"),
    ],
)
def test_the_contract_finds(bad, test):
    contract = AdapterContract()
    contract.__class__ = type("Contract", (AdapterContract,), {"adapter": bad, "name": "tiny"})
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        getattr(contract, test)()


def change_hook(module):
    module.register_forward_hook(lambda *_: None)


def change_parameter(module):
    module.weight = nn.Parameter(module.weight.detach().clone())


def change_value(module):
    module.weight.data[0] += 1


def change_gradient(module):
    module.weight.requires_grad_(False)


def change_forward(module):
    module.forward = module.forward


def change_training(module):
    module.eval()


def change_random_state(module):
    torch.rand(1)


@pytest.mark.parametrize("name", [name for name in list(globals()) if name.startswith("change_")])
def test_every_kind_of_change_is_seen(name):
    module = nn.Linear(2, 2)
    with pytest.raises(AssertionError, match="Linear: changed"), untouched(module):
        globals()[name](module)


def test_looking_changes_nothing():
    module = nn.Linear(2, 2)
    with untouched(module):
        module(torch.ones(1, 2))
    randomise(module)
