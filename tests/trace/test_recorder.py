"""What a run of the recorder holds in memory, and batches that are recorded in portions."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, fx, nn
from torch.fx.experimental.proxy_tensor import make_fx

import vitdecomp as vd
from vitdecomp.trace import footprint, recorder
from vitdecomp.trace.footprint import free_bytes, peak_bytes
from vitdecomp.trace.recorder import Recorder
from vitdecomp.trace.walk import alone


@pytest.fixture
def images() -> Tensor:
    return torch.randn(7, 3, 32, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def chain(x: Tensor) -> Tensor:
    a = x + 1  # 1 held
    wide = torch.cat([a, a, a])  # then 3 more
    view = wide.reshape(-1)[:4]
    return view.sum() + a.sum()


class TestPeakBytes:
    def test_views_count_once_and_what_is_done_is_free(self) -> None:
        x = torch.zeros(25, 10)  # 1,000 bytes
        found = peak_bytes(fx.symbolic_trace(chain), x)
        assert found == 4004  # and the view's sum, before the wide one is free

    def test_weights_and_their_views_do_not_count(self) -> None:
        linear = nn.Linear(100, 100, bias=False)
        graph = fx.Graph()
        x, weight = graph.placeholder("x"), graph.get_attr("weight")
        turned = graph.call_method("t", (weight,))
        graph.output(graph.call_function(torch.matmul, (x, turned)))
        assert peak_bytes(fx.GraphModule(linear, graph), torch.zeros(1, 100)) == 400  # the product

    def test_it_is_what_lives_between_operations(self, tiny_vit: nn.Module, images: Tensor) -> None:
        """Against a run that asks the garbage collector which tensors are alive, after every operation."""
        model = make_fx(tiny_vit.double())(images)
        there = [images, *model.state_dict(keep_vars=True).values()]
        known = {t.untyped_storage().data_ptr() for t in there}
        alive: list[weakref.ref[Tensor]] = []
        most = 0

        class Watched(fx.Interpreter):
            def run_node(self, n: fx.Node) -> Any:
                nonlocal most
                value = super().run_node(n)
                if isinstance(value, Tensor):
                    alive.append(weakref.ref(value))
                tensors = [t for ref in alive if (t := ref()) is not None]
                sizes = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors}
                most = max(most, sum(size for place, size in sizes.items() if place not in known))
                return value

        gc.collect()
        with torch.no_grad():
            Watched(model).run(images)
        assert peak_bytes(model, images) == pytest.approx(most, rel=0.02)


class TestPortions:
    @pytest.mark.parametrize("by", ["head", "token", "neuron"])
    def test_they_change_nothing(
        self, tiny_vit: nn.Module, images: Tensor, monkeypatch: pytest.MonkeyPatch, by: Any
    ) -> None:
        dec = vd.Decomposer(tiny_vit.double(), by=by, cache=None).fit(images[:2])
        directions = torch.randn(7, 2, 48, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
        ways = (lambda x: dec.transform(x).values, lambda x: dec.attribute(x, directions), dec.represent)
        whole = [way(images) for way in ways]
        sizes: list[int] = []
        run = Recorder.__call__
        monkeypatch.setattr(Recorder, "__call__", lambda self, x: sizes.append(len(x)) or run(self, x))
        monkeypatch.setattr(recorder, "ROOM", {"cpu": 1})
        for way, expected in zip(ways, whole, strict=True):
            torch.testing.assert_close(way(images), expected)
        assert sizes == [1] * 21

    def test_they_find_room(self, tiny_vit: nn.Module, images: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
        dec = vd.Decomposer(tiny_vit.double(), cache=None).fit(images[:2])
        run = dec.views.paths.recorder
        one = peak_bytes(run.module, images[:1])
        for room, expected in ((7 * one, [7]), (6.9 * one, [4, 3]), (3 * one, [3, 2, 2]), (0, [1] * 7)):
            monkeypatch.setattr(recorder, "ROOM", {"cpu": int(room)})
            assert [len(portion) for portion in run.portions(images)] == expected
            assert max(peak_bytes(run.module, portion) for portion in run.portions(images)) <= max(room, one)
        assert torch.equal(torch.cat(list(run.portions(images))), images)


def test_what_stands_alone_leaves_the_rest() -> None:
    qkv = torch.randn(3, 4, 5)
    values = alone(qkv[2])
    assert torch.equal(values, qkv[2])
    assert values.untyped_storage().nbytes() == values.nbytes
    assert alone(qkv) is qkv


class TestFreeBytes:
    def test_the_machine_has_some_and_no_more_than_it_has(self) -> None:
        free = free_bytes(torch.device("cpu"))
        assert free is None or 2**20 < free < 2**50
        assert free_bytes(torch.device("meta")) is None

    def test_a_container_has_what_its_limit_leaves(self, tmp_path: Path) -> None:
        assert footprint._free_in_container(tmp_path) is None
        for name, text in {"max": "1000\n", "current": "700\n", "stat": "anon 300\ninactive_file 250\n"}.items():
            (tmp_path / f"memory.{name}").write_text(text)
        assert footprint._free_in_container(tmp_path) == 550
        (tmp_path / "memory.max").write_text("max\n")
        assert footprint._free_in_container(tmp_path) is None


class TestFormats:
    """Record a run in several formats in one, and leave the run itself as it was."""

    def test_the_finest_of_those_that_gates_read(self, tiny_vit: nn.Module, images: Tensor) -> None:
        class Mixed(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.model = tiny_vit.float()

            def forward(self, x: Tensor) -> Tensor:
                with torch.autocast("cpu", torch.bfloat16):
                    return self.model(x)

        module, x = Mixed(), images.float()
        paths = vd.Decomposer(module, cache=None).fit(x).views.paths
        gates = paths.graph.gates()
        met = {node.meta["trial_dtype"] for gate in gates for node in recorder._nodes(gate)}
        assert met == {torch.float32, torch.bfloat16}
        assert recorder.finest(gates) == torch.float32
        representation, recorded = Recorder(paths.captured, gates)(x)
        assert torch.equal(representation, module(x))
        assert {v.dtype for v in recorded.values() if isinstance(v, Tensor)} == {torch.float32}

    def test_one_format_is_left_as_it_is(self, tiny_vit: nn.Module, images: Tensor) -> None:
        paths = vd.Decomposer(tiny_vit.bfloat16(), cache=None).fit(images.bfloat16()).views.paths
        assert recorder.finest(paths.graph.gates()) is None
        recorded = paths.recorder(images.bfloat16())[1]
        assert {v.dtype for v in recorded.values() if isinstance(v, Tensor)} == {torch.bfloat16}
