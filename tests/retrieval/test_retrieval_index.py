"""An index of what some components see gives what the exact search gives, or says how much of it."""

import builtins

import pytest
import torch

import vitdecomp as vd
from vitdecomp.retrieval.index import Index, recall
from vitdecomp.testing import AlignerContract

SCOPE = vd.Scope(components=("b.attn.*",))
QUERIES = [vd.Query(image=row) for row in range(40)]


@pytest.fixture(scope="module")
def retriever():
    return vd.Retriever(AlignerContract().contributions(3000))


def test_a_flat_index_is_exact(retriever):
    index = Index.of(retriever, SCOPE)
    assert index.kind == "Flat"
    scores, rows = index.nearest(QUERIES, k=10)
    expected, exact = retriever.nearest(QUERIES, SCOPE, k=10)
    assert torch.allclose(scores, expected.float(), atol=1e-5)
    assert recall(rows, exact) > 0.999


def test_an_approximate_index_finds_nearly_all(retriever):
    told = []
    index = Index.of(retriever, SCOPE, "IVF20,SQfp16", progress=lambda done, n: told.append((done, n)))
    exact = retriever.nearest(QUERIES, SCOPE, k=10)[1]
    assert recall(index.nearest(QUERIES)[1], exact) > 0.9
    assert told == [(3000, 3000)]
    shuffled = exact[torch.randperm(40, generator=torch.Generator().manual_seed(0))]
    assert recall(shuffled, exact) < 0.3


def test_what_it_cannot_do_is_refused(retriever):
    with pytest.raises(vd.SpecError, match="FAISS has no index 'Flatt'"):
        Index.of(retriever, SCOPE, "Flatt")
    index = Index.of(retriever, SCOPE)
    with pytest.raises(vd.InputError, match="one direction"):
        index.nearest([vd.Query(image=(1, 2), combine="best")])
    with pytest.raises(vd.InputError, match="k = 3001, but there are 3000"):
        index.nearest(QUERIES, k=3001)


def test_without_faiss_it_says_what_to_install(retriever, monkeypatch):
    original = builtins.__import__

    def missing(name, *args, **kwargs):
        if name == "faiss":
            raise ImportError(name)
        return original(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(vd.LoadError, match=r"pip install 'vitdecomp\[index\]'"):
        Index.of(retriever, SCOPE)
