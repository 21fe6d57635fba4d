"""Outputs of inner modules, and which of their tokens or places are decomposed."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
import torch
from helpers import pictures, randomised
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from zoo import ZOO

import vitdecomp as vd
from vitdecomp.models.positions import at, at_positions, parsed, split

IMAGES = torch.zeros(2, 3, 32, 32)


def model(name: str) -> tuple[nn.Module, Tensor]:
    return randomised(ZOO[name].make()), pictures(3, ZOO[name].size)


def inner(module: Any, images: Tensor, path: str) -> Tensor:
    """Return what a module inside returns, by a hook of the test's own."""
    seen: list[Tensor] = []
    handle = module.get_submodule(path).register_forward_hook(lambda m, a, out: seen.append(out))
    with torch.no_grad():
        module(images)
    handle.remove()
    return seen[-1]


def first_projection(module: Any, images: Tensor) -> Tensor:
    return inner(module.visual, images, "transformer.resblocks.0.mlp.c_fc")[:, 0]


class TestDecomposed:
    @pytest.mark.parametrize(
        ("name", "output", "slow"),
        [
            ("vit_cls", "tokens[0]", lambda m, x: m.forward_features(x)[:, 0]),
            ("vit_registers", "tokens[patches]", lambda m, x: m.forward_features(x)[:, 4:].mean(1)),
            ("vit_cls", "tokens[mean]", lambda m, x: m.forward_features(x).mean(1)),
            ("vit_cls", "blocks.1[0]", lambda m, x: inner(m, x, "blocks.1")[:, 0]),
            ("vit_cls", "blocks.1[3, -1]", lambda m, x: inner(m, x, "blocks.1")[:, [3, 16]].flatten(1)),
            (
                "vit_cls",
                "blocks.0[0]+blocks.2[0]",
                lambda m, x: torch.cat([inner(m, x, f"blocks.{i}")[:, 0] for i in (0, 2)], 1),
            ),
            ("swin", "tokens[(1, 2)]", lambda m, x: m.forward_features(x)[:, 1, 2]),
            ("swin", "layers.0[(0, 3), (2, 1)]", lambda m, x: inner(m, x, "layers.0")[:, [0, 2], [3, 1]].flatten(1)),
            ("convnext", "tokens[(0, 1)]", lambda m, x: m.forward_features(x)[:, :, 0, 1]),
            ("open_clip_vit", "visual.transformer[0]", lambda m, x: inner(m.visual, x, "transformer")[:, 0]),
            ("open_clip_vit", "visual.transformer.resblocks.0.mlp.c_fc[0]", first_projection),
        ],
    )
    def test_the_sum_is_what_the_module_returns_there(self, name: str, output: str, slow: Any) -> None:
        module, images = model(name)
        decomposer = vd.Decomposer(module, output=output, cache=None).fit(images[:1])
        with torch.no_grad():
            expected = slow(module, images)
        found = decomposer.transform(images)
        assert (found.total() - expected).abs().max() <= 1e-11 * expected.abs().max()
        assert decomposer.report_.covered

    def test_blocks_behind_the_output_are_no_part_of_it(self) -> None:
        module, images = model("vit_cls")
        report = vd.Decomposer(module, output="blocks.1", positions=0, cache=None).fit(images[:1]).report_
        assert {site.name.split(".")[1] for site in report.sites} == {"0", "1"}

    def test_each_position_is_decomposed_as_alone(self) -> None:
        module, images = model("vit_cls")
        both = vd.Decomposer(module, output="blocks.1", positions=[2, 5], cache=None).fit(images[:1])
        values = both.transform(images).values.unflatten(-1, (2, -1))
        for place, position in enumerate((2, 5)):
            one = vd.Decomposer(module, output="blocks.1", positions=position, cache=None).fit(images[:1])
            found = one.transform(images)
            names = [c.name for c in both.components_]
            own = values[:, [names.index(c.name) for c in found.components], place]
            assert torch.allclose(own, found.values, atol=1e-12)

    def test_the_module_is_left_without_hooks(self) -> None:
        module, images = model("vit_cls")
        vd.Decomposer(module, output="blocks.1[0]", cache=None).fit(images[:1])
        with pytest.raises(vd.InputError):
            vd.Decomposer(module, output="blocks.1[99]", cache=None).fit(images[:1])
        assert not any(m._forward_hooks for m in module.modules())

    def test_a_fitted_decomposer_is_saved_with_its_positions(self, tmp_path: Any) -> None:
        module, images = model("vit_cls")
        first = vd.Decomposer(module, output="blocks.1", positions=[0, 3]).fit(images[:1])
        first.save(tmp_path / "it.safetensors")
        second = vd.Decomposer.load(tmp_path / "it.safetensors", module)
        assert second.output == "blocks.1[0, 3]"
        assert torch.equal(first.transform(images).values, second.transform(images).values)

    @pytest.mark.parametrize(
        ("output", "positions", "message"),
        [
            ("blocks.1", None, r"in brackets: NAME\[0\]"),
            ("blocks.1", 99, r"no position 99, it is 17 tokens"),
            ("blocks.1", (1, 2), r"no position \(1, 2\), it is 17 tokens"),
            ("blocks.9", 0, r"has no output 'blocks.9'; did you mean blocks"),
            ("embedding", 0, r"the output has no tokens"),
            ("blocks.1", "some", r"positions 'some': give token numbers"),
            ("blocks.1", [], r"positions '': give token numbers"),
            (lambda m, x: m(x), 0, r"goes with the name of an output"),
        ],
    )
    def test_bad_input(self, output: Any, positions: Any, message: str) -> None:
        module, images = model("vit_cls")
        with pytest.raises(vd.VitdecompError, match=message):
            vd.Decomposer(module, output=output, positions=positions, cache=None).fit(images[:1])

    def test_a_module_that_is_not_called(self) -> None:
        module, images = model("vit_cls")
        module.spare = nn.Linear(2, 2).double()
        with pytest.raises(vd.InputError, match="does not call this module"):
            vd.Decomposer(module, output="spare", cache=None).fit(images[:1])


