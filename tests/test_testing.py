"""The contracts for plug-ins find what is wrong with one."""

import pytest
import torch
from torch import nn

import vitdecomp as vd
from vitdecomp.heatmaps.explainer import EXPLAINERS
from vitdecomp.testing import AdapterContract, Case, Data, ExplainerContract, RuleContract, randomise, untouched
from vitdecomp.trace.rule import RULES


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


class Even(vd.Explainer):
    """A method that keeps its contract: the size of the score, everywhere."""

    name = "even"
    signed = False

    def explain(self, subject):
        return self.unaudited(subject, self.grid(subject))

    def grid(self, subject):
        return subject.score.abs()[..., None, None].expand(-1, -1, *subject.grid.size)


class OfTheWholeBatch(Even):
    def grid(self, subject):
        return super().grid(subject) - super().grid(subject).mean(0)


class OnAnotherGrid(Even):
    def grid(self, subject):
        return super().grid(subject)[..., 1:]


class NegativeThoughUnsigned(Even):
    def grid(self, subject):
        return -super().grid(subject)


class IgnoresTheDirection(Even):
    def grid(self, subject):
        return torch.ones_like(super().grid(subject))


class DrawsNumbers(Even):
    def grid(self, subject):
        return super().grid(subject) * torch.rand(())


class LeavesAFlag(Even):
    def grid(self, subject):
        subject.decomposer.loaded_.module.norm.training = True
        return super().grid(subject)


class AddsUpToAnotherScore(Even):
    adds_up = True


@pytest.fixture
def registered(request):
    vd.register_explainer(request.param, replace=True)
    yield type("Contract", (ExplainerContract,), {"explainer": request.param})()
    EXPLAINERS.remove(request.param.name)


@pytest.mark.parametrize("registered", [Even], indirect=True)
@pytest.mark.parametrize("test", [name for name in vars(ExplainerContract) if name.startswith("test_")])
def test_a_good_explainer_keeps_the_contract(registered, test):
    getattr(registered, test)()


@pytest.mark.parametrize(
    ("registered", "test"),
    [
        (OfTheWholeBatch, "test_an_image_and_a_direction_alone_have_the_same_map"),
        (OnAnotherGrid, "test_maps_have_a_value_for_each_place"),
        (NegativeThoughUnsigned, "test_unsigned_maps_have_no_negative_values"),
        (IgnoresTheDirection, "test_directions_are_told_apart"),
        (DrawsNumbers, "test_the_same_maps_come_again_and_the_model_is_left_untouched"),
        (LeavesAFlag, "test_the_same_maps_come_again_and_the_model_is_left_untouched"),
        (AddsUpToAnotherScore, "test_what_adds_up_adds_up_to_the_score"),
    ],
    indirect=["registered"],
)
def test_the_contract_of_explainers_finds(registered, test):
    with pytest.raises(AssertionError):
        getattr(registered, test)()


@pytest.mark.parametrize("factor", [1, 2])
def test_the_contract_of_rules_finds_terms_that_miss_the_output(factor):
    case, contract = Case(torch.ops.aten.mul.Scalar, Data(4, 6), 2.0), RuleContract()
    before = RULES.get(case.op)
    vd.register_rule(case.op, replace=True)(lambda op, x, other: [vd.data(x).then(torch.mul, factor)])
    try:
        for test in (contract.test_terms_sum_to_the_output, contract.test_terms_are_the_frozen_jacobian):
            if factor == 2:
                test(case)
            else:
                with pytest.raises(AssertionError):
                    test(case)
    finally:
        RULES.remove(case.op)
        if before is not None:
            RULES.add(case.op, before)


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
