"""Maps on disk: bit for bit what was saved, or a clear refusal."""

import json
import struct
from dataclasses import replace

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from vitdecomp_alignment import ClosedForm, CompAlign, LinearAlign, LinearMaps
from vitdecomp_alignment.maps_file import FORMAT

from vitdecomp import Component, Contributions, InputError, OutputError, SpecError
from vitdecomp.origin import Origin

ORIGIN = Origin("timm:vit", "abc", "embedding")


def contributions(n=60, d=10, origin: Origin | None = ORIGIN, seed=0):
    source = torch.Generator().manual_seed(seed)
    head = torch.randn(n, 2, generator=source) @ torch.randn(2, d, generator=source)
    values = torch.stack([head, torch.randn(n, d, generator=source)], 1)
    components = (Component("b.attn.head.0", "attn", "b", "b.attn", 0), Component("b.mlp", "mlp", "b", "b.mlp"))
    return Contributions(values, components, torch.zeros(n, dtype=torch.float64), origin=origin)


def target(c):
    return c.total() @ torch.randn(c.dimension, 6, generator=torch.Generator().manual_seed(5))


ALIGNERS = [
    ClosedForm(random_state=3),
    CompAlign(epochs=1, bias=True, orthogonality=0.0),
    CompAlign(epochs=1, coordinates="full", init="random"),
    LinearAlign(epochs=1),
]


@pytest.fixture(params=ALIGNERS, ids=lambda aligner: repr(aligner)[:40])
def fitted(request):
    c = contributions()
    return request.param.fit(c, target(c))


@pytest.fixture
def path(tmp_path):
    c = contributions()
    aligner = CompAlign(epochs=1, bias=True).fit(c, target(c))
    aligner.save(tmp_path / "maps.safetensors")
    return tmp_path / "maps.safetensors"


def edited(path, change):
    """The file with another header."""
    data = path.read_bytes()
    size = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8 : 8 + size])
    told = json.loads(header["__metadata__"][FORMAT])
    header["__metadata__"][FORMAT] = json.dumps(change(told))
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data[8 + size :])


def retold(path, **tensors):
    """The file with other tensors."""
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        told = file.metadata()
    kept = {key: value for key, value in {**load_file(path), **tensors}.items() if value is not None}
    save_file(kept, path, told)


def test_a_round_trip_is_bit_for_bit(fitted, tmp_path):
    fitted.target_ = Origin("open_clip:ViT-B-16", "def")
    fitted.save(tmp_path / "a.safetensors")
    read = type(fitted).load(tmp_path / "a.safetensors")
    c = contributions(seed=1)
    assert torch.equal(read.transform(c).values, fitted.transform(c).values)
    assert torch.equal(read.weights_, fitted.weights_)
    assert read.get_params() == fitted.get_params()
    assert (read.metrics_, read.fingerprint_, read.origin_) == (fitted.metrics_, fitted.fingerprint_, ORIGIN)
    assert read.target_ == Origin("open_clip:ViT-B-16", "def")
    read.save(tmp_path / "b.safetensors")
    assert (tmp_path / "b.safetensors").read_bytes() == (tmp_path / "a.safetensors").read_bytes()


def test_the_header_tells_what_the_maps_are_for(path):
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        told = json.loads(file.metadata()[FORMAT])
    assert told["schema"] == 1
    assert told["origin"] == {"model": "timm:vit", "weights": "abc", "output": "embedding"}
    assert [c["name"] for c in told["components"]] == ["b.attn.head.0", "b.mlp"]
    assert told["fingerprint"] == contributions().fingerprint()
    assert told["metrics"]["validation_distance"] < 1


@pytest.mark.parametrize(
    "other", [Origin("timm:vit", "xyz"), Origin("timm:deit", "xyz"), Origin("timm:vit", "abc", "logits")]
)
def test_another_model_is_refused(path, other):
    aligner = CompAlign.load(path)
    with pytest.raises(InputError, match=r"the maps are for timm:vit \(embedding\), not"):
        aligner.transform(contributions(origin=other))
    with pytest.raises(InputError, match="the maps are for"):
        aligner.score(contributions(origin=other), target(contributions()))
    aligner.transform(contributions(origin=None))


