"""A store gives back what was extracted, row by row, and refuses what is not whole."""

import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from made_up import flip, write
from PIL import Image
from timm.models.vision_transformer import VisionTransformer

import vitdecomp as vd
from vitdecomp.extract import ExtractConfig, cached, extract
from vitdecomp.models.adapter import ADAPTERS
from vitdecomp.models.image_loader import Loading
from vitdecomp.models.prepare import ModelOptions, prepare
from vitdecomp.provenance import Origin
from vitdecomp.sources.source import Columns, Source
from vitdecomp.store.encoding import PRECISIONS
from vitdecomp.store.store import Store

JOB = partial(ExtractConfig, chunk_size=3, precision="float64")
REQUEST = ModelOptions("small:vit", random_weights=True, device="cpu", dtype="float64")


class Small(vd.Adapter):
    prefix = "small"

    def load(self, name, *, pretrained, **options):
        module = VisionTransformer(img_size=16, patch_size=8, embed_dim=16, depth=2, num_heads=2, num_classes=3)
        return vd.LoadedModel(module.eval(), None, f"small:{name}", input_size=(3, 16, 16), pretrained=pretrained)


@pytest.fixture(autouse=True)
def small():
    vd.register_adapter(Small)
    yield
    ADAPTERS.remove("small")


@pytest.fixture(scope="module")
def extracted(tmp_path_factory):
    """Pictures and their contributions, for tests that work on a copy."""
    place = tmp_path_factory.mktemp("store")
    (place / "photos").mkdir()
    gradient = Image.linear_gradient("L").convert("RGB")
    for i in range(7):
        gradient.rotate(30 * i).save(place / "photos" / f"{i}.png")
    vd.register_adapter(Small)
    extract(REQUEST, JOB(place / "photos"), place / "parts", loading=Loading(batch_size=2))
    ADAPTERS.remove("small")
    return place


@pytest.fixture(scope="module")
def given(extracted):
    """What the decomposer gives for these pictures."""
    vd.register_adapter(Small)
    c = expected(extracted / "photos")
    ADAPTERS.remove("small")
    return c


@pytest.fixture
def photos(extracted, tmp_path):
    return shutil.copytree(extracted / "photos", tmp_path / "photos")


@pytest.fixture
def store(extracted, photos, tmp_path):
    return Store(shutil.copytree(extracted / "parts", tmp_path / "parts"))


def expected(photos):
    prepared = prepare(REQUEST)
    x = prepared.batch([Image.open(path) for path in sorted(photos.glob("*.png"))])
    return vd.Decomposer(prepared.loaded).fit(x[:1]).transform(x)


def test_a_store_is_a_source_of_what_the_decomposer_gives(store, given):
    source: Source = store
    assert isinstance(source, Source)
    c = given
    found = store.take(range(len(store)))
    assert found.components == c.components == store.components
    assert torch.allclose(found.values, c.values, atol=1e-12)
    assert found.dimension == store.dimension == 3
    assert [path.name for path in store.paths] == [f"{i}.png" for i in range(7)]
    assert store.ids == tuple(f"{i}.png" for i in range(7))
    assert all(path.is_file() for path in store.paths)
    assert torch.allclose(store.embedding().double(), c.total(), rtol=1e-6)
    assert torch.equal(store.error(), found.error)


def test_the_old_name_of_the_metadata_is_deprecated(store):
    with pytest.warns(DeprecationWarning, match=r"Store\.header is deprecated: use Store\.metadata"):
        assert store.header is store.metadata


@pytest.mark.parametrize("rows", [[0], [6, 0, 3, 3], [2, 3], [], range(1, 6)])
def test_rows_come_in_the_order_asked_for(store, rows):
    everything = store.take(range(7))
    assert torch.equal(store.take(rows).values, everything.values[list(rows)])
    assert torch.equal(store.take(rows).error, everything.error[list(rows)])


@pytest.mark.parametrize("size", [1, 2, 7, 100])
def test_batches_are_all_rows_in_order(store, size):
    batches = list(store.batches(size))
    assert all(len(batch) <= size for batch in batches)
    assert torch.equal(torch.cat([batch.values for batch in batches]), store.take(range(7)).values)


@pytest.mark.parametrize("rows", [[7], [-1], [0, 99]])
def test_a_row_that_is_not_there_is_refused(store, rows):
    with pytest.raises(vd.InputError, match="of 7 in"):
        store.take(rows)


