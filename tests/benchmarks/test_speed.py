"""The suite that measures cost: its arithmetic, its tables, what it refuses, and one real run of small models."""

import json
import os
from time import sleep

import by_hand
import curves
import machine
import peers
import pytest
import speed
import speed_memory
import speed_page
import speed_tasks
import timing
import torch
import typer
from bench import Bench, model_of
from forks import Fork, source
from typer.testing import CliRunner

from vitdecomp import SpecError

TINY = model_of("timm:test_vit")
ONCE = timing.Conditions(threads=1, rounds=1)


@pytest.fixture(scope="module")
def bench() -> Bench:
    return Bench.load(TINY, 2, timing.Conditions(dtype="float64", threads=1, rounds=1))


def invoke(*flags: str):
    app = typer.Typer()
    app.command()(speed.main)
    return CliRunner().invoke(app, list(flags))


class TestTiming:
    def test_a_ratio_is_the_median_of_ratios_and_not_the_ratio_of_medians(self):
        assert timing.ratio([2, 30, 4], [1, 10, 4]) == 2
        assert timing.ratio([1, 2, 3], [1, 2, 3]) == 1

    def test_rounds_must_be_the_same_in_number(self):
        with pytest.raises(ValueError, match="2 rounds of a task, but 1"):
            timing.ratio([1, 2], [1])
        with pytest.raises(ValueError, match="0 rounds"):
            timing.ratio([], [])

    def test_all_run_in_turn_and_the_first_round_does_not_count(self):
        seen = []
        tasks = {name: lambda name=name: seen.append(name) for name in ("plain", "a", "b")}
        rows = timing.measured(tasks, 4, timing.Conditions(rounds=2))
        assert seen == ["plain", "a", "b"] + ["plain", "plain", "a", "plain", "b"] * 2
        assert [(row.task, row.batch, len(row.seconds)) for row in rows] == [(name, 4, 2) for name in tasks]
        assert rows[0].ratio == 1

    def test_short_tasks_have_more_rounds(self):
        rows = timing.measured({"plain": int, "a": lambda: sleep(0.01)}, 1, timing.Conditions(rounds=2, seconds=0.1))
        assert all(3 <= len(row.seconds) <= 11 for row in rows)

    def test_a_task_that_fails_says_why_and_the_others_go_on(self):
        rows = timing.measured({"plain": int, "broken": lambda: 1 / 0, "sound": int}, 1, ONCE)
        assert [row.why for row in rows] == ["", "failed: ZeroDivisionError: division by zero", ""]
        assert rows[1].ratio is rows[1].milliseconds is None
        with pytest.raises(ZeroDivisionError):
            timing.measured({"plain": lambda: 1 / 0}, 1, ONCE)

    @pytest.mark.parametrize(
        ("conditions", "words"),
        [
            (timing.Conditions(dtype="int8"), "no number format 'int8'; there are: float32"),
            (timing.Conditions(device="gpu"), "no device 'gpu'; use cpu or cuda"),
            (timing.Conditions(device="meta"), "device meta is not there"),
        ],
    )
    def test_conditions_that_cannot_be_had(self, conditions, words):
        with pytest.raises(ValueError, match=words):
            conditions.check()


def test_the_machine_is_described_without_its_name():
    here = machine.Machine.here("cpu", 1)
    assert here.cores >= 1
    assert here.versions["torch"].split("+")[0] == torch.__version__.split("+")[0]
    assert "of which torch uses 1" in here.sentence()
    assert os.uname().nodename not in here.sentence().split()
    assert machine.missing("torch") == ""
    assert machine.missing("no_such_library") == "not installed: no_such_library"


