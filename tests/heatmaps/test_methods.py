"""What every method for heatmaps does, on models of all kinds."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from families import case
from helpers import cached
from others import OTHERS
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

import vitdecomp as vd
from vitdecomp.heatmaps.explainer import EXPLAINERS
from vitdecomp.heatmaps.explaining import explain_each
from vitdecomp.testing import ExplainerContract, untouched

METHODS = vd.explainers()
MODELS = [
    "vit_cls", "vit_registers", "vit_avg", "dinov2", "siglip", "swin", "swinv2", "maxvit", "hiera", "pvt_v2",
    "open_clip_coca", "cait", "third_party/windows",
]  # fmt: skip
OF_EACH_KIND = {"decompose", "value", "frozen", "legrad", "chefer", "raw-attention", "gradcam", "occlusion"}
MULTIPLY = {"chefer", "rollout"}  # the patterns of all blocks, which must be between the same tokens
SEVERAL_GRIDS = {"swin", "swinv2", "maxvit", "hiera", "hf/swin", "torchvision/swin", "wide/swin", "wide/maxvit"}
FINE = {"softened"}  # at the resolution of the image
AUDITED = {"softened", "integrated-gradients"}  # say what they leave out
SINGLE = {"occlusion", "eigencam"}  # whose package computes in single precision
BLIND = {"center", "raw-attention", "rollout", "eigencam"}  # the same for every direction
CHEAP: dict[str, dict[str, Any]] = {"integrated-gradients": {"steps": 2}, "occlusion": {"window": 16, "step": 16}}


@cached
def directions(name: str) -> Tensor:
    d = case(name).contributions.dimension
    return torch.randn(2, d, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def able(name: str) -> dict[str, dict[str, Any]]:
    methods = sorted(OF_EACH_KIND) if name in OTHERS else METHODS
    return {m: CHEAP.get(m, {}) for m in methods if not (m in MULTIPLY and name in SEVERAL_GRIDS)}


@cached
def together(name: str) -> dict[str, vd.Heatmaps]:
    """Maps of all images by all methods."""
    known = case(name)
    with untouched(known.module):
        return explain_each(known.decomposer, known.images, directions(name), able(name))


@cached
def alone(name: str) -> dict[str, vd.Heatmaps]:
    """Maps of the third image and the second direction, under fused attention or not as the user's code has it."""
    known = case(name)
    with torch.inference_mode():
        return explain_each(known.decomposer, known.images[2:3], directions(name)[1:], able(name))


def pairs() -> list:
    found = [(name, method) for name in (*MODELS, *OTHERS) for method in able(name)]
    return [pytest.param(pair, marks=pytest.mark.xdist_group(pair[0]), id="-".join(pair)) for pair in found]


class TestContract(ExplainerContract):
    """Every method keeps the contract on models of all kinds."""

    @pytest.fixture(params=pairs(), autouse=True)
    def _pair(self, request: pytest.FixtureRequest) -> None:
        self.name, self.method = request.param
        self.explainer = EXPLAINERS[self.method]
        self.at_pixels, self.audited = self.method in FINE, self.method in AUDITED
        self.reads_directions = self.method not in BLIND
        if self.method in SINGLE:
            self.tolerance = 1e-4, 1e-5

    def decomposer(self) -> vd.Decomposer:
        return case(self.name).decomposer

    def images(self) -> Tensor:
        return case(self.name).images

    def directions(self) -> Tensor:
        return directions(self.name)

    def together(self) -> vd.Heatmaps:
        return together(self.name)[self.method]

    def alone(self) -> vd.Heatmaps:
        return alone(self.name)[self.method]

    def test_an_image_and_a_direction_alone_have_the_same_map(self) -> None:
        if self.method != "random":  # it draws for all directions in their order
            super().test_an_image_and_a_direction_alone_have_the_same_map()

    # `together` watches the model, and to make all maps once more takes too long.
    test_the_same_maps_come_again_and_the_model_is_left_untouched = None


