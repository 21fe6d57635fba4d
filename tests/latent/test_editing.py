"""Edits: against the model itself with hooks, and what has to hold whatever the model is."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from families import case, grouped
from helpers import pictures, randomised
from torch import Tensor, nn

import vitdecomp as vd
from vitdecomp.latent import EditedModule, Named, Similar
from vitdecomp.latent.edited_module import EDITED, RuleHeader
from vitdecomp.testing import untouched
from vitdecomp.trace import front_ends

CLOSE = 1e-10
HOOKED = {  # the module that reads the tokens of a layer
    "vit_cls": "blocks.{}",
    "dinov2": "blocks.{}",
    "siglip": "blocks.{}",
    "third_party/encoder_sequence_first": "layers.{}",
}
MODELS = [*HOOKED, "swin", "maxvit", "open_clip_coca", "third_party/windows", "cait"]


def some(n: int, tokens: int, seed: int = 0) -> Tensor:
    return torch.rand(n, tokens, generator=torch.Generator().manual_seed(seed)) < 0.4


def count(name: str) -> int:
    return len(vd.LatentTokens(case(name).decomposer).fit(case(name).images[:1]).tokens_)


@pytest.mark.parametrize("name", grouped(HOOKED))
@pytest.mark.parametrize("layer", [0, 1])
def test_removed_tokens_are_zero_for_the_block(name: str, layer: int) -> None:
    known, mask = case(name), some(2, count(name))
    axis = 0 if "sequence_first" in name else 1

    def zero(_: nn.Module, given: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        x = given[0].movedim(axis, 1).masked_fill(mask[..., None], 0).movedim(1, axis)
        return (x, *given[1:])

    path = HOOKED[name].format(layer)
    owner = known.module if path.split(".")[0] in dict(known.module.named_children()) else known.module.encoder
    hook = owner.get_submodule(path).register_forward_pre_hook(zero)
    with torch.no_grad():
        expected = known.decomposer.loaded_.representation()(known.images[:2])
    hook.remove()
    with vd.edit_tokens(known.decomposer, remove=mask, layers=[layer]) as edited:
        torch.testing.assert_close(edited(known.images[:2]), expected, rtol=0, atol=CLOSE)
        assert torch.equal(edited.mask(known.images[:2]), mask)


@pytest.mark.parametrize("name", grouped(MODELS))
class TestContract:
    """Check what holds for every model."""

    def test_nothing_removed_is_the_representation(self, name: str) -> None:
        known = case(name)
        with untouched(known.module):
            edited = vd.edit_tokens(known.decomposer, remove=torch.zeros(count(name), dtype=torch.bool), layers=[0, -1])
            found = edited(known.images)
        torch.testing.assert_close(found, known.decomposer.represent(known.images), rtol=0, atol=CLOSE)

    def test_all_replaced_is_the_other_image(self, name: str) -> None:
        known, every = case(name), torch.ones(count(name), dtype=torch.bool)
        for layer in (0, -1):
            edited = vd.edit_tokens(known.decomposer, replace=(every, known.images[2:]), layers=[layer])
            whole = known.decomposer.represent(known.images[2:])
            torch.testing.assert_close(edited(known.images[:2]), whole, rtol=0, atol=CLOSE)

    def test_a_batch_is_its_images_one_by_one(self, name: str) -> None:
        known, mask = case(name), some(3, count(name))
        together = vd.edit_tokens(known.decomposer, remove=mask, layers=[1])(known.images[:3])
        alone = [
            vd.edit_tokens(known.decomposer, remove=mask[i], layers=[1])(known.images[i : i + 1]) for i in range(3)
        ]
        torch.testing.assert_close(together, torch.cat(alone), rtol=0, atol=CLOSE)
        assert (together - known.decomposer.represent(known.images[:3])).abs().max() > 1e-4

    def test_a_module_does_the_same_without_a_trace(
        self, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        known, mask = case(name), some(1, count(name))[0]
        edited = vd.edit_tokens(known.decomposer, remove=mask, layers=[0])
        expected = edited(known.images)
        edited.module().save(tmp_path / "edited.safetensors")
        monkeypatch.setattr(front_ends, "FRONT_ENDS", {})
        module = EditedModule.load(tmp_path / "edited.safetensors")
        torch.testing.assert_close(module(known.images), expected, rtol=0, atol=CLOSE)


@pytest.mark.parametrize("name", grouped(["vit_avg"]))
def test_the_order_of_tokens_is_nothing_to_their_mean(name: str) -> None:
    known, half = case(name), torch.arange(16) < 8
    edited = vd.edit_tokens(known.decomposer, swap=(half, ~half), layers=[-1])
    torch.testing.assert_close(edited(known.images), known.decomposer.represent(known.images), rtol=0, atol=CLOSE)
    early = vd.edit_tokens(known.decomposer, swap=(half, ~half), layers=[0])  # behind the position embedding
    torch.testing.assert_close(early(known.images), known.decomposer.represent(known.images), rtol=0, atol=CLOSE)


@pytest.mark.parametrize("name", grouped(["vit_cls"]))
def test_a_swap_is_its_own_inverse(name: str) -> None:
    known, first, second = case(name), torch.zeros(17, dtype=torch.bool), torch.zeros(17, dtype=torch.bool)
    first[:3], second[7:9] = True, True
    swapped = vd.edit_tokens(known.decomposer, swap=(first, second), layers=[1])
    whole = known.decomposer.represent(known.images)
    assert (swapped(known.images) - whole).abs().max() > 1e-3
    assert torch.equal(swapped.mask(known.images)[0], first | second)
    equal = first.clone()
    equal[2] = False
    twice = vd.edit_tokens(known.decomposer, swap=(equal, second), layers=[1, 1])
    once = vd.edit_tokens(known.decomposer, swap=(second, equal), layers=[1])
    torch.testing.assert_close(twice(known.images), once(known.images), rtol=0, atol=CLOSE)


@pytest.mark.parametrize("name", grouped(["swin"]))
def test_in_earlier_stages_a_token_is_all_that_it_is_made_of(name: str) -> None:
    known = case(name)
    mask = torch.zeros(64, dtype=torch.bool)
    mask[9] = True  # row 1, column 1 of 8 x 8: 2 x 2 tokens of the first stage

    def zero(_: nn.Module, __: tuple[Tensor, ...], x: Tensor) -> Tensor:
        found = x.clone()
        found[:, 2:4, 2:4] = 0
        return found

    hook = known.module.get_submodule("patch_embed").register_forward_hook(zero)
    with torch.no_grad():
        expected = known.decomposer.loaded_.representation()(known.images)
    hook.remove()
    found = vd.edit_tokens(known.decomposer, remove=mask)(known.images)
    torch.testing.assert_close(found, expected, rtol=0, atol=CLOSE)


def vectors(texts: Sequence[str]) -> Tensor:
    """Vectors that depend on nothing but the text."""
    seeds = (sum(map(ord, text)) for text in texts)
    return torch.stack(
        [torch.randn(48, generator=torch.Generator().manual_seed(s), dtype=torch.float64) for s in seeds]
    )


@pytest.fixture
def traced(tiny_vit: nn.Module) -> vd.Decomposer:
    return vd.Decomposer(tiny_vit).fit(pictures(1, 32))


def test_texts_select_the_tokens_that_they_describe(traced: vd.Decomposer) -> None:
    x, words = pictures(3, 32), ["a word", "a cat", "a dog", "the sky"]
    known = vd.LatentTokens(traced).fit(x[:1]).describe(x, words, vectors, k=1, layers=[1])
    expected = (known.indices[:, 0, :, 0] == 0) & (torch.arange(17) > 0)
    edited = vd.edit_tokens(traced, remove=Named("a word", words, layer=1, space=vectors))
    assert torch.equal(edited.mask(x), expected)
    assert 0 < expected.sum() < 48
    module = edited.module()
    torch.testing.assert_close(module(x), edited(x), rtol=0, atol=CLOSE)


def test_a_direction_selects_what_is_similar(traced: vd.Decomposer, tmp_path: Path) -> None:
    x, q = pictures(3, 32), vectors(["a"])[0]
    z = vd.LatentTokens(traced).fit(x[:1]).transform(x, layers=[2])[:, 0]
    expected = (torch.cosine_similarity(z, q, dim=-1) >= 0.1) & (torch.arange(17) > 0)
    edited = vd.edit_tokens(traced, remove=Similar(q, above=0.1, layer=2), layers=[2])
    assert torch.equal(edited.mask(x), expected)
    edited.module().save(tmp_path / "x.safetensors")
    torch.testing.assert_close(EditedModule.load(tmp_path / "x.safetensors")(x), edited(x), rtol=0, atol=CLOSE)


def test_a_module_has_weights_of_its_own(traced: vd.Decomposer, tiny_vit: nn.Module) -> None:
    x, mask = pictures(2, 32), torch.arange(17) > 9
    module = vd.edit_tokens(traced, remove=mask).module()
    before = module(x)
    assert len(module.state_dict()) >= len([*tiny_vit.parameters()])
    randomised(tiny_vit, seed=3)
    assert torch.equal(module(x), before)
    assert torch.equal(copy.deepcopy(module)(x), before)


def test_a_model_that_is_not_traced_is_traced_by_the_first_call(tiny_vit: nn.Module, traced: vd.Decomposer) -> None:
    x, mask = pictures(2, 32), torch.arange(17) > 9
    edited = vd.edit_tokens(tiny_vit, remove=mask)
    with pytest.raises(vd.SpecError, match="not traced yet"):
        edited.module()
    torch.testing.assert_close(edited(x), vd.edit_tokens(traced, remove=mask)(x), rtol=0, atol=CLOSE)
    edited.module()


MASK = torch.ones(17, dtype=torch.bool)


@pytest.mark.parametrize(
    ("ask", "says"),
    [
        (vd.edit_tokens, "one of remove=, replace= and swap=, not none"),
        (lambda m: vd.edit_tokens(m, remove=MASK, swap=(MASK, MASK)), "not remove and swap"),
        (lambda m: vd.edit_tokens(m, remove=MASK, layers=[7]), "no layer 7: layers of this model are 0 to 3"),
        (
            lambda m: vd.edit_tokens(m, remove=Named("a", ["b"], 9, vectors)),
            "no layer 9: layers of this model",
        ),
        (lambda m: vd.edit_tokens(m, remove=Named("a", ["b"])), "texts: the model reads none"),
        (lambda m: vd.edit_tokens(m, remove=Named("a", ["a"], space=vectors)), "at least one text each"),
        (lambda m: vd.edit_tokens(m, remove=Similar(torch.ones(3), 0.1)), r"direction must be \(48,\)"),
        (lambda m: vd.edit_tokens(m, remove=MASK[:3])(pictures(2, 32)), r"a mask must be boolean, \(17,\)"),
        (lambda m: vd.edit_tokens(m, remove=MASK.double())(pictures(2, 32)), "a mask must be boolean"),
        (lambda m: vd.edit_tokens(m, replace=(MASK, pictures(3, 32)))(pictures(2, 32)), "3 other images for 2"),
        (lambda m: vd.edit_tokens(m, replace=(MASK, pictures(1, 32))).module(), "tokens by those of other images"),
        (lambda m: vd.edit_tokens(m, remove=MASK.expand(2, 17)).module(), "a mask for each image"),
    ],
)
def test_what_cannot_be_done_is_said(traced: vd.Decomposer, ask: Callable[[vd.Decomposer], object], says: str) -> None:
    with pytest.raises(vd.VitdecompError, match=says):
        ask(traced)


def test_an_edit_ends(traced: vd.Decomposer) -> None:
    with vd.edit_tokens(traced, remove=MASK) as edited:
        edited(pictures(1, 32))
    with pytest.raises(vd.SpecError, match="the edit has ended"):
        edited(pictures(1, 32))


@pytest.mark.parametrize("content", [b"", b"nothing", None])
def test_files_that_hold_no_module_are_refused(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "m.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(vd.InputError, match=r"m\.safetensors"):
        EditedModule.load(path)


@pytest.mark.parametrize(
    "wrong",
    [
        {"action": "paint"},
        {"action": "replace"},
        {"action": "swap"},
        {"layers": (99,)},
        {"where": ()},
        {"where": (RuleHeader(99, 0, 0.1),)},
        {"where": (RuleHeader(-1, 0, None),)},
    ],
)
def test_files_that_ask_for_no_edit_are_refused(traced: vd.Decomposer, tmp_path: Path, wrong: dict[str, Any]) -> None:
    path = tmp_path / "m.safetensors"
    edited = vd.edit_tokens(traced, remove=Similar(vectors(["a"])[0], above=0.1))
    edited(pictures(1, 32))
    edited.module().save(path)
    EditedModule.load(path)
    file = EDITED.read(path)
    for field, value in wrong.items():
        object.__setattr__(file.header, field, value)  # as a file may have it, though the class would not
    EDITED.write(path, file.header, file.tensors)
    with pytest.raises(vd.InputError, match=r"m\.safetensors") as refused:
        EditedModule.load(path)
    assert "make it again with edit_tokens" in str(refused.value)
    assert len(str(refused.value).splitlines()) == 1