def test_other_components_are_refused(path):
    aligner, c = CompAlign.load(path), contributions()
    with pytest.raises(InputError, match=r"other components: here without b\.mlp"):
        aligner.transform(c.select("*head*"))
    with pytest.raises(InputError, match="contributions of dimension 4, but the maps were fitted to 10"):
        aligner.transform(replace(c, values=c.values[..., :4]))


def test_another_kind_of_aligner_is_refused(path):
    with pytest.raises(InputError, match=r"holds a CompAlign, not a ClosedForm: use CompAlign\.load"):
        ClosedForm.load(path)


def test_what_is_not_fitted_is_not_saved(tmp_path):
    with pytest.raises(SpecError, match="not fitted yet"):
        CompAlign().save(tmp_path / "maps.safetensors")
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written(tmp_path, fitted):
    with pytest.raises(OutputError, match="there is no directory"):
        fitted.save(tmp_path / "nowhere" / "maps.safetensors")
    with pytest.raises(OutputError, match="it is a directory"):
        fitted.save(tmp_path)


def test_no_file(tmp_path):
    with pytest.raises(InputError, match="there are no maps at"):
        CompAlign.load(tmp_path / "maps.safetensors")


@pytest.mark.parametrize("cut", [0, 4, 8, 50, 1000, -1])
def test_a_truncated_file_is_refused(path, cut):
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(InputError, match="is damaged"):
        CompAlign.load(path)


def test_a_huge_header_is_refused(path):
    path.write_bytes(struct.pack("<Q", 2**60) + path.read_bytes()[8:])
    with pytest.raises(InputError, match="is damaged"):
        CompAlign.load(path)


def test_a_pickle_is_refused(path):
    path.write_bytes(b"\x80\x04}\x94\x8c\x06shared\x94K\x01s.")
    with pytest.raises(InputError, match="is damaged"):
        CompAlign.load(path)


def test_other_tensors_are_refused(path):
    save_file({"x": torch.ones(2)}, path)
    with pytest.raises(InputError, match="holds no maps of vitdecomp"):
        CompAlign.load(path)


@pytest.mark.parametrize(
    "tensors",
    [
        {"shared": torch.zeros(9, 6)},
        {"shared": torch.zeros(10)},
        {"shared": None},
        {"bias": torch.zeros(5)},
        {"bias": torch.full((6,), float("nan"))},
        {"0.correction": torch.zeros(2, 3, 6)},
        {"0.correction": None},
        {"0.rows": torch.tensor([1])},
        {"0.rows": torch.tensor([7])},
        {"0.rows": torch.tensor([-1])},
        {"0.rows": torch.tensor([0.0])},
        {"0.rows": None},
        {"0.basis": torch.zeros(1, 10, 3)},
        {"0.basis": torch.full((1, 10, 2), float("inf"))},
        {"shared": torch.full((10, 6), float("nan"))},
        {"shared": torch.zeros(10, 6, dtype=torch.int64)},
        {"extra": torch.zeros(3)},
    ],
    ids=lambda t: "-".join(f"{k}{'' if v is None else tuple(v.shape)}" for k, v in t.items()),
)
def test_tensors_that_do_not_fit_together_are_refused(path, tensors):
    retold(path, **tensors)
    with pytest.raises(InputError, match="do not fit together"):
        CompAlign.load(path)


@pytest.mark.parametrize(
    "change",
    [
        lambda told: {**told, "schema": 99},
        lambda told: {**told, "components": told["components"][:1]},
        lambda told: {**told, "components": told["components"] * 2},
        lambda told: {**told, "components": [{"name": 3}]},
        lambda told: {**told, "settings": {"nonsense": 1}},
        lambda told: {**told, "settings": 3},
        lambda told: {**told, "metrics": None},
        lambda told: {**told, "origin": {"model": "x"}},
        lambda told: {key: value for key, value in told.items() if key != "origin"},
        lambda told: [],
        lambda told: None,
    ],
)
def test_a_header_that_does_not_fit_is_refused(path, change):
    edited(path, change)
    with pytest.raises(InputError, match=r"do not fit together|holds no maps"):
        CompAlign.load(path)


@given(data=st.data())
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_file_with_flipped_bytes_loads_or_is_refused(path, tmp_path, data):
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(content) - 1))
        content[place] = data.draw(st.integers(0, 255))
    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes(content)
    try:
        maps = CompAlign.load(damaged).maps_
    except (InputError, SpecError):
        return
    assert isinstance(maps, LinearMaps)
    maps.total(contributions().values)