class TestRandom(ExplainerContract):
    """On the model that comes with the contract, which `random` and `decompose` keep as any plugin's method does."""

    explainer = EXPLAINERS["random"]
    test_an_image_and_a_direction_alone_have_the_same_map = None


class TestDecompose(ExplainerContract):
    explainer = EXPLAINERS["decompose"]


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.xdist_group(n)) for n in ("swin", "hiera")])
@pytest.mark.parametrize("method", sorted(MULTIPLY))
def test_grids_of_several_sizes_have_no_product(name: str, method: str) -> None:
    with pytest.raises(vd.SpecError, match=f"{method} multiplies the patterns of all blocks.*: take another method"):
        vd.explain(case(name).decomposer, case(name).images[:1], directions(name), method)


@pytest.mark.xdist_group("vit_cls")
class TestMaps:
    """On one model what is the same for all."""

    NAME = "vit_cls"

    def maps(self, method: str = "decompose", **settings) -> vd.Heatmaps:
        known = case(self.NAME)
        return vd.explain(known.decomposer, known.images, directions(self.NAME), method, **settings)

    @pytest.mark.parametrize("method", ["decompose", "value"])
    def test_parts_of_the_heads_add_up(self, method: str) -> None:
        """A map of all heads of a block is the sum of those of each head."""
        whole = self.maps(method, components="blocks.1.attn.*")
        heads = [self.maps(method, components=f"blocks.1.attn.head.{i}").grid for i in range(4)]
        torch.testing.assert_close(sum(heads), whole.grid, rtol=1e-9, atol=1e-11)
        assert not torch.allclose(heads[0], heads[1])

    def test_chosen_components_explain_their_own_part(self) -> None:
        maps = self.maps(components="blocks.2.attn.*")
        part = case(self.NAME).contributions.select("blocks.2.attn.*").values.sum(1) @ directions(self.NAME).T
        torch.testing.assert_close(maps.audit.score, part, rtol=1e-10, atol=1e-10)
        assert float(maps.residual.abs().max()) <= 1e-10

    def test_maps_of_pixels_are_moved_back_by_pixels(self) -> None:
        known = case(self.NAME)
        parts = []
        for i, j in ((0, 0), (0, 1), (1, 0), (1, 1)):
            images = torch.roll(known.images, (-i * 4, -j * 4), (-2, -1))
            grid = vd.explain(known.decomposer, images, directions(self.NAME), "frozen", pixels=True).grid
            parts.append(torch.roll(grid, (i * 4, j * 4), (-2, -1)))
        found = self.maps("frozen", pixels=True, shifts=4)
        torch.testing.assert_close(found.grid, sum(parts) / 4, rtol=1e-10, atol=1e-12)

    @pytest.mark.parametrize("method", ["decompose", "frozen"])
    def test_shifted_maps_still_add_up_on_a_finer_grid(self, method: str) -> None:
        maps = self.maps(method, shifts=4)
        assert maps.grid.shape[-2:] == (8, 8)
        audit = maps.audit
        total = maps.grid.sum((-2, -1)) + audit.constants + audit.placeless
        torch.testing.assert_close(total, audit.score, rtol=1e-10, atol=1e-10)

    def test_a_shifted_image_has_a_shifted_map(self) -> None:
        """On a map of pixels, moving the image by the shift and the map back is what `shifts` averages."""
        known = case(self.NAME)
        moved = torch.roll(known.images, (-4, 0), (-2, -1))
        parts = [
            vd.explain(known.decomposer, torch.roll(known.images, (-i * 4, -j * 4), (-2, -1)), directions(self.NAME))
            for i, j in ((0, 0), (0, 1), (1, 0), (1, 1))
        ]
        fine = [p.grid.repeat_interleave(2, 2).repeat_interleave(2, 3) / 4 for p in parts]
        back = [torch.roll(f, s, (2, 3)) for f, s in zip(fine, ((0, 0), (0, 1), (1, 0), (1, 1)), strict=True)]
        torch.testing.assert_close(self.maps(shifts=4).grid, sum(back) / 4, rtol=1e-10, atol=1e-12)
        assert not torch.allclose(moved, known.images)

    def test_pixels_add_up_to_patches(self) -> None:
        pixels = self.maps("frozen", pixels=True)
        assert pixels.grid.shape[-2:] == (32, 32)
        patches = pixels.grid.reshape(4, 2, 4, 8, 4, 8).sum((3, 5))
        torch.testing.assert_close(patches, self.maps("frozen").grid, rtol=1e-10, atol=1e-12)

    def test_the_gate_gap_is_a_share(self) -> None:
        gap = self.maps(gap=True).audit.gate_gap
        assert gap.shape == (4, 2)
        assert bool(((gap > 0) & (gap < 1)).all())
        assert bool(self.maps().audit.gate_gap.isnan().all())

    def test_a_file_holds_all_of_it(self, tmp_path) -> None:
        maps = self.maps(gap=True, labels=["one", "two"])
        maps.save(tmp_path / "maps.safetensors")
        read = vd.Heatmaps.load(tmp_path / "maps.safetensors")
        assert torch.equal(read.values, maps.values)
        assert all(torch.equal(vars(read.audit)[k], v) for k, v in vars(maps.audit).items())
        assert (read.method, read.signed, read.size, read.labels) == (maps.method, True, (32, 32), ("one", "two"))

    def test_a_figure_has_a_panel_for_each_map(self) -> None:
        figure = self.maps().plot(case(self.NAME).images)
        panels = [axis for axis in figure.axes if axis.get_xlabel().startswith("score")]
        assert len(panels) == 4 * 2

    @pytest.mark.parametrize(
        ("method", "settings", "message"),
        [
            ("legard", {}, "no explainer 'legard'; did you mean legrad"),
            ("legrad", {"preset": "papers"}, "preset must be paper or code, not 'papers'"),
            ("legrad", {"layer": 2}, "method 'legrad' has no setting 'layer'; did you mean layers"),
            ("chefer", {"layers": 0}, "layers must be a positive number"),
            ("legrad", {"layers": 0}, "layers must be a positive number"),
            ("chefer", {"components": "blocks.1.*"}, "chefer explains the whole representation"),
            ("decompose", {"components": "blocks.7.*"}, "no component matches 'blocks.7.*'"),
            ("decompose", {"shifts": 2}, "shifts must be 1, 4, 9 or another square, not 2"),
        ],
    )
    def test_what_is_refused(self, method: str, settings: dict, message: str) -> None:
        with pytest.raises(vd.SpecError, match=message):
            self.maps(method, **settings)

    def test_a_direction_of_another_size_is_refused(self) -> None:
        known = case(self.NAME)
        with pytest.raises(vd.InputError, match=r"directions must be \(direction, 48\)"):
            vd.explain(known.decomposer, known.images, torch.randn(2, 7, dtype=torch.float64))


class _Convolutions(TorchDispatchMode):
    """Counts convolutions: the model begins with one, and no gradient flows back to it."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += func is torch.ops.aten.convolution.default
        return func(*args, **(kwargs or {}))


@pytest.mark.xdist_group("vit_cls")
@pytest.mark.parametrize("methods", [["decompose"], ["legrad"], ["decompose", "value", "legrad", "chefer"]])
def test_methods_share_one_run_of_the_model(methods: list[str]) -> None:
    known = case("vit_cls")
    q = directions("vit_cls")
    explain_each(known.decomposer, known.images, q, methods)  # what is made once for a model may run it
    with _Convolutions() as convolutions:
        explain_each(known.decomposer, known.images, q, methods)
    assert convolutions.count == 1