def test_left_out_images_have_no_row(photos, tmp_path):
    for name in ("0.png", "4.png", "5.png", "3.png"):
        (photos / name).write_bytes(b"broken")
    loading = Loading(batch_size=2, skip_unreadable=True)
    extract(REQUEST, JOB(photos), tmp_path / "parts", loading=loading)
    store = Store(tmp_path / "parts")
    assert [path.name for path in store.paths] == ["1.png", "2.png", "6.png"]
    assert torch.equal(store.take([2]).values[0], store.take([0, 2]).values[1])


def test_contributions_know_their_model(store, given):
    known, told = given.origin, store.take([0]).origin
    assert told == known
    assert told.model == "small:vit"
    assert known is not None
    told.check(known, "the maps are for")
    told.check(None, "the maps are for")
    for other in (Origin("small:vit", "0", "embedding"), Origin("a:b", known.weights, "logits")):
        with pytest.raises(vd.InputError, match="the maps are for small:vit"):
            told.check(other, "the maps are for")


def test_the_fingerprint_is_of_the_content(store, photos, tmp_path):
    assert Store(store.uri).fingerprint() == store.fingerprint()
    for name, job in (("again", JOB(photos)), ("fewer", JOB(photos, limit=6)), ("coarse", ExtractConfig(photos))):
        extract(REQUEST, job, tmp_path / name, loading=Loading(batch_size=2))
    assert Store(tmp_path / "again").fingerprint() == store.fingerprint()
    assert Store(tmp_path / "fewer").fingerprint() != store.fingerprint()
    assert Store(tmp_path / "coarse").fingerprint() != store.fingerprint()


def test_an_unfinished_extraction_is_no_store(store):
    import lance

    lance.dataset(f"{store.uri}/images.lance").update_config({"complete": "false"})
    with pytest.raises(vd.InputError, match="is not finished"):
        Store(store.uri)


def test_no_extraction_is_no_store(tmp_path):
    with pytest.raises(vd.InputError, match="make them with `vitdecomp extract`"):
        Store(tmp_path / "nowhere")
    with pytest.raises(vd.InputError, match="make them with `vitdecomp extract`"):
        Store(tmp_path)


def data_file(store, table):
    (path,) = (Path(store.uri) / table / "data").iterdir()
    return path


