"""Retrieval finds what the slow and obvious way finds: expand every image, take cosines, sort."""

from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch.nn.functional import normalize
from vitdecomp_alignment import ClosedForm, CompAlign, LinearAlign

import vitdecomp as vd
from vitdecomp.retrieval.nearest import Nearest
from vitdecomp.sources.aligner import Aligner
from vitdecomp.sources.source import Columns
from vitdecomp.testing import AlignerContract

WORDS = {"forest": 0, "sea": 1, "red": 2, "blue": 3}


def contributions(n=200, seed=0, dtype=torch.float64):
    c = AlignerContract().contributions(n, seed)
    return replace(c, values=c.values.to(dtype) + 2.0)


@dataclass(frozen=True)
class LowRank:
    """Contributions kept as coefficients in a basis of each component, as a store has them."""

    c: vd.Contributions

    @property
    def components(self):
        return self.c.components

    @property
    def dimension(self):
        return self.c.dimension

    def fingerprint(self):
        return self.c.fingerprint()

    def __len__(self):
        return len(self.c)

    def take(self, rows):
        return self.c.take(rows)

    def basis(self, component):
        own = self.c.coefficients(component, range(len(self)))
        _, strength, right = torch.linalg.svd(own, full_matrices=False)
        return right[strength > 1e-9 * strength[0]].T

    def coefficients(self, component, rows):
        return self.c.coefficients(component, rows) @ self.basis(component)


MADE = [ClosedForm(), CompAlign(epochs=2, coordinates="full"), LinearAlign(epochs=2)]
SCOPES = [vd.Scope(), vd.Scope(components=("b.mlp",)), vd.Scope("location", without=("colour",))]


class Scorer:
    features_ = ("location", "colour")

    def __init__(self, c):
        self.ranking = {"location": c.components, "colour": tuple(reversed(c.components))}

    def top(self, feature, k):
        return self.ranking[feature][:k]


