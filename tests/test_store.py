"""A store gives back what was extracted, row by row, and refuses what is not whole."""

import json
import shutil

import pytest
import torch
from PIL import Image
from timm.models.vision_transformer import VisionTransformer

import vitdecomp as vd
from vitdecomp.adapter import ADAPTERS
from vitdecomp.extract import Extraction, cached, extract
from vitdecomp.origin import Origin
from vitdecomp.prepare import Request, prepare
from vitdecomp.shards import Loading
from vitdecomp.source import Source
from vitdecomp.store import Store

REQUEST = Request("small:vit", random_weights=True, device="cpu", dtype="float64")


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
    extract(REQUEST, Extraction(place / "photos", shard_size=3), place / "parts", loading=Loading(batch_size=2))
    ADAPTERS.remove("small")
    return place


@pytest.fixture
def photos(extracted, tmp_path):
    return shutil.copytree(extracted / "photos", tmp_path / "photos")


@pytest.fixture
def store(extracted, photos, tmp_path):
    parts = shutil.copytree(extracted / "parts", tmp_path / "parts")
    manifest = json.loads((parts / "manifest.json").read_text())
    (parts / "manifest.json").write_text(json.dumps({**manifest, "root": str(photos)}))
    return Store(parts)


def expected(photos):
    ready = prepare(REQUEST)
    x = ready.batch([Image.open(path) for path in sorted(photos.glob("*.png"))])
    return vd.Decomposer(ready.loaded).fit(x[:1]).transform(x)


def test_a_store_is_a_source_of_what_the_decomposer_gives(store, photos):
    source: Source = store
    assert isinstance(source, Source)
    c = expected(photos)
    found = store.take(range(len(store)))
    assert found.components == c.components == store.components
    assert torch.allclose(found.values, c.values, atol=1e-12)
    assert found.dimension == store.dimension == 3
    assert [path.name for path in store.paths] == [f"{i}.png" for i in range(7)]
    assert all(path.is_file() for path in store.paths)


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
    extract(REQUEST, Extraction(photos, shard_size=3), tmp_path / "parts", loading=loading)
    store = Store(tmp_path / "parts")
    assert store.rows == (1, 2, 6)
    assert [path.name for path in store.paths] == ["1.png", "2.png", "6.png"]
    assert torch.equal(store.take([2]).values[0], store.take([0, 2]).values[1])


def test_contributions_know_their_model(store, photos):
    known, told = expected(photos).origin, store.take([0]).origin
    assert told == known
    assert told.model == "small:vit"
    assert known is not None
    told.check(known, "the maps are for")
    told.check(None, "the maps are for")
    for other in (Origin("small:vit", "0", "embedding"), Origin("a:b", known.weights, "logits")):
        with pytest.raises(vd.InputError, match="the maps are for small:vit"):
            told.check(other, "the maps are for")


def test_the_fingerprint_is_of_the_content(store, photos, tmp_path):
    assert Store(store.folder).fingerprint() == store.fingerprint()
    extract(REQUEST, Extraction(photos, limit=6), tmp_path / "fewer")
    assert Store(tmp_path / "fewer").fingerprint() != store.fingerprint()


def test_an_unfinished_extraction_is_no_store(store):
    manifest = json.loads((store.folder / "manifest.json").read_text())
    manifest["done"].pop()
    (store.folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(vd.InputError, match="is not finished"):
        Store(store.folder)


def test_no_extraction_is_no_store(tmp_path):
    with pytest.raises(vd.InputError, match="make them with `vitdecomp extract`"):
        Store(tmp_path / "nowhere")
    with pytest.raises(vd.InputError, match="make them with `vitdecomp extract`"):
        Store(tmp_path)


@pytest.mark.parametrize("change", [lambda data: data[: len(data) // 2], lambda data: b"nothing", lambda data: b""])
def test_a_damaged_shard_is_refused(store, change):
    shard = store.folder / "shard-00001.safetensors"
    shard.write_bytes(change(shard.read_bytes()))
    with pytest.raises(vd.InputError, match="is damaged"):
        Store(store.folder)


def test_a_shard_of_another_place_is_refused(store):
    (store.folder / "shard-00002.safetensors").replace(store.folder / "shard-00001.safetensors")
    with pytest.raises(vd.InputError, match="holds 1 images instead of 3"):
        Store(store.folder)


def test_what_is_cached_is_not_computed_again(photos, tmp_path):
    seen = []
    job = Extraction(photos)
    first = cached(prepare(REQUEST), job, tmp_path / "cache", progress=lambda done, total: seen.append(done))
    assert seen
    seen.clear()
    again = cached(prepare(REQUEST), job, tmp_path / "cache", progress=lambda done, total: seen.append(done))
    assert not seen
    assert again.folder == first.folder
    photos.rename(photos.parent / "moved")
    moved = cached(
        prepare(REQUEST), Extraction(photos.parent / "moved"), tmp_path / "cache", progress=lambda *_: seen.append(0)
    )
    assert not seen
    assert moved.paths[0].is_file()


@pytest.mark.parametrize(
    ("request_", "job"),
    [
        (Request("small:vit", random_weights=True, device="cpu", dtype="float64", seed=1), {}),
        (Request("small:vit", random_weights=True, device="cpu", dtype="float32"), {}),
        (REQUEST, {"by": "block"}),
        (REQUEST, {"by": "representation"}),
        (REQUEST, {"limit": 3}),
    ],
    ids=str,
)
def test_nothing_else_is_taken_for_it(photos, tmp_path, request_, job):
    first = cached(prepare(REQUEST), Extraction(photos), tmp_path / "cache")
    assert cached(prepare(request_), Extraction(photos, **job), tmp_path / "cache").folder != first.folder


def test_another_picture_under_the_same_name_is_not_taken_for_it(photos, tmp_path):
    first = cached(prepare(REQUEST), Extraction(photos), tmp_path / "cache")
    Image.open(photos / "3.png").rotate(90).save(photos / "3.png")
    second = cached(prepare(REQUEST), Extraction(photos), tmp_path / "cache")
    assert second.folder != first.folder
    assert not torch.equal(second.take([3]).values, first.take([3]).values)
    assert torch.equal(second.take([2]).values, first.take([2]).values)


def test_a_cache_that_was_cut_off_is_completed(photos, tmp_path):
    first = cached(prepare(REQUEST), Extraction(photos, shard_size=3), tmp_path / "cache")
    whole = first.take(range(7)).values
    (first.folder / "shard-00001.safetensors").write_bytes(b"half")
    again = cached(prepare(REQUEST), Extraction(photos, shard_size=3), tmp_path / "cache")
    assert torch.equal(again.take(range(7)).values, whole)