class TestByHand:
    """What stands beside us for comparison is the same decomposition."""

    def test_its_sum_is_the_representation_and_its_heads_are_ours(self, bench):
        found = by_hand.contributions(bench.loaded.module, bench.images)
        ours = bench.dec.transform(bench.images)
        assert (found.sum(1) - bench.module(bench.images)).abs().max() < 1e-12
        heads = [i for i, c in enumerate(ours.components) if c.kind == "attn"]
        theirs = [1 + 4 * block + head for block in range(6) for head in range(2)]  # two heads, an MLP and a bias each
        assert (found[:, theirs] - ours.values[:, heads]).abs().max() < 1e-12

    def test_its_products_by_head_and_token_are_ours(self, bench):
        directions = bench.directions(1)
        found = by_hand.products(bench.loaded.module, bench.images, directions[0]).flatten(1, 2)
        ours = bench.dec.attribute(bench.images, directions, by=("head", "token"))[:, 0]
        rows = [i for i, c in enumerate(bench.dec.components_of(("head", "token"))) if c.kind == "attn"]
        assert (found - ours[:, rows]).abs().max() < 1e-12

    def test_the_model_is_as_it_was(self, bench):
        module = bench.loaded.module
        before = [block.attn.fused_attn for block in module.blocks]
        by_hand.products(module, bench.images, bench.directions(1)[0])
        assert [block.attn.fused_attn for block in module.blocks] == before
        assert not any(part._forward_hooks for part in module.modules())


def test_every_tool_has_a_figure_or_a_reason():
    found = peers.compared(TINY, 2, ONCE)
    rows = {row["task"]: row for row in found["rows"]}
    assert list(rows) == ["plain", *(peer.name for peer in peers.PEERS["timm"])]
    for peer in peers.PEERS["timm"]:
        row = rows[peer.name]
        assert row["why"] == (machine.missing(peer.module) if peer.module else "")
        assert (row["ratio"] is None) == bool(row["why"])
    table = speed_page.peers_sheet(found).markdown()
    assert all(peer.name in table and peer.computes in table for peer in peers.PEERS["timm"])


@pytest.mark.parametrize("name", ["batch", "components", "images"])
def test_a_curve_has_all_tasks_at_all_points(name):
    found = curves.curve(name, ONCE, quick=True)
    assert [point["at"] for point in found["points"]] == [*curves.CURVES[name].quick]
    for point in found["points"]:
        assert not any(row["why"] for row in point["rows"])
        assert point["rows"][0]["task"] == "plain"
    (sheet,) = speed_page.curve_sheets(name, found)
    assert len(sheet.rows) == len(found["points"])
    assert {len(row) for row in sheet.rows} == {len(sheet.header)}


