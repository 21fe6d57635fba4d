"""Tables of contributions: the same numbers in a long and in a wide table, and in every library."""

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import vitdecomp as vd

NAMES = ("embed", "blocks.0.attn.head.0", "blocks.0.attn.head.1", "blocks.0.mlp", "bias.norm")
DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def made(n, size, d, dtype=torch.float64, seed=0):
    heads = [int(name[-1]) if "head" in name else None for name in NAMES]
    components = tuple(
        vd.Component(name, "attn" if head is not None else "other", head=head)
        for name, head in zip(NAMES[:size], heads, strict=False)
    )
    values = torch.randn(n, size, d, generator=torch.Generator().manual_seed(seed)).to(dtype)
    return vd.Contributions(values, components, torch.zeros(n, dtype=torch.float64))


@settings(max_examples=30, deadline=None)
@given(
    n=st.integers(0, 4),
    size=st.integers(1, 5),
    d=st.integers(1, 6),
    dtype=st.sampled_from(DTYPES),
    seed=st.integers(0, 99),
)
def test_both_layouts_hold_what_the_contributions_are(n, size, d, dtype, seed):
    c = made(n, size, d, dtype, seed)
    asked = ("norm", "share", "vector")
    long, wide = (c.to_dataframe("pyarrow", layout=layout, quantities=asked) for layout in ("long", "wide"))
    assert long.num_rows == n * size
    assert wide.num_rows == n
    values = c.values.double()
    for i, component in enumerate(c.components):
        of_it = long.filter(pa.compute.equal(long["component"], component.name))
        assert of_it["image"].to_pylist() == [*range(n)]
        assert set(of_it["head"].to_pylist()) <= {component.head}
        for name in asked:
            assert of_it[name].to_pylist() == wide[f"{name}.{component}"].to_pylist()
        np.testing.assert_allclose(of_it["norm"].to_numpy(), values[:, i].norm(dim=1))
        written = torch.tensor(of_it["vector"].to_pylist(), dtype=torch.float64).reshape(n, d)
        assert torch.equal(written, values[:, i])
    shares = sum(np.asarray(wide[f"share.{component}"]) for component in c.components)
    np.testing.assert_allclose(shares, np.ones(n), rtol=1e-9)


def test_pandas_and_polars_have_the_same_frame():
    c = made(3, 5, 4)
    pandas, polars = c.to_dataframe(), c.to_dataframe("polars")
    assert isinstance(polars, pl.DataFrame)
    assert [*pandas.columns] == polars.columns
    assert [*pandas["share"]] == polars["share"].to_list()
    assert pandas["head"].isna().tolist() == polars["head"].is_null().to_list()
    best = polars.group_by("component").agg(pl.col("share").mean()).sort("share", descending=True)["component"][0]
    assert best == pandas.groupby("component")["share"].mean().idxmax()


def test_gradients_and_shapes_of_vectors_are_no_obstacle():
    c = made(2, 2, 3)
    c.values.requires_grad_()
    frame = c.to_dataframe("polars", layout="wide", quantities=("vector",))
    assert frame["vector.embed"].to_numpy().shape == (2, 3)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"library": "pandsa"}, "no data frames of 'pandsa'; did you mean pandas.*choose of pandas, polars"),
        ({"layout": "broad"}, "no layout 'broad'.*choose of long, wide"),
        ({"quantities": ("norms",)}, "no quantity 'norms'; did you mean norm.*choose of norm, share, vector"),
        ({"quantities": ()}, "no quantity ''"),
    ],
)
def test_an_unknown_name_is_refused_with_the_known_ones(asked, message):
    with pytest.raises(vd.SpecError, match=message):
        made(1, 2, 3).to_dataframe(**asked)
