"""ClipSpace: both encoders of a CLIP, and classes told apart by their names."""

from inspect import unwrap

import open_clip
import pytest
import torch
from PIL import Image
from torch.nn.functional import normalize
from vitdecomp_alignment import ClipSpace
from vitdecomp_alignment.clip.prompts import PLAIN, TEMPLATES

import vitdecomp as vd
from vitdecomp.models.prepare import prepare
from vitdecomp.scenes import FACTORS, SceneDataset
from vitdecomp.testing import untouched

COLOURS, SEEN = FACTORS["colour"], SceneDataset(100, seed=1000, split="test")
OF_COLOURS = ("something {}", "a {} thing")


@pytest.fixture(scope="module")
def clip():
    return ClipSpace("scenes:clip", device="cpu", batch_size=16)


@pytest.fixture(scope="module")
def photographs():
    return [Image.fromarray(pixels) for pixels in SEEN.arrays(range(len(SEEN)))]


def fresh(**options):
    return ClipSpace(vd.load_model("scenes:clip"), **options)


def tokens(texts):
    return open_clip.get_tokenizer("scenes-clip")(list(texts))


def test_texts_and_images_are_encoded_as_open_clip_does(clip, photographs):
    model, pixels = clip.loaded.module, torch.stack([clip.loaded.preprocess(p) for p in photographs[:5]])
    with torch.no_grad():
        for norm in (True, False):
            texts = model.encode_text(tokens(COLOURS), normalize=norm)
            assert torch.allclose(clip.encode_text(COLOURS, normalize=norm), texts, atol=1e-6)
            images = model.encode_image(pixels, normalize=norm)
            assert torch.allclose(clip.encode_image(pixels, normalize=norm), images, atol=1e-6)
            assert torch.allclose(clip.encode_image(photographs[:5], normalize=norm), images, atol=1e-6)
    assert texts.shape[1] == images.shape[1] == clip.dimension == 128
    assert clip.spec == "scenes:clip"


def test_images_are_opened_by_their_paths(clip, photographs, tmp_path):
    photographs[0].save(tmp_path / "a.png")
    expected = clip.encode_image(photographs[:1])
    for path in (tmp_path / "a.png", str(tmp_path / "a.png")):
        assert torch.equal(clip.encode_image([path]), expected)


def test_colours_of_unseen_scenes_are_named(clip, photographs):
    head = clip.zero_shot(COLOURS, OF_COLOURS)
    truth = torch.from_numpy(SEEN.labels["colour"])
    assert (head.predict(clip.encode_image(photographs)) == truth).float().mean() >= 0.9
    shapes = clip.zero_shot(FACTORS["shape"]).predict(clip.encode_image(photographs))
    assert (shapes == torch.from_numpy(SEEN.labels["shape"])).float().mean() >= 0.5


def test_a_template_is_the_mean_of_its_unit_vectors(clip):
    each = [clip.encode_text([template.replace("{}", c) for c in COLOURS]) for template in TEMPLATES]
    mean = torch.stack(each).mean(0)
    assert torch.allclose(clip.encode_text(COLOURS, templates=TEMPLATES), normalize(mean, dim=1), atol=1e-6)
    assert torch.allclose(clip.encode_text(COLOURS, templates=TEMPLATES, normalize=False), mean, atol=1e-6)
    assert torch.allclose(clip.encode_text(COLOURS, templates=PLAIN), clip.encode_text(COLOURS), atol=1e-6)


def test_other_braces_stay_as_they_are(clip):
    assert torch.equal(clip.encode_text(["{0}"], templates=["{a} {}"]), clip.encode_text(["{a} {0}"]))


def test_logits_are_cosines_of_representations_and_of_sums_of_contributions(clip, photographs):
    pixels = torch.stack([clip.loaded.preprocess(p) for p in photographs[:3]])
    head = clip.zero_shot(COLOURS)
    assert torch.allclose(head.weight.norm(dim=1), torch.ones(len(COLOURS)))
    expected = clip.encode_image(pixels) @ clip.encode_text(COLOURS, templates=TEMPLATES).T
    total = vd.Decomposer(clip.loaded).fit(pixels[:1]).transform(pixels).total()
    for representations in (total, 7 * total, total.double()):
        assert torch.allclose(head(representations).float(), expected, atol=1e-4)
    assert head.classes == COLOURS
    with pytest.raises(vd.InputError, match=r"\(n, 128\), not \(3, 64\)"):
        head(total[:, :64])