def test_points_of_curves_are_models_that_can_be_built():
    for curve in curves.CURVES.values():
        for base, points in ((curves.Shape(), curve.points), (curves.QUICK, curve.quick)):
            for shape in (curve.shape(base, point) for point in points):
                assert shape.width % shape.head == 0
                assert (shape.side // shape.patch) ** 2 + 1 == shape.tokens


class TestPage:
    def found(self, heads: float, why: str = "") -> dict:
        names = [name for name in speed_tasks.TASKS if name != "plain"]
        rows = [{"task": "plain", "batch": 8, "seconds": [0.5], "ratio": 1.0, "why": ""}]
        rows += [{"task": name, "batch": 8, "seconds": [0.5], "ratio": heads, "why": ""} for name in names]
        spec = "timm:vit_base_patch16_224"
        entry = {"model": spec, "batch": 8, "why": why, "fit": 12.0, "again": 2.5, "components": 3, "rows": rows}
        peak = {"plain": {"bytes": 2**20, "why": ""}, speed_tasks.HEADS: {"bytes": 3 * 2**19 + 2**18, "why": ""}}
        return {
            "name": "here",
            "command": "python benchmarks/speed.py",
            "machine": {**vars(machine.Machine.here("cpu", 1))},
            "conditions": vars(ONCE),
            "time": [entry if not why else {"model": spec, "batch": 8, "why": why}],
            "memory": [{"model": spec, "batch": 8, "why": "", "rows": peak}],
        }

    def test_figures_stand_beside_their_targets(self):
        time, memory = speed_page.target_sheets(self.found(1.1))
        cells = {row[0]: row[1] for row in time.rows}
        assert cells[speed_tasks.HEADS] == "**1.100 > 1.05**"
        assert cells["one direction by head"] == "1.100 ≤ 1.15"
        assert cells["tracing, seconds"] == "**12.0 > 10**"
        assert [row[1] for row in memory.rows] == ["1", "**1.75 > 1.5**"]

    def test_what_cannot_run_says_so(self):
        text = speed_page.full(self.found(1.1, "not installed: timm"))
        assert text.count("not installed: timm") > len(speed_tasks.TASKS)

    def test_a_task_that_failed_says_why(self):
        found = self.found(1.1)
        found["time"][0]["rows"][1] |= {"ratio": None, "seconds": [], "why": "failed: OutOfMemoryError"}
        assert speed_page.target_sheets(found)[0].rows[0][1] == "failed: OutOfMemoryError"
        assert speed_page.full(found).count("failed: OutOfMemoryError") == 2

    def test_a_section_takes_its_own_place_and_no_other(self):
        page = speed_page.placed("# Title\n\nWords.\n", "one", "first")
        page = speed_page.placed(page, "two", "second")
        page = speed_page.placed(page + "\nMore words.\n", "one", "third")
        assert page.index("Words.") < page.index("third") < page.index("second") < page.index("More words.")
        assert "first" not in page
        with pytest.raises(ValueError, match="needs one <!-- begin one -->"):
            speed_page.placed("<!-- begin one -->", "one", "text")
        with pytest.raises(ValueError, match="before"):
            speed_page.placed("<!-- end one --><!-- begin one -->", "one", "text")


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--part", "tme"), "no part 'tme'; there are: time, memory, peers, curves"),
        (("--name", "../there"), "use small letters, digits and single hyphens"),
        (("--page", "page.md"), "give --out too"),
        (("--model", "timm:vit_bse_patch16_224"), "did you mean vit_base_patch16_224"),
        (("--model", "vit"), "not of the form library:name"),
        (("--dtype", "int8"), "no number format"),
        (("--read", "no-such.json"), "cannot read no-such.json"),
    ],
)
def test_what_is_refused_before_anything_is_measured(flags, words):
    done = invoke("--quick", *flags)
    assert done.exit_code == 2
    assert words in done.output
    assert "Traceback" not in done.output


def test_memory_is_the_most_that_is_held_at_once():
    def run():
        first = torch.ones(1000, dtype=torch.float64)
        second = first + 1
        del first
        return second[:10].clone()

    assert 16_000 <= speed_memory.allocated(run, ONCE) < 17_000


def test_memory_of_an_unknown_model_is_refused():
    with pytest.raises(SpecError):
        speed_memory.peaks(model_of("timm:nothing"), 1, ONCE)


def test_a_file_of_something_else_is_not_read(tmp_path):
    (tmp_path / "other.json").write_text("[1]")
    with pytest.raises(ValueError, match="was not written by this program"):
        speed.read(tmp_path / "other.json")
    other = {"name": "x", "command": "", "machine": {}, "conditions": {}}
    (tmp_path / "other.json").write_text(json.dumps(other))
    with pytest.raises(ValueError, match="another version"):
        speed.read(tmp_path / "other.json")


def test_a_quick_run_and_its_files_made_again_from_the_json(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# Page\n")
    words = (
        "--quick",
        "--threads",
        "1",
        "--part",
        "time",
        "--out",
        tmp_path / "out",
        "--page",
        page,
        "--name",
        "small",
    )
    fork = Fork(source, "import speed, typer; typer.run(speed.main)", *words)
    _, err = fork.communicate()
    assert fork.returncode == 0, err
    found = json.loads((tmp_path / "out/speed-small.json").read_text())
    (entry,) = found["time"]
    assert {row["task"] for row in entry["rows"]} == {*speed_tasks.TASKS}
    assert all(row["ratio"] > 0 for row in entry["rows"])
    assert "(out/speed-small.md)" in page.read_text()
    written = (tmp_path / "out/speed-small.md").read_text()
    again = invoke("--read", str(tmp_path / "out/speed-small.json"), "--out", str(tmp_path / "again"))
    assert again.exit_code == 0, again.output
    assert (tmp_path / "again/speed-small.md").read_text() == written