class TestPositions:
    @given(st.lists(st.integers(-50, 50), min_size=1, max_size=5))
    def test_token_numbers_are_read_as_they_are_named(self, numbers: list[int]) -> None:
        name, which = split(at_positions("blocks.8", numbers))
        assert name == "blocks.8"
        assert which is not None
        assert parsed(which) == numbers

    @given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=5))
    def test_places_are_read_as_they_are_named(self, places: list[tuple[int, int]]) -> None:
        assert parsed(split(at_positions("tokens", places))[1] or "") == places

    @given(st.text(max_size=12))
    def test_any_text_is_read_or_refused(self, text: str) -> None:
        with suppress(vd.SpecError):
            assert parsed(text)

    @pytest.mark.parametrize("prefix", [0, 1, 5])
    def test_patches_are_the_grid_at_the_end(self, prefix: int) -> None:
        tokens = torch.randn(2, prefix + 16, 3)
        assert torch.equal(at(tokens, "patches", IMAGES), tokens[:, prefix:].mean(1))

    def test_patches_of_a_wide_image(self) -> None:
        tokens = torch.randn(2, 1 + 2 * 4, 3)
        assert torch.equal(at(tokens, "patches", torch.zeros(2, 3, 16, 32)), tokens[:, 1:].mean(1))

    @pytest.mark.parametrize("shape", [(2, 5, 4, 4), (2, 4, 4, 5)])
    def test_channels_first_or_last(self, shape: tuple[int, ...]) -> None:
        value = torch.randn(shape)
        last = value.movedim(1, -1) if shape[1] == 5 else value
        assert torch.equal(at(value, "(1, 2)", IMAGES), last[:, 1, 2])

    def test_a_map_whose_channels_nobody_can_tell(self) -> None:
        with pytest.raises(vd.InputError, match="cannot tell the channels"):
            at(torch.zeros(2, 4, 4, 4), "(0, 0)", IMAGES)