@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_neither_batch_size_nor_order_nor_company_matter(clip, photographs, batch_size):
    other = ClipSpace(clip.loaded, batch_size=batch_size)
    assert torch.allclose(other.encode_image(photographs[:7]), clip.encode_image(photographs[:7]), atol=1e-6)
    expected = clip.encode_text(COLOURS)
    assert torch.allclose(other.encode_text(COLOURS[::-1]), expected.flip(0), atol=1e-6)
    assert torch.allclose(fresh().encode_text([*COLOURS[:1], "star"])[:1], expected[:1], atol=1e-6)


class Counted:
    """A text tower that notes what it was asked."""

    def __init__(self, space):
        self.tower, self.asked = space._tower, []
        space._tower = self

    def __call__(self, texts):
        self.asked += [*texts]
        return self.tower(texts)


def test_a_text_is_encoded_once():
    space = fresh()
    counted = Counted(space)
    vectors = space.encode_text(["red", "blue", "red"])
    space.encode_text(["blue", "green"])
    assert counted.asked == ["red", "blue", "green"]
    assert torch.equal(vectors[0], vectors[2])


def test_the_memory_is_bounded(monkeypatch):
    monkeypatch.setattr("vitdecomp_alignment.clip.space.REMEMBERED", 2)
    space = fresh()
    assert torch.allclose(space.encode_text(COLOURS), fresh().encode_text(COLOURS))
    assert len(space._known) == 2


@pytest.mark.parametrize("change", ["weights", "dtype"])
@pytest.mark.parametrize("on_disk", [True, False])
def test_vectors_of_other_weights_are_forgotten(change, on_disk, tmp_path):
    space = fresh(cache=tmp_path if on_disk else None)
    before = space.encode_text(COLOURS)
    with torch.no_grad():
        space.loaded.module.text_projection.mul_(-1)
    if change == "dtype":
        space.loaded.module.double()
    assert torch.allclose(space.encode_text(COLOURS).float(), -before, atol=1e-5)
    assert len(list(tmp_path.iterdir())) == 2 * on_disk


def test_texts_alone_are_read_without_the_rest_of_a_model(monkeypatch, photographs):
    loads = []
    prepared = prepare
    monkeypatch.setattr("vitdecomp_alignment.clip.space.prepare", lambda r: loads.append(r) or prepared(r))
    space = ClipSpace("scenes:clip", device="cpu")
    before = space.encode_text(COLOURS)
    assert repr(space) == "ClipSpace: scenes:clip, weights trained"
    assert torch.allclose(before, fresh().encode_text(COLOURS), atol=1e-5)
    assert loads == []
    assert torch.equal(space.encode_image(photographs[:2]), fresh().encode_image(photographs[:2]))
    with torch.no_grad():
        space.loaded.module.text_projection.mul_(-1)
    assert torch.allclose(space.encode_text(COLOURS), -before, atol=1e-5)
    assert len(loads) == 1


def test_half_precision_gives_unit_vectors(photographs):
    space = fresh()
    space.loaded.module.bfloat16()
    for vectors in (space.encode_text(COLOURS), space.encode_image(photographs[:2])):
        assert vectors.dtype == torch.float32
        assert torch.allclose(vectors.norm(dim=1), torch.ones(len(vectors)))


@pytest.mark.parametrize("training", [True, False])
def test_the_model_is_left_untouched(photographs, training):
    space = fresh()
    expected = space.encode_image(photographs[:2])
    space.loaded.module.train(training)
    with untouched(space.loaded.module):
        assert torch.equal(space.encode_image(photographs[:2]), expected)
        assert not space.zero_shot(COLOURS).weight.requires_grad


