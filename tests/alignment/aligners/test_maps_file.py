"""Maps on disk: bit for bit what was saved, or a clear refusal."""

import json
import struct
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mutated import mutated
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from vitdecomp_alignment import ClosedForm, CompAlign, LinearAlign, LinearMaps
from vitdecomp_alignment.aligners.maps_file import FORMAT

from vitdecomp import Component, Contributions, InputError, OutputError, SpecError, VitdecompError
from vitdecomp._utils.tensor_file import sealed
from vitdecomp.provenance import Origin

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


def forged(path, change=lambda told: told, *, seal=True, **tensors):
    """The file with another header and other tensors, and a checksum that fits: its writer knows how to make one."""
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    kept = {key: value for key, value in {**load_file(path), **tensors}.items() if value is not None}
    header = json.loads(metadata[FORMAT.key])
    header.pop("sha256", None)
    text = json.dumps(change(header))
    save_file(kept, path, {FORMAT.key: sealed(text, kept) if seal and text.endswith("}") else text})


def flipped(content, bit):
    damaged = bytearray(content)
    damaged[bit // 8] ^= 1 << bit % 8
    return bytes(damaged)


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
    with safe_open(path, framework="pt") as file:
        told = json.loads(file.metadata()[FORMAT.key])
    assert told["schema"] == 2
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
    forged(path, **tensors)
    with pytest.raises(InputError, match="do not fit together"):
        CompAlign.load(path)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"schema": 99}, "has schema 99, and this version of vitdecomp reads 1, 2: update vitdecomp, or make"),
        ({"schema": None}, "schema is null, not a whole number"),
        ({"components": 3}, "components is 3, not a list"),
        ({"components": [{"name": 3}]}, r"components\[0\] has no field 'kind'"),
        ({"components": [{"name": 3, "kind": "mlp"}]}, r"components\[0\].name is 3, not a text"),
        ({"components": [{"name": "a", "kind": "b", "head": -1}]}, r"components\[0\].head is -1, not a number from 0"),
        ({"components": [{"name": "a\x1b[31m", "kind": "b"}]}, r"components\[0\].name is .* without control"),
        ({"components": []}, "rows that are not those of the components"),
        ({"settings": {"nonsense": 1}}, "settings has 'nonsense', which CompAlign does not take"),
        ({"settings": {"epochs": "all"}}, 'settings.epochs does not fit its format: .* "all", not a whole number'),
        ({"settings": {"init": {}}}, "settings.init does not fit its format"),
        ({"settings": 3}, "settings is 3, not an object"),
        ({"metrics": None}, "metrics is null, not an object"),
        ({"metrics": {"cosine": "good"}}, 'metrics.cosine is "good", not a number'),
        ({"origin": {"model": "x"}}, "origin has no field 'weights'"),
        ({"target": {"model": None, "weights": "x"}}, "target.model is null, not a text"),
        ({"fingerprint": []}, r"fingerprint is \[\], not a text"),
        ({"aligner": None}, "aligner is null, not a text"),
    ],
)  # fmt: skip
def test_a_header_that_does_not_fit_is_refused(path, change, told):
    forged(path, lambda header: header | change)
    with pytest.raises(InputError, match=told) as error:
        CompAlign.load(path)
    assert str(error.value).startswith(str(path))
    assert "make them again with `vitdecomp align`" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("whole", [[], None, 3, "text"])
def test_a_header_that_is_no_object_is_refused(path, whole):
    forged(path, lambda header: whole)
    with pytest.raises(InputError, match=r"the whole is .*, not an object"):
        CompAlign.load(path)


def test_every_field_of_the_header_is_needed(path):
    content = path.read_bytes()
    for name in ("schema", "aligner", "settings", "components", "metrics", "fingerprint", "origin", "target"):
        path.write_bytes(content)
        forged(path, lambda header, name=name: {key: value for key, value in header.items() if key != name})
        with pytest.raises(InputError, match=f"has no field '{name}'"):
            CompAlign.load(path)


def test_a_size_that_no_bytes_stand_behind_is_refused_at_once(path):
    content = path.read_bytes()
    for shape in ((10**12, 0), (0, 10**12), (0, 0)):
        path.write_bytes(content)
        forged(path, shared=torch.zeros(shape))
        with pytest.raises(InputError, match="do not fit together: shared of shape"):
            CompAlign.load(path)
    path.write_bytes(content.replace(b'"shape":[10,6]', b'"shape":[70,6]'))
    with pytest.raises(InputError, match="is damaged"):
        CompAlign.load(path)


def test_a_file_of_the_first_version_is_read_and_not_verified(path):
    before = CompAlign.load(path).weights_.clone()  # the file, which may be mapped into memory, is written again
    forged(path, lambda header: header | {"schema": 1}, seal=False)
    assert torch.equal(CompAlign.load(path).weights_, before)
    assert not FORMAT.read(path).verified
    forged(path, lambda header: header | {"schema": 2}, seal=False)
    with pytest.raises(InputError, match="is damaged"):
        CompAlign.load(path)


def test_one_flipped_bit_anywhere_is_noticed(path):
    content, draw = path.read_bytes(), np.random.default_rng(0)
    header = 8 * (8 + struct.unpack("<Q", content[:8])[0])
    bits = [*draw.integers(0, header, 100), *draw.integers(header, 8 * len(content), 100)]
    for bit in map(int, bits):
        path.write_bytes(flipped(content, bit))
        with pytest.raises(InputError, match="make them again with `vitdecomp align`"):
            CompAlign.load(path)
    path.write_bytes(content)
    CompAlign.load(path)


@given(data=st.data(), seal=st.booleans())
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_a_header_says_the_maps_are_the_same_or_refused(path, tmp_path, data, seal):
    other, c = tmp_path / "other.safetensors", contributions()
    other.write_bytes(path.read_bytes())

    def change(header):
        return mutated(header if seal else header | {"schema": 1}, data)

    forged(other, change, seal=seal)
    try:
        aligner = CompAlign.load(other)
        found = aligner.maps_.total(c.values)
    except VitdecompError:
        return
    assert torch.equal(found, CompAlign.load(path).maps_.total(c.values))
    assert all(isinstance(o, Origin) or o is None for o in (aligner.origin_, aligner.target_))


@given(data=st.data())
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_file_of_the_first_version_with_flipped_bytes_loads_or_is_refused(path, tmp_path, data):
    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes(path.read_bytes())
    forged(damaged, lambda header: header | {"schema": 1}, seal=False)
    content = bytearray(damaged.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(content) - 1))
        content[place] = data.draw(st.integers(0, 255))
    damaged.write_bytes(content)
    try:
        maps = CompAlign.load(damaged).maps_
    except (InputError, SpecError):
        return
    assert isinstance(maps, LinearMaps)
    maps.total(contributions().values)
