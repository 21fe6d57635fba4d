"""Videos, spectrograms and volumes are decomposed as images are, and their tokens know their places on any grid."""

from __future__ import annotations

from functools import cache
from math import prod

import pytest
import torch
from other_inputs import CASES, inputs_of, model_of

import vitdecomp as vd
from vitdecomp.component import Token
from vitdecomp.heatmaps.explaining import explain_each

EXACT = 1e-12
NAMES = list(CASES)
METHODS = ["decompose", "value", "raw-attention", "rollout", "legrad"]
AT_INPUT = ["frozen", "gradient-input", "softened", "occlusion", "integrated-gradients"]
MANY = ["timesformer", "volume, mean", "waveform"]  # for what takes longer
pytestmark = pytest.mark.xdist_group("other inputs")


@cache
def fitted(name: str) -> vd.Decomposer:
    return vd.Decomposer(model_of(name), cache=None).fit(inputs_of(name, 1))


def directions(name: str, count: int = 2) -> torch.Tensor:
    source = torch.Generator().manual_seed(2)
    return torch.randn(count, fitted(name).report_.dimension, generator=source, dtype=torch.float64)


def close(found: torch.Tensor, wanted: torch.Tensor) -> bool:
    return bool((found - wanted).abs().max() <= EXACT * wanted.abs().max().clamp_min(1))


@pytest.mark.parametrize("name", NAMES)
def test_the_sum_is_exact_with_all_heads_for_any_number_of_inputs(name: str) -> None:
    dec, x = fitted(name), inputs_of(name, 3)
    c = dec.transform(x)
    assert c.error.max() <= EXACT
    assert sum(k.head is not None for k in c.components) == sum(dec.report_.heads.values())
    assert {*dec.report_.heads.values()} == {3}
    assert sum(dec.report_.heads.values()) == CASES[name].heads
    with torch.no_grad():
        whole = dec.loaded_.representation("embedding")(x)
    assert close(c.values.sum(1), whole)
    assert close(dec.transform(x[1:2]).values, c.values[1:2])


@pytest.mark.parametrize("name", NAMES)
def test_push_is_pull_and_tokens_add_up(name: str) -> None:
    dec, x, q = fitted(name), inputs_of(name, 2), directions(name)
    c = dec.transform(x)
    assert close(dec.attribute(x, q), torch.einsum("ncd,qd->nqc", c.values, q))
    by_token = dec.transform(x, by="token")
    assert by_token.error.max() <= EXACT
    pulled, rows = dec.attribute(x, q, by="token"), [r.name for r in dec.components_of("token")]
    modules, names = dec.attribute(x, q, by="module"), [m.name for m in dec.components_of("module")]
    assert close(pulled.sum(-1), modules[:, :, [names.index(row) for row in rows]])


@pytest.mark.parametrize("name", NAMES)
def test_tokens_know_their_grid(name: str) -> None:
    grid, constants = CASES[name].grid, CASES[name].constants
    tokens = fitted(name).tokens_
    assert [t.kind for t in tokens] == [
        *[t.kind for t in tokens if t.kind in ("class", "register")],
        *["patch"] * prod(grid),
    ]
    assert len(tokens) == constants + prod(grid)
    patches = tokens[constants:]
    assert {t.grid for t in patches} == {grid}
    every = [tuple(at) for at in torch.cartesian_prod(*map(torch.arange, grid)).reshape(-1, len(grid)).tolist()]
    assert [t.position for t in patches] == every
    assert [t.column for t in patches] == [at[-1] for at in every]
    assert [t.row for t in patches] == [at[-2] if len(at) > 1 else None for at in every]


@pytest.mark.parametrize("name", [n for n in NAMES if n not in ("ast", "waveform")])
def test_a_patch_is_where_its_pixels_are(name: str) -> None:
    """Gradient times the input is zero at a patch whose pixels are, and nowhere else."""
    case, x = CASES[name], inputs_of(name, 1)
    place = tuple(size - 1 if axis else 1 for axis, size in enumerate(case.grid))
    where: list[slice] = [slice(None)] * x.ndim
    for axis, cells, at in zip(case.axes, case.grid, place, strict=True):
        step = case.shape[axis] // cells
        where[axis + 1] = slice(at * step, (at + 1) * step)
    without = x.clone()
    without[tuple(where)] = 0
    zero = vd.explain(fitted(name), without, directions(name, 1), "gradient-input").grid[0, 0] == 0
    assert zero[place]
    assert zero.sum() == 1