@pytest.mark.parametrize("pretrained", [True, False])
def test_loading_leaves_the_random_state(pretrained):
    before = torch.get_rng_state()
    ClipSpace("scenes:clip", device="cpu", pretrained=pretrained)
    assert torch.equal(torch.get_rng_state(), before)


def test_vectors_on_disk_are_read_and_damaged_ones_made_anew(tmp_path):
    expected = fresh(cache=tmp_path).encode_text(COLOURS, templates=OF_COLOURS)
    (file,) = tmp_path.iterdir()
    again = fresh(cache=str(tmp_path))
    counted = Counted(again)
    assert torch.equal(again.encode_text(COLOURS, templates=OF_COLOURS), expected)
    assert counted.asked == []
    whole = file.read_bytes()
    for damaged in (b"", whole[:-9], whole[:-1] + bytes([whole[-1] ^ 1]), whole[:100] + whole):
        file.write_bytes(damaged)
        assert torch.allclose(fresh(cache=tmp_path).encode_text(COLOURS, templates=OF_COLOURS), expected, atol=1e-6)
        assert file.read_bytes() == whole
    fresh(cache=tmp_path).encode_text(COLOURS)
    fresh(cache=tmp_path).encode_text(COLOURS[::-1])
    assert len(list(tmp_path.iterdir())) == 3


def test_equal_weights_with_another_activation_have_files_of_their_own(tmp_path):
    vectors = fresh(cache=tmp_path).encode_text(COLOURS)
    other = ClipSpace(vd.load_model("scenes:clip", force_quick_gelu=True), cache=tmp_path)
    assert other.spec == "scenes:clip"
    assert not torch.allclose(other.encode_text(COLOURS), vectors, atol=1e-4)
    assert torch.equal(other.encode_text(COLOURS), ClipSpace(other.loaded).encode_text(COLOURS))


def test_only_a_cache_that_the_user_named_must_be_written(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    with pytest.raises(vd.OutputError, match="cannot create"):
        fresh(cache=tmp_path / "file").encode_text(["red"])
    monkeypatch.setenv("VITDECOMP_CACHE", str(tmp_path / "file"))
    assert torch.equal(fresh(cache=tmp_path / "file" / "texts").encode_text(["red"]), fresh().encode_text(["red"]))
    assert (tmp_path / "file").read_text() == ""


def test_a_model_without_text_encoder_is_refused():
    with pytest.raises(
        vd.SpecError, match=r"timm:vit_tiny_patch16_224 has no text encoder.*open_clip:ViT-B-16"
    ) as caught:
        ClipSpace("timm:vit_tiny_patch16_224", device="cpu", pretrained=False)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("texts", "templates", "words"),
    [
        ("red", None, r"not one string: give \['red'\]"),
        ([], None, "at least one"),
        (["red", 3, None], None, "NoneType, int"),
        (3, None, "not int"),
        (["red"], "a {}", "not one string"),
        (["red"], [], "at least one"),
        (["red"], ["a {}", "a colour"], "'a colour' needs one {}"),
        (["red"], ["{} {}"], "needs one {}"),
    ],
)
def test_texts_that_make_no_sense_are_refused(clip, texts, templates, words):
    with pytest.raises(vd.VitdecompError, match=words):
        unwrap(ClipSpace.encode_text)(clip, texts, templates=templates)  # which checks types itself, as users call it


@pytest.mark.parametrize(
    ("images", "words"),
    [
        (torch.zeros(2, 3, 64, 64, dtype=torch.uint8), "not torch.uint8"),
        (torch.zeros(3, 64, 64), r"\(3, 64, 64\)"),
        (torch.zeros(0, 3, 64, 64), "at least one"),
        ([], "at least one"),
        ([3], "not list"),
        (Image.new("RGB", (9, 9)), "not Image"),
        ("a.png", "not str"),
        (["no.png"], "cannot read image no.png"),
    ],
)
def test_what_is_no_image_is_refused(clip, images, words):
    with pytest.raises(vd.InputError, match=words):
        unwrap(ClipSpace.encode_image)(clip, images)


def test_a_batch_needs_an_image():
    with pytest.raises(vd.SpecError, match="must be positive, not 0"):
        fresh(batch_size=0)
