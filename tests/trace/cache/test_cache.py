"""A second fit takes what the first one found, and gets the same from it; else everything is traced anew."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
import torch
from families import NAMES, case, grouped
from helpers import cached, pictures, randomised
from safetensors import SafetensorError, safe_open
from third_party import MODELS
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, fx, nn

import vitdecomp as vd
from vitdecomp._utils import registry
from vitdecomp._utils.tensor_cache import TensorCache
from vitdecomp.models.adapter import as_loaded
from vitdecomp.trace import capture as capturing
from vitdecomp.trace.cache import cache as saved
from vitdecomp.trace.cache import search
from vitdecomp.trace.cache.graph import META
from vitdecomp.trace.linear_graph import LinearGraph
from vitdecomp.trace.paths import LinearPaths
from vitdecomp.trace.rule import RULES

aten = torch.ops.aten
TRACED_AGAIN = {"vit_cls", "siglip", "swin", "pvt_v2", "third_party/einsum"}


def one_block() -> nn.Module:
    return randomised(VisionTransformer(img_size=32, patch_size=16, embed_dim=48, depth=1, num_heads=4, num_classes=0))


@pytest.fixture
def tiny_vit() -> nn.Module:
    """One block: most tests trace it."""
    return one_block()


@cached
def first_fit() -> tuple[vd.Decomposer, Path]:
    """A fit of such a model, and where its paths are kept."""
    folder = Path(os.environ["VITDECOMP_CACHE"], "first", str(os.getpid()))
    return vd.Decomposer(one_block(), cache=folder).fit(pictures(1, 32)), folder


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    """A folder as the first fit of `tiny_vit` leaves it."""
    return shutil.copytree(first_fit()[1], tmp_path / "kept")


@pytest.fixture
def traces(monkeypatch: pytest.MonkeyPatch) -> list[nn.Module]:
    """The modules that were traced."""
    seen: list[nn.Module] = []

    def noted(module: nn.Module, images: Tensor) -> Any:
        seen.append(module)
        return capturing.capture(module, images)

    monkeypatch.setattr(search, "capture", noted)
    return seen


def files(folder: Path) -> list[Path]:
    """One for each structure; what is made of the paths stands beside it."""
    return sorted(path for path in folder.glob("*.safetensors") if "-" not in path.name)


def plain(value: Any) -> Any:  # noqa: PLR0911 - one for each kind
    """A value in which nodes are names, so that those of two graphs can be compared."""
    match value:
        case fx.Node():
            return f"%{value.name}"
        case LinearPaths():
            return [plain(getattr(value, name)) for name in ("graph", "parts", "bottleneck", "axis")]
        case LinearGraph():
            return [plain(v) for v in (value.values, value.shapes)]
        case tuple() | list():
            return type(value).__name__, [plain(v) for v in value]
        case frozenset():
            return sorted(map(plain, value))
        case dict():
            return {k: plain(v) for k, v in value.items()}
    slots = getattr(type(value), "__dataclass_fields__", None)
    return value if slots is None else (type(value).__name__, [plain(getattr(value, name)) for name in slots])


@pytest.mark.parametrize("name", grouped(NAMES))
def test_other_weights_of_the_same_structure(name: str, traces: list[nn.Module]) -> None:
    """What was found for one set of weights is read for another one: as exact, and the same paths."""
    first = case(name)
    traces.clear()
    module = randomised(first.animal.make(), seed=1)
    second = vd.Decomposer(module, cache=first.folder).fit(first.images[:1])
    assert not traces
    assert len(files(first.folder)) == 1
    graphs = (each.views.captured.module.graph for each in (first.decomposer, second))
    for a, b in zip(*(graph.nodes for graph in graphs), strict=True):
        assert [a.op, a.name, a.target, plain(a.args), plain(a.kwargs)] == [
            b.op, b.name, b.target, plain(b.args), plain(b.kwargs),
        ]  # fmt: skip
        assert {k: a.meta[k] for k in META if k in a.meta} == {k: b.meta[k] for k in META if k in b.meta}
    assert plain(first.decomposer.views.paths) == plain(second.views.paths)
    found = second.transform(first.images)
    assert found.components == first.contributions.components
    with torch.no_grad():
        truth = as_loaded(module).representation()(first.images)
    assert ((found.total() - truth).norm(dim=1) / truth.norm(dim=1)).max() <= 1e-12
    if name in TRACED_AGAIN:
        anew = vd.Decomposer(module, cache=None).fit(first.images[:1])
        assert plain(anew.views.paths) == plain(second.views.paths)
        assert found.values.equal(anew.transform(first.images).values)


def test_tokens_are_kept_too(tiny_vit: nn.Module, kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = pictures(2, 32)
    first = vd.Decomposer(tiny_vit, by="token", cache=kept).fit_transform(images)
    assert {*search.VIEWS} == {search.PARTS, search.TOKENS, search.NEURONS}
    assert len([*kept.glob("*-tokens.paths.safetensors")]) == 1
    monkeypatch.setattr(search, "VIEWS", {search.PARTS: None, search.TOKENS: None})
    second = vd.Decomposer(tiny_vit, by="token", cache=kept).fit_transform(images)
    assert second.values.equal(first.values)


class Scaled(nn.Module):
    """A model whose forward depends on what no structure tells."""

    def __init__(self, inner: nn.Module, factor: object) -> None:
        super().__init__()
        self.inner, self.factor = inner, factor

    def forward(self, images: Tensor) -> Tensor:
        result: Tensor = self.inner(images) * self.factor.value  # type: ignore[attr-defined]
        return result


class Factor:
    """A number that is no plain attribute of the module."""

    def __init__(self, value: float) -> None:
        self.value = value


def test_another_forward_behind_the_same_structure(
    tiny_vit: nn.Module, tmp_path: Path, traces: list[nn.Module]
) -> None:
    images = pictures(2, 32)
    for factor, traced in ((1.0, 1), (2.0, 2), (2.0, 2)):
        module = Scaled(tiny_vit, Factor(factor))
        total = vd.Decomposer(module, cache=tmp_path).fit_transform(images).total()
        assert torch.allclose(total, module(images), atol=1e-10)
        assert len(traces) == traced
        assert len(files(tmp_path)) == 1


@pytest.mark.parametrize("part", ["shape", "number", "zero", "hook", "through"])
def test_another_structure_is_another_file(part: str, tiny_vit: Any, kept: Path, traces: list[nn.Module]) -> None:
    options: dict[str, Any] = {"through": ["blocks.0.attn"]} if part == "through" else {}
    if part == "shape":
        tiny_vit = tiny_vit.float()
    elif part == "number":
        tiny_vit.blocks[0].attn.scale *= 2
    elif part == "zero":
        tiny_vit.blocks[0].mlp.fc2.weight.data.zero_()
    elif part == "hook":
        tiny_vit.norm.register_forward_hook(lambda module, given, found: found + found)
    images = pictures(1, 32).to(next(tiny_vit.parameters()))
    vd.Decomposer(tiny_vit, cache=kept, **options).fit(images)
    assert (len(traces), len(files(kept))) == (1, 2)


@pytest.mark.parametrize(
    "damage", [lambda b: b[: len(b) // 2], lambda b: b.replace(b"vitdecomp", b"vitdecomq"), lambda b: b""]
)
def test_a_damaged_file_is_replaced(damage: Callable[[bytes], bytes], kept: Path, traces: list[nn.Module]) -> None:
    images, first = pictures(1, 32), first_fit()[0]
    (path,) = files(kept)
    path.write_bytes(damage(path.read_bytes()))
    for _ in range(2):
        found = vd.Decomposer(first.loaded_.module, cache=kept).fit_transform(images)
        assert found.values.equal(first.transform(images).values)
        assert len(traces) == 1  # the second time it is whole again


def test_paths_that_are_not_exact_are_replaced(tiny_vit: nn.Module, kept: Path, traces: list[nn.Module]) -> None:
    images, good = pictures(1, 32), first_fit()[0]
    paths, store = good.views.of("head")[0], saved.PathsCache(kept)
    made = good.views.search
    store.keep(f"{made.key}-{search.PARTS}", made.module, replace(paths, parts=paths.parts[:-1]))
    assert vd.Decomposer(tiny_vit, cache=kept).fit(images).report_.exact
    assert len(traces) == 1


def test_the_code_of_rules_of_ones_own_is_part_of_the_name(
    tiny_vit: nn.Module, tmp_path: Path, traces: list[nn.Module]
) -> None:
    op = aten.special_bessel_j0
    for factor, traced in ((1, 1), (1, 1), (2, 2)):
        vd.register_rule(op)(lambda op, x, factor=factor: [vd.data(x).then(torch.mul, factor)])
        try:
            vd.Decomposer(tiny_vit, cache=tmp_path).fit(pictures(1, 32))
        finally:
            RULES.remove(op)
        assert len(traces) == len(files(tmp_path)) == traced


UNTRACED = """
import sys, torch, timm, vitdecomp as vd
from vitdecomp.trace.cache import search
search.capture = None
module = timm.models.VisionTransformer(img_size=32, patch_size=16, embed_dim=48, depth=1, num_heads=4, num_classes=0)
for weights in module.parameters():
    torch.nn.init.normal_(weights)