@pytest.mark.parametrize("name", NAMES)
def test_maps_lie_along_the_axes_of_the_grid(name: str) -> None:
    case, x = CASES[name], inputs_of(name, 2)
    for maps in explain_each(fitted(name), x, directions(name), METHODS).values():
        assert maps.grid.shape == (2, 2, *case.grid)
        assert maps.values.shape == (2, 2, *(case.shape[axis] for axis in case.axes))
        assert bool(maps.grid.isfinite().all())
        assert float(maps.grid.std()) > 0
        assert " x ".join(map(str, case.grid)) in repr(maps)


@pytest.mark.parametrize("name", MANY)
def test_methods_at_the_resolution_of_the_input(name: str) -> None:
    case, x = CASES[name], inputs_of(name, 1)
    found = explain_each(fitted(name), x, directions(name, 1), AT_INPUT)
    size = tuple(case.shape[axis] for axis in case.axes)
    for method, maps in found.items():
        assert maps.grid.shape[2:] == (size if method == "softened" else case.grid), method
        assert maps.values.shape[2:] == size
    assert found["frozen"].residual.abs().max() <= 1e-11


def flashes(name: str, at: int) -> torch.Tensor:
    """A dark video with one bright patch of time."""
    case, x = CASES[name], torch.zeros(1, *CASES[name].shape, dtype=torch.float64)
    step = case.shape[0] // case.grid[0]
    x[:, at * step : (at + 1) * step] = inputs_of(name, 1)[:, :step]
    return x


@pytest.mark.parametrize("name", ["divided", "videomae"])
def test_a_frame_that_moves_moves_its_map(name: str) -> None:
    """Without positions, a model does not care when a frame comes: the map comes when the frame does."""
    model = model_of(name)
    with torch.no_grad():
        if name == "divided":
            model.frames.zero_()
        else:
            model.embeddings.position_embeddings = torch.zeros_like(model.embeddings.position_embeddings).double()
    dec = vd.Decomposer(model, cache=None).fit(flashes(name, 0))
    first, later = (vd.explain(dec, flashes(name, at), directions(name, 1), "decompose").grid for at in (0, 1))
    assert close(later, first.roll(1, 2))
    assert not close(later, first)


def test_shifts_are_refused_in_one_line() -> None:
    with pytest.raises(vd.SpecError, match=r"shifts are along rows and columns, and this grid has 3 axes: leave") as e:
        vd.explain(fitted("divided"), inputs_of("divided", 1), directions("divided"), shifts=4)
    assert "\n" not in str(e.value)


@pytest.mark.parametrize("name", ["divided", "ast", "volume, class token", "timesformer"])
def test_latent_tokens_have_the_same_places(name: str) -> None:
    latent = vd.LatentTokens(fitted(name))
    x = inputs_of(name, 2)
    latent.fit(x[:1])
    assert {t.position for t in latent.tokens_} == {t.position for t in fitted(name).tokens_}
    values = latent.transform(x)
    assert bool(values.isfinite().all())


def test_maps_are_drawn_saved_and_read(tmp_path) -> None:
    x = inputs_of("divided", 2)
    maps = vd.explain(fitted("divided"), x, directions("divided"))
    maps.save(tmp_path / "maps.safetensors")
    again = type(maps).load(tmp_path / "maps.safetensors")
    assert again.size == (4, 8, 12)
    assert torch.equal(again.values, maps.values)
    for name in ("divided", "volume, mean", "ast", "waveform"):
        drawn = vd.explain(fitted(name), inputs_of(name, 1), directions(name, 1)).plot(inputs_of(name, 1))
        drawn.savefig(tmp_path / "maps.png")
    with pytest.raises(vd.InputError, match=r"shape \(4, 3, 8, 9\) does not belong to maps of 4 x 8 x 12"):
        maps.plot(x[..., :9])


class TestToken:
    def test_of_an_image_is_as_it_was(self) -> None:
        assert Token.patch((1, 2), (3, 4)) == Token("patch", 1, 2, (3, 4))
        assert Token("patch", 1, 2, (3, 4)).position == (1, 2)

    def test_of_other_inputs(self) -> None:
        video, wave = Token.patch((5, 1, 2), (6, 3, 4)), Token.patch((7,), (8,))
        assert (video.leading, video.row, video.column, video.position) == ((5,), 1, 2, (5, 1, 2))
        assert (wave.row, wave.column, wave.position) == (None, 7, (7,))
        assert Token("class").position is None