@pytest.mark.parametrize("change", [lambda data: data[: len(data) // 2], lambda data: b""], ids=["half", "empty"])
@pytest.mark.parametrize("table", ["images.lance", "bases.lance"])
def test_a_file_that_is_cut_off_is_refused(store, photos, table, change):
    path = data_file(store, table)
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(vd.InputError, match=r"is damaged .*cut off"):
        Store(store.uri)
    with pytest.raises(vd.OutputError, match=r"is damaged .*cut off"):
        extract(REQUEST, JOB(photos), store.uri)


def test_a_file_that_is_gone_is_refused(store):
    data_file(store, "images.lance").unlink()
    with pytest.raises(vd.InputError, match=r"is damaged .*missing"):
        Store(store.uri)


def test_a_file_that_is_cut_off_while_it_is_read_is_one_line(store):
    path = data_file(store, "images.lance")
    path.write_bytes(b"")
    with pytest.raises(vd.InputError, match="cannot read") as told:
        store.coefficients(store.components[0], range(3))
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("precision", ["float16", "float32", "float64"])
def test_what_is_read_differs_by_no_more_than_is_told(photos, given, tmp_path, precision):
    extract(REQUEST, JOB(photos, precision=precision), tmp_path / "parts", loading=Loading(batch_size=2))
    store, c = Store(tmp_path / "parts"), given
    found = store.take(range(7)).values
    distance = (found - c.values).norm(dim=2)
    length = c.values.norm(dim=2)
    assert bool((distance <= store.loss().double() * length * (1 + 1e-6) + 1e-15).all())
    assert max(store.losses().values()) <= PRECISIONS[precision].promise
    if precision == "float16":
        assert float(store.loss().max()) > 1e-5  # it is not exact by chance


@pytest.mark.parametrize("precision", ["float16", "float32", "float64"])
def test_what_is_lost_by_writing_is_told_beside_the_error_of_computing(photos, given, tmp_path, precision):
    """Neither is the other: the error stays what it was, and the loss is how far the sum of what is read is away."""
    extract(REQUEST, JOB(photos, precision=precision), tmp_path / "parts", loading=Loading(batch_size=2))
    store = Store(tmp_path / "parts")
    away = (store.take(range(7)).total() - given.total()).norm(dim=1) / given.total().norm(dim=1)
    for rows in (range(7), [6, 0, 3, 3], [], range(2, 3)):
        c = store.take(rows)
        assert torch.equal(c.error, store.error()[list(rows)])
        assert bool((c.error < 1e-12).all())
        assert c.loss is not None
        assert c.loss.shape == c.error.shape
        if precision == "float64":
            assert bool((c.loss >= away[list(rows)] - 1e-15).all())  # a bound
            assert bool((c.loss < 1e-11).all())
        else:
            assert torch.allclose(c.loss, away[list(rows)], atol=2e-7)  # the representation is kept in float32
    if precision == "float16":
        assert 1e-5 < float(away.max()) < 5e-3
        assert "loss by writing" in str(store.take([0]))
    assert given.loss is None
    assert "loss" not in str(given)
    joined = vd.Contributions.joined([store.take([0]), store.take([1, 2])])
    assert torch.equal(joined.loss, store.take(range(3)).loss)
    assert torch.equal(joined.take([2, 0]).loss, store.take([2, 0]).loss)
    assert vd.Contributions.joined([given, given]).loss is None


def test_columns_are_what_take_gives(store):
    assert isinstance(store, Columns)
    for rows in (range(7), range(2, 5), range(0)):
        values = store.take(rows).values
        for i, component in enumerate(store.components):
            basis, coefficients = store.basis(component), store.coefficients(component, rows)
            assert coefficients.shape[0] == len(rows)
            found = coefficients if basis is None else coefficients @ basis.T
            assert torch.allclose(found, values[:, i], atol=1e-14)
            if basis is not None:
                assert torch.allclose(basis.T @ basis, torch.eye(basis.shape[1]).double(), atol=1e-12)


def test_a_query_reads_its_own_columns_alone(store, monkeypatch):
    asked = []
    rows = store._images.rows
    monkeypatch.setattr(store._images, "rows", lambda names, wanted: asked.append(list(names)) or rows(names, wanted))
    moving = next(i for i in range(len(store.components)) if store._encodings.column(i) is not None)
    store.coefficients(store.components[moving], range(4))
    assert asked == [[store._encodings.column(moving)]]


@pytest.mark.parametrize("rows", [range(5, 8), range(-1, 2)])
def test_columns_of_a_row_that_is_not_there_are_refused(store, rows):
    with pytest.raises(vd.InputError, match="of 7 in"):
        store.coefficients(store.components[0], rows)


def test_a_component_that_is_not_there_is_refused(store):
    with pytest.raises(vd.SpecError, match=r"no component blocks\.1\.attn\.head\.9.*did you mean"):
        store.basis(vd.Component("blocks.1.attn.head.9", "attn"))


def test_a_uri_is_as_good_as_a_path(store, photos, tmp_path):
    assert torch.equal(Store(f"file://{store.uri}").take([1]).values, store.take([1]).values)
    out = f"file-object-store://{tmp_path}/by_uri.lance"
    done = extract(REQUEST, JOB(photos), out, loading=Loading(batch_size=2))
    assert done.store.uri == out
    assert torch.equal(Store(tmp_path / "by_uri.lance").take(range(7)).values, store.take(range(7)).values)


def test_vectors_of_other_models_are_added_later(store, photos, tmp_path):
    fingerprint, before = store.fingerprint(), store.take(range(7)).values
    first, second = torch.randn(7, 5), torch.randn(7, 4)
    origin = Origin("scenes:clip", "abc")
    store.add_vectors("scenes:clip", first, origin)
    store.add_vectors("mine", first)
    store.add_vectors("mine", second)
    again = Store(store.uri)
    assert again.vectors_of == ("scenes:clip", "mine")
    assert torch.equal(again.vectors("scenes:clip")[0], first)
    assert again.vectors("scenes:clip")[1] == origin
    assert torch.equal(again.vectors("mine")[0], second)
    assert again.vectors("mine")[1] is None
    assert torch.equal(again.take(range(7)).values, before)
    assert again.fingerprint() == fingerprint
    with pytest.raises(vd.SpecError, match="did you mean mine"):
        again.vectors("mind")
    with pytest.raises(vd.InputError, match="6 vectors for 7 images"):
        again.add_vectors("mine", second[:6])
    Image.linear_gradient("L").convert("RGB").rotate(77).save(photos / "8.png")
    extract(REQUEST, JOB(photos), store.uri)
    with pytest.raises(vd.InputError, match=r"1 of 8 images .* no vector of mine"):
        Store(store.uri).vectors("mine")
    with pytest.raises(vd.OutputError, match="was changed meanwhile"):
        again.add_vectors("mine", second)


def test_a_large_store_is_read_row_by_row(store, monkeypatch):
    everything = store.take([3, 1, 1]).values
    monkeypatch.setattr("vitdecomp.store.store.KEPT", 0)
    assert torch.equal(Store(store.uri).take([3, 1, 1]).values, everything)


def test_what_is_cached_is_not_computed_again(photos, tmp_path):
    seen = []
    job = ExtractConfig(photos)
    first = cached(prepare(REQUEST), job, tmp_path / "cache", progress=lambda done, total: seen.append(done))
    assert seen
    seen.clear()
    again = cached(prepare(REQUEST), job, tmp_path / "cache", progress=lambda done, total: seen.append(done))
    assert not seen
    assert again.uri == first.uri
    photos.rename(photos.parent / "moved")
    moved = cached(
        prepare(REQUEST), ExtractConfig(photos.parent / "moved"), tmp_path / "cache", progress=lambda *_: seen.append(0)
    )
    assert not seen
    assert moved.paths[0].is_file()


@pytest.mark.parametrize(
    ("options", "job"),
    [
        (ModelOptions("small:vit", random_weights=True, device="cpu", dtype="float64", seed=1), {}),
        (ModelOptions("small:vit", random_weights=True, device="cpu", dtype="float32"), {}),
        (REQUEST, {"by": "block"}),
        (REQUEST, {"by": "representation"}),
        (REQUEST, {"limit": 3}),
    ],
    ids=str,
)
def test_nothing_else_is_taken_for_it(photos, tmp_path, options, job):
    first = cached(prepare(REQUEST), ExtractConfig(photos), tmp_path / "cache")
    assert cached(prepare(options), ExtractConfig(photos, **job), tmp_path / "cache").uri != first.uri


def test_another_picture_under_the_same_name_is_not_taken_for_it(photos, tmp_path):
    first = cached(prepare(REQUEST), ExtractConfig(photos), tmp_path / "cache")
    Image.open(photos / "3.png").rotate(90).save(photos / "3.png")
    second = cached(prepare(REQUEST), ExtractConfig(photos), tmp_path / "cache")
    assert second.uri != first.uri
    assert not torch.equal(second.take([3]).values, first.take([3]).values)
    assert torch.allclose(second.take([2]).values, first.take([2]).values, atol=1e-14)  # other images, other bases


def test_a_cache_that_was_cut_off_is_completed(photos, tmp_path):
    first = cached(prepare(REQUEST), JOB(photos), tmp_path / "cache")
    whole = first.take(range(7)).values
    data_file(first, "images.lance").write_bytes(b"half")
    again = cached(prepare(REQUEST), JOB(photos), tmp_path / "cache")
    assert torch.equal(again.take(range(7)).values, whole)


@pytest.mark.parametrize("table", ["images.lance", "bases.lance"])
def test_a_cache_with_a_flipped_bit_is_made_again(photos, tmp_path, table):
    first = cached(prepare(REQUEST), JOB(photos), tmp_path / "cache")
    whole, path = first.take(range(7)).values, data_file(first, table)
    flip(path, path.stat().st_size // 2)
    again = cached(prepare(REQUEST), JOB(photos), tmp_path / "cache")
    assert torch.equal(again.take(range(7)).values, whole)
    assert not path.exists()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_cache_is_as_exact_as_the_model(photos, tmp_path, dtype):
    options = replace(REQUEST, dtype=dtype)
    prepared = prepare(options)
    store = cached(prepared, ExtractConfig(photos, precision="float16"), tmp_path / "cache")
    x = prepared.batch([Image.open(path) for path in sorted(photos.glob("*.png"))])
    c = vd.Decomposer(prepared.loaded).fit(x[:1]).transform(x)
    found = store.take(range(7))
    assert found.values.dtype == c.values.dtype == getattr(torch, dtype)
    away = (found.values - c.values).norm(dim=2) / c.values.norm(dim=2).clamp_min(1e-30)
    assert float(away.max()) < {"float32": 3e-6, "float64": 1e-12}[dtype]


def test_one_image_is_taken_without_reading_the_others(tmp_path):
    write(tmp_path / "s", range(0, 40, 10))
    store = vd.Store(tmp_path / "s")
    one = store.take([7])
    assert store._stored._kept is None
    several = store.take([7, 3])
    assert store._stored._kept is not None
    assert torch.allclose(one.values[0], several.values[0], atol=1e-6)