def texts(d=12, seed=3):
    vectors = torch.randn(4, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return {"location": vectors[:2] + 1.0, "colour": vectors[2:] + 1.0}


def encoder(d=12):
    vectors = torch.cat(list(texts(d).values()))
    return lambda asked: torch.stack([vectors[WORDS[text]] for text in asked])


def aligned(aligner, c):
    target = torch.randn(c.dimension, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return aligner.fit(c, (c.total().double() @ target).to(c.values) + 0.1)


def obvious(features, query, k, center=True):
    """Rows and scores of the k nearest features, written out."""
    mean = features.mean(0) if center else 0
    scores = normalize(features - mean, dim=1) @ normalize(query, dim=0)
    best, rows = scores.sort(descending=True, stable=True)
    return rows[:k].tolist(), best[:k]


def check(hits, rows, scores, tolerance=1e-9):
    assert [hit.row for hit in hits] == rows
    assert torch.allclose(torch.tensor([hit.score for hit in hits], dtype=scores.dtype), scores, atol=tolerance)


@pytest.mark.parametrize("center", [True, False])
@pytest.mark.parametrize("kept", [lambda c: c, LowRank], ids=["in memory", "low rank"])
@pytest.mark.parametrize("pattern", ["*", "b.attn.*", "b.mlp"])
def test_the_same_as_to_expand_everything(kept, center, pattern):
    c = contributions()
    features = c.select(pattern).total()
    query = torch.randn(12, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    hits = vd.Retriever(kept(c), center=center).search(vector=query, components=pattern, k=20)
    expected = obvious(features, query - features.mean(0) if center else query, 20, center)
    check(hits, *expected)


@pytest.mark.parametrize("aligner", [ClosedForm(), CompAlign(epochs=2, bias=True), LinearAlign(epochs=2)], ids=str)
@pytest.mark.parametrize("pattern", ["*", "b.attn.*", "b.mlp"])
def test_a_query_pulled_back_is_compared_as_in_the_other_space(aligner, pattern):
    c = contributions(dtype=torch.float32)
    aligner = aligned(aligner, c)
    query = torch.randn(8, generator=torch.Generator().manual_seed(5))
    mapped = aligner.transform(c)
    features = mapped.select(pattern).total()
    for center in (True, False):
        found = vd.Retriever(LowRank(c), aligner=aligner, center=center).search(vector=query, components=pattern, k=200)
        scores = {hit.row: hit.score for hit in found}
        mean = features.mean(0) if center else 0.0
        expected = torch.cosine_similarity(features - mean, (query - mean)[None])
        assert torch.allclose(torch.tensor([scores[row] for row in range(200)]), expected, atol=1e-5)


def test_the_bias_of_an_aligner_is_a_component_more():
    c = contributions(dtype=torch.float32)
    aligner = aligned(CompAlign(epochs=2, bias=True), c)
    mapped = aligner.transform(c)
    assert len(mapped.components) == len(c.components) + 1
    query = torch.randn(8, generator=torch.Generator().manual_seed(5))
    search = vd.Retriever(c, aligner=aligner, center=False).search
    check(search(vector=query, k=9), *obvious(mapped.total(), query, 9, False), tolerance=1e-5)
    own = mapped.select(["b.*", "bias.b.mlp"]).total()
    check(search(vector=query, components=["b.*", "bias.b.mlp"], k=9), *obvious(own, query, 9, False), tolerance=1e-5)
    with pytest.raises(vd.InputError, match="no component is left"):
        search(vector=query, components="bias.alignment")


@pytest.mark.parametrize(
    "aligner", [ClosedForm(), CompAlign(epochs=2, coordinates="full"), LinearAlign(epochs=2)], ids=str
)
def test_a_restricted_map_is_the_dense_one_seen_by_a_basis(aligner):
    c = contributions(dtype=torch.float32)
    aligner = aligned(aligner, c)
    basis = torch.linalg.qr(torch.randn(12, 5, generator=torch.Generator().manual_seed(2)))[0]
    for place, component in enumerate(c.components):
        assert torch.allclose(aligner.restricted(component), aligner.weights_[place], atol=1e-5)
        assert torch.allclose(aligner.restricted(component, basis), basis.T @ aligner.weights_[place], atol=1e-5)
    with pytest.raises(vd.SpecError, match=r"there is no map of b\.mlpp; did you mean b\.mlp"):
        aligner.restricted(replace(c.components[2], name="b.mlpp"))


def test_only_linear_aligners_can_be_searched_with():
    class Squared(Aligner):
        def fit(self, source, target):
            return self

        def transform(self, c):
            return replace(c, values=c.values**2)

    with pytest.raises(vd.SpecError, match="Squared has no linear map"):
        vd.Retriever(contributions(), aligner=Squared()).search(image=0)


@pytest.mark.parametrize("block", [1, 7, 64, 200, 1000])
def test_the_size_of_a_block_does_not_matter(block):
    c = contributions()
    query = vd.Query(image=(3, 8), combine="best")
    expected = vd.Retriever(c).search_many([query], k=30)[0]
    found = vd.Retriever(c, block=block).search_many([query], k=30)[0]
    check(found, [h.row for h in expected], torch.tensor([h.score for h in expected], dtype=torch.float64))


@pytest.mark.parametrize(
    "scope", [vd.Scope(), vd.Scope(components=("b.mlp",)), vd.Scope("location", without=("colour",))]
)
def test_an_image_finds_itself_first(scope):
    c = contributions()
    retriever = vd.Retriever(LowRank(c), scorer=Scorer(c), top=2)
    for row, hits in enumerate(retriever.search_many([vd.Query(image=row) for row in range(20)], scope, k=2)):
        assert hits[0].row == row
        assert hits[0].score == pytest.approx(1, abs=1e-6)
        assert hits[1].score < hits[0].score
    assert [h.row for h in retriever.search(image=c.take([7]), k=3)] == [h.row for h in retriever.search(image=7, k=3)]


def test_the_sum_of_an_images_contributions_finds_the_image():
    c = contributions()
    assert vd.Retriever(c).search(vector=c.values[3].sum(0), k=1)[0].row == 3
    chosen = c.select("b.attn.*")
    hits = vd.Retriever(c).search(vector=chosen.total()[5], components="b.attn.*", k=1)
    assert (hits[0].row, hits[0].score) == (5, pytest.approx(1))


def test_a_batch_equals_one_by_one():
    c = contributions()
    retriever = vd.Retriever(c, encode_text=encoder(), texts=texts())
    queries = [
        vd.Query(text="forest"),
        vd.Query(image=(1, 2, 3), combine="best"),
        vd.Query(image=4, negative=vd.Query(image=5), weight=0.5),
        vd.Query(text="red", negative="sea"),
        vd.Query(vector=torch.ones(2, 12, dtype=torch.float64) * torch.arange(12), image=9),
    ]
    together = retriever.search_many(queries, k=15)
    for query, hits in zip(queries, together, strict=True):
        alone = retriever.search_many([query], k=15)[0]
        check(alone, [h.row for h in hits], torch.tensor([h.score for h in hits], dtype=torch.float64))
    assert retriever.search_many([], k=3) == ()


def test_references_are_combined_as_they_say():
    c = contributions()
    features = normalize(c.total() - c.total().mean(0), dim=1)
    retriever = vd.Retriever(c)
    mean = normalize(features[[1, 2, 3]].mean(0), dim=0)
    check(retriever.search(image=[1, 2, 3], k=10), *obvious(features, mean, 10, False))
    best, rows = (features @ features[[1, 2, 3]].T).amax(1).sort(descending=True, stable=True)
    found = retriever.search(image=[1, 2, 3], combine="best", k=10)
    assert {hit.row for hit in found[:3]} == {1, 2, 3}
    check(found[3:], rows[3:10].tolist(), best[3:10])
    against = normalize(features[1] - 0.7 * features[2], dim=0)
    negative = retriever.search(image=1, negative=vd.Query(image=2), weight=0.7, k=10)
    check(negative, *obvious(features, against, 10, False))


def test_texts_are_compared_without_what_all_of_them_say():
    c, known = contributions(), texts()
    retriever = vd.Retriever(c, scorer=Scorer(c), texts=known, encode_text=encoder(), top=2)
    features = c.values[:, :2].sum(1)
    words = known["location"]
    check(retriever.search(text="sea", feature="location"), *obvious(features, words[1] - words.mean(0), 10))
    overall = (words.mean(0) + known["colour"].mean(0)) / 2
    check(retriever.search(text="sea"), *obvious(c.total(), words[1] - overall, 10))
    raw = vd.Retriever(c, encode_text=encoder(), texts=known, center=False)
    check(raw.search(text="sea"), *obvious(c.total(), words[1], 10, False))


def test_the_subspace_of_the_texts():
    c, known = contributions(), texts()
    several = {name: torch.cat([t, t.flip(1)]) for name, t in known.items()}
    retriever = vd.Retriever(c, scorer=Scorer(c), texts=several, encode_text=encoder(), top=2, subspace="texts")
    spanned = torch.linalg.svd(several["location"] - several["location"].mean(0), full_matrices=False)[2][:3].T
    features = c.values[:, :2].sum(1) @ spanned
    query = (known["location"][0] - several["location"].mean(0)) @ spanned
    check(retriever.search(text="forest", feature="location"), *obvious(features, query, 10))
    other = torch.linalg.svd(several["colour"] - several["colour"].mean(0), full_matrices=False)[2][:3].T
    left = torch.eye(12, dtype=torch.float64) - other @ other.T
    features = c.values[:, :2].sum(1) @ left  # the components of colour are the last two
    check(retriever.search(image=4, without="colour"), *obvious(features, (features - features.mean(0))[4], 10))
    changed = replace(c, values=c.values + torch.randn(200, 1, 3, dtype=torch.float64) @ other.T)
    again = vd.Retriever(changed, scorer=Scorer(c), texts=several, top=2, subspace="texts")
    first, second = (r.search(image=4, without="colour") for r in (retriever, again))
    assert [h.row for h in first] == [h.row for h in second]


def test_along_its_texts_a_feature_is_seen_by_all_components_unless_a_number_is_given():
    c = contributions()
    known = {name: torch.cat([t, t.flip(1)]) for name, t in texts().items()}
    retriever = vd.Retriever(c, texts=known, encode_text=encoder(), subspace="texts")  # nobody who knows components
    spanned = torch.linalg.svd(known["location"] - known["location"].mean(0), full_matrices=False)[2][:3].T
    query = (texts()["location"][0] - known["location"].mean(0)) @ spanned
    check(retriever.search(text="forest", feature="location"), *obvious(c.total() @ spanned, query, 10))
    with pytest.raises(vd.SpecError, match="no texts of feature 'locaton'; did you mean location"):
        retriever.search(text="forest", feature="locaton")
    for settings in ({"top": 2, "subspace": "texts"}, {"top": 2, "subspace": "whole"}):
        fewer = vd.Retriever(c, scorer=Scorer(c), texts=known, **settings)
        assert fewer.view(vd.Scope("location")).components == c.components[:2]
    left = vd.Retriever(c, scorer=Scorer(c), texts=known, subspace="texts", top=1)
    assert left.view(vd.Scope(without=("colour",))).components == c.components[:-1]


def test_a_permutation_of_images_permutes_hits():
    c = contributions()
    order = torch.randperm(200, generator=torch.Generator().manual_seed(0))
    moved = vd.Retriever(c.take(order.tolist())).search(vector=torch.arange(12.0), k=25)
    expected = vd.Retriever(c).search(vector=torch.arange(12.0), k=25)
    assert [int(order[hit.row]) for hit in moved] == [hit.row for hit in expected]


def test_what_is_not_chosen_is_not_read(tmp_path):
    c = contributions()

    class Watched(LowRank):
        def coefficients(self, component, rows):
            if rows != range(1):  # one image tells the number format
                read.add(component)
            return super().coefficients(component, rows)

    read = set()
    vd.Retriever(Watched(c), cache=tmp_path).search(image=3, components="b.attn.*")
    assert read == set(c.components[:2])
    assert isinstance(Watched(c), Columns)


def test_equal_scores_keep_the_order_of_their_rows():
    for block in (1, 3, 10):
        best = Nearest(1, 4, torch.float64)
        scores = torch.tensor([[0.0, 1, 1, 0, 1, 1, 1, 1, 2, 1]], dtype=torch.float64)
        for start in range(0, 10, block):
            best.add(scores[:, start : start + block], start)
        assert best.rows.tolist() == [[8, 1, 2, 4]]


def test_hits_know_their_files():
    c = contributions()
    paths = [f"photos/{i}.png" for i in range(200)]
    hit = vd.Retriever(c, paths=paths).search(image=3, k=1)[0]
    assert (hit.id, hit.path) == ("photos/3.png", Path("photos/3.png"))
    plain = vd.Retriever(c).search(image=3, k=1)[0]
    assert (plain.id, plain.path, plain.to_json()["path"]) == ("3", None, None)


def test_an_image_of_zeros_is_as_near_as_a_right_angle():
    c = contributions()
    values = c.values.clone()
    values[7] = 0
    hits = vd.Retriever(replace(c, values=values), center=False).search(image=3, k=200)
    assert next(hit.score for hit in hits if hit.row == 7) == 0


def test_pictures_are_taken_apart_by_the_model(tiny_vit, tmp_path):
    picture = Image.linear_gradient("L").convert("RGB").resize((32, 32))
    pictures = [picture.rotate(17 * i) for i in range(9)]

    def pixels(some):
        return (
            torch.stack([torch.frombuffer(bytearray(p.tobytes()), dtype=torch.uint8) for p in some])
            .reshape(-1, 3, 32, 32)
            .double()
        )

    dec = vd.Decomposer(tiny_vit).fit(pixels(pictures))
    retriever = vd.Retriever(dec.transform(pixels(pictures)), decompose=lambda some: dec.transform(pixels(some)))
    assert retriever.search(image=pictures[4], components="*.attn.*", k=1)[0].row == 4
    pictures[5].save(tmp_path / "asked.png")
    assert retriever.search(image=tmp_path / "asked.png", k=1)[0].row == 5
    assert {hit.row for hit in retriever.search(image=[pictures[4], 5], combine="best", k=2)} == {4, 5}
    with pytest.raises(vd.InputError, match="cannot read image"):
        retriever.search(image=tmp_path / "none.png", k=1)


def spoiled(place):
    c = contributions()
    values = c.values.clone()
    values[place] = torch.nan
    return vd.Retriever(replace(c, values=values))


REFUSED = {
    "unknown feature": (lambda r: r.search(image=0, feature="locaton"), vd.SpecError, "no feature 'locaton'; did you"),
    "unknown without": (lambda r: r.search(image=0, without="color"), vd.SpecError, "did you mean colour"),
    "unknown component": (
        lambda r: r.search(image=0, components="b.attn.haed.*"),
        vd.SpecError,
        "did you mean b.attn",
    ),
    "one pattern of two": (
        lambda r: r.search(image=0, components=["b.*", "x"]),
        vd.SpecError,
        "no component matches 'x'",
    ),
    "nothing left": (lambda r: r.search(image=0, components="b.mlp", without="colour"), vd.InputError, "is left"),
    "nothing asked": (lambda r: r.search(), vd.SpecError, "nothing to look for"),
    "no images": (lambda r: r.search(image=[]), vd.SpecError, "nothing to look for"),
    "no combination": (lambda r: r.search(image=0, combine="worst"), vd.SpecError, "did you mean best|cannot combine"),
    "k too large": (lambda r: r.search(image=0, k=201), vd.InputError, "k = 201, but there are 200 images"),
    "k of zero": (lambda r: r.search(image=0, k=0), vd.InputError, "k = 0"),
    "no such row": (lambda r: r.search(image=200), vd.InputError, "there is no row 200: the source has 200 images"),
    "a negative row": (lambda r: r.search(image=-1), vd.InputError, "row -1"),
    "no encoder": (lambda r: r.search(text="forest"), vd.SpecError, "texts need an encoder"),
    "no model": (lambda r: r.search(image="a.png"), vd.SpecError, "needs its model"),
    "another length": (lambda r: r.search(vector=torch.ones(11)), vd.InputError, "in 12 dimensions"),
    "NaN": (lambda r: r.search(vector=torch.full((12,), torch.nan)), vd.InputError, "NaN or infinity in a vector"),
    "zero": (lambda r: vd.Retriever(r.source, center=False).search(vector=torch.zeros(12)), vd.InputError, "is zero"),
    "other components": (lambda r: r.search(image=r.source.select("b.*")), vd.InputError, "other components"),
    "other paths": (lambda r: vd.Retriever(r.source, paths=["a"]), vd.InputError, "1 paths for 200"),
    "no subspace": (lambda r: vd.Retriever(r.source, subspace="text"), vd.SpecError, "did you mean texts"),
    "no texts": (
        lambda r: vd.Retriever(r.source, scorer=Scorer(r.source), subspace="texts").search(image=0, feature="colour"),
        vd.SpecError,
        "no texts of feature 'colour'",
    ),
    "one text": (
        lambda r: vd.Retriever(
            r.source, scorer=Scorer(r.source), subspace="texts", texts={"colour": torch.ones(1, 12)}
        ).search(image=0, feature="colour"),
        vd.InputError,
        "do not differ",
    ),
    "texts of another space": (
        lambda r: vd.Retriever(r.source, texts={"colour": torch.ones(2, 5)}),
        vd.InputError,
        r"vectors \(text, 12\)",
    ),
    "no scorer": (lambda r: vd.Retriever(r.source).search(image=0, feature="colour"), vd.SpecError, "needs a scorer"),
    "NaN in the source": (
        lambda r: spoiled((17, 2, 0)).search(image=0),
        vd.InputError,
        "NaN or infinity in b.mlp",
    ),
    "no source": (lambda r: vd.Retriever(r.source.take([])), vd.InputError, "no images to search"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_bad_input_is_refused_in_one_line(case):
    c = contributions()
    action, error, message = REFUSED[case]
    with pytest.raises(error, match=message) as caught:
        action(vd.Retriever(c, scorer=Scorer(c), top=2))
    assert "\n" not in str(caught.value)


def test_a_broken_image_is_named():
    with pytest.raises(vd.InputError, match=r"NaN or infinity in b\.mlp of image 17"):
        spoiled((17, 2, 0)).search(image=0)
    assert len(spoiled((17, 2, 0)).search(image=0, components="b.attn.*")) == 10