print(vd.Decomposer(module.double(), cache=sys.argv[1]).fit(torch.rand(1, 3, 32, 32).double()).report_.exact)
"""


def test_another_process_finds_them(kept: Path) -> None:
    """In a Python of its own, in which everything lies at another address."""
    command = [sys.executable, "-W", "ignore", "-c", UNTRACED, str(kept)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout == "True\n", done.stderr


PLUGIN = """
import torch, vitdecomp as vd
vd.register_rule(torch.ops.aten.special_bessel_j0)(lambda op, x: [vd.data(x).then(torch.mul, {factor})])
"""


@pytest.mark.parametrize("broken", [False, True])
def test_rules_of_plugins_are_part_of_the_name_before_anything_is_looked_up(
    tiny_vit: nn.Module,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    broken: bool,
) -> None:
    def key() -> str:
        return search.Search.of(tiny_vit, pictures(1, 32), None, saved.PathsCache(tmp_path)).key

    plain, keys = key(), list[str]()
    for factor in (1, 2):
        name = f"rules_of_a_plugin_{factor}_{broken}"
        (tmp_path / f"{name}.py").write_text("import nothing" if broken else PLUGIN.format(factor=factor))
        entry = EntryPoint("bessel", name, "vitdecomp.rules")
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.setattr(registry, "entry_points", lambda group, entry=entry: [entry])
        monkeypatch.setattr(RULES, "_complete", False)
        monkeypatch.setattr(RULES, "broken", {})
        keys.append(key())
        RULES.remove(aten.special_bessel_j0)
    assert len({plain, *keys}) == (1 if broken else 3)
    assert len(caplog.messages) == (2 if broken else 0)
    assert all("plug-in 'bessel' (vitdecomp.rules)" in line for line in caplog.messages)


def test_what_cannot_be_written_is_not_kept(
    tiny_vit: nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vitdecomp.trace.cache.graph.CONSTANT_BYTES", -1)
    assert vd.Decomposer(tiny_vit, cache=tmp_path).fit(pictures(1, 32)).report_.exact
    assert not files(tmp_path)


def test_a_folder_that_cannot_be_is_no_error(tiny_vit: nn.Module, tmp_path: Path) -> None:
    place = tmp_path / "file"
    place.write_text("")
    assert vd.Decomposer(tiny_vit, cache=place / "below").fit(pictures(1, 32)).report_.exact


def test_no_weights_are_written(tiny_vit: nn.Module, kept: Path) -> None:
    (path,) = files(kept)
    with safe_open(path, framework="pt") as file:
        assert not file.keys()
    assert path.stat().st_size < sum(p.nbytes for p in tiny_vit.parameters()) / 4


def test_a_folder_stays_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(saved, "TensorCache", partial(TensorCache, max_bytes=1))
    for name in ("einops_cls", "parallel"):
        vd.Decomposer(randomised(MODELS[name][0]()), cache=tmp_path).fit(pictures(1, 16))
    assert not list(tmp_path.iterdir())


def test_what_was_never_finished_goes(tiny_vit: nn.Module, tmp_path: Path) -> None:
    old, young = tmp_path / "a.new.partial", tmp_path / "b.new"
    for path in (old, young):
        path.write_bytes(b"half")
    os.utime(old, (0, 0))
    vd.Decomposer(tiny_vit, cache=tmp_path).fit(pictures(1, 32))
    assert old not in tmp_path.iterdir()
    assert young in tmp_path.iterdir()


def test_the_usual_place(tiny_vit: nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VITDECOMP_CACHE", str(tmp_path))
    vd.Decomposer(tiny_vit, cache=None).fit(pictures(1, 32))
    assert not list(tmp_path.iterdir())
    vd.Decomposer(tiny_vit).fit(pictures(1, 32))
    assert len(files(tmp_path / "paths")) == 1


def mean_pooled() -> nn.Module:
    """A model with many tokens, all of which reach the output: tables of them and of their biases are long."""
    sizes: dict[str, Any] = {"img_size": 64, "patch_size": 2, "embed_dim": 16, "depth": 2, "num_heads": 2}
    return VisionTransformer(**sizes, num_classes=0, global_pool="avg", class_token=True)


def test_many_tokens_make_no_long_header(tmp_path: Path, traces: list[nn.Module]) -> None:
    images = pictures(1, 64)
    first = vd.Decomposer(randomised(mean_pooled()), cache=tmp_path).fit(images)
    (path,) = files(tmp_path)
    assert path.stat().st_size < 200_000  # 1024 tokens of 16 channels, in every constant
    second = vd.Decomposer(randomised(mean_pooled(), seed=1), cache=tmp_path).fit(images)
    assert len(traces) == 1
    assert plain(first.views.paths) == plain(second.views.paths)


@pytest.mark.parametrize("failing", ["write", "read", "mkdir", "fingerprint"])
@pytest.mark.parametrize("error", [OSError(28, "No space left"), SafetensorError("header too large"), MemoryError()])
def test_nothing_that_goes_wrong_stops_a_fit(
    failing: str, error: Exception, tiny_vit: nn.Module, kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*arguments: Any, **options: Any) -> Any:
        raise error

    images = pictures(1, 32)
    owner = {"mkdir": Path, "fingerprint": search}.get(failing, saved.TensorFormat)
    monkeypatch.setattr(owner, failing, fails)
    decomposer = vd.Decomposer(tiny_vit, cache=kept).fit(images)
    assert decomposer.report_.exact
    assert decomposer.attribute(images, torch.ones(1, 48, dtype=torch.float64), by="token").isfinite().all()


def test_what_is_no_file_is_passed_over(tiny_vit: nn.Module, kept: Path) -> None:
    (path,) = files(kept)
    path.unlink()
    os.mkfifo(path)  # to read from it would wait for ever
    assert vd.Decomposer(tiny_vit, cache=kept).fit(pictures(1, 32)).report_.exact
