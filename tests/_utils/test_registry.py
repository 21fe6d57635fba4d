"""Names: no duplicates, and suggestions for what was meant."""

import math
from importlib.metadata import EntryPoint

import pytest
import timm
from hypothesis import given
from hypothesis import strategies as st

import vitdecomp as vd
from vitdecomp._utils import registry
from vitdecomp._utils.registry import Registry, did_you_mean, plugin
from vitdecomp.errors import LoadError, SpecError


def test_a_name_is_given_once_unless_it_is_replaced() -> None:
    table: Registry[str, int] = Registry("thing")
    table.add("one", 1)
    with pytest.raises(SpecError, match="one"):
        table.add("one", 2)
    assert table["one"] == 1
    table.add("one", 2, replace=True)
    assert table["one"] == 2


def test_an_unknown_name_names_its_neighbours() -> None:
    table: Registry[str, int] = Registry("thing")
    table.add("token", 1)
    with pytest.raises(SpecError, match="no thing 'tokne'; did you mean token"):
        table["tokne"]


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("deit_tinny", "deit_tiny_"),
        ("vit_bas_patch16_224", "vit_base_patch16_224"),
        ("swin_tiny", "swin_tiny_"),
        ("maxvit_tiny_tff", "maxvit_tiny_tf_"),
    ],
)
def test_the_beginning_of_a_long_name_is_understood(word: str, meant: str) -> None:
    first = did_you_mean(word, timm.list_models()).removeprefix("; did you mean ").split(",")[0]
    assert first.startswith(meant)


def test_nothing_near_lists_a_short_table_and_is_silent_about_a_long_one() -> None:
    assert did_you_mean("zzz", ["head", "token"]) == "; there are: head, token"
    assert did_you_mean("zzz", [f"model{i}" for i in range(50)]) == ""


@given(st.lists(st.text(min_size=1, max_size=12), min_size=1, max_size=20))
def test_a_known_name_is_always_the_first_suggestion(names: list[str]) -> None:
    assert did_you_mean(names[0], names).startswith(f"; did you mean {names[0]}")


def entries(*named):
    return lambda group: [EntryPoint(name, value, of) for name, value, of in named if of == group]


@pytest.mark.parametrize("old", ["vitdecomp.engines", "vitdecomp.align_engines"])
def test_an_old_group_of_entry_points_is_read_with_a_warning(old, monkeypatch):
    monkeypatch.setattr(registry, "entry_points", entries(("mine", "math:pi", old), ("ours", "math:e", old)))
    with pytest.warns(
        DeprecationWarning, match=f"'mine' is in the old group '{old}': move it to 'vitdecomp.executors'"
    ):
        assert plugin("vitdecomp.executors", "executor", "mine") == math.pi
    with pytest.raises(vd.SpecError, match=r"no executor 'mina'; did you mean mine\?"):
        plugin("vitdecomp.executors", "executor", "mina")
    with pytest.raises(vd.SpecError, match="no method 'mine'"):
        plugin("vitdecomp.methods", "method", "mine")


def test_the_new_group_of_entry_points_takes_precedence(monkeypatch):
    both = ("mine", "math:pi", "vitdecomp.engines"), ("mine", "math:e", "vitdecomp.executors")
    for named in (both, both[::-1]):
        monkeypatch.setattr(registry, "entry_points", entries(*named))
        assert plugin("vitdecomp.executors", "executor", "mine") == math.e  # a warning would be an error


@pytest.fixture
def table(tmp_path, monkeypatch):
    """A table to which two packages offer something; that of one raises when it is imported."""
    (tmp_path / "good_things.py").write_text("TABLE.add('good', 1)")
    (tmp_path / "bad_things.py").write_text("raise AttributeError('no\\nluck')")
    metadata = tmp_path / "strange-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: strange\nVersion: 1.0\n")
    lines = ("[vitdecomp.things]", "good = good_things", "bad = bad_things", "taken = no_such_module")
    (metadata / "entry_points.txt").write_text("\n".join(lines))
    monkeypatch.syspath_prepend(tmp_path)
    found: Registry[str, int] = Registry("thing", "vitdecomp.things")
    found.add("taken", 2)
    monkeypatch.setattr("builtins.TABLE", found, raising=False)
    return found


def test_plugins_are_loaded_once_they_are_asked_for(table) -> None:
    assert list(table) == ["taken"]
    assert list(table.load_plugins()) == ["taken", "good"]
    table.remove("good")
    assert list(table.load_plugins()) == ["taken"]


def test_a_plugin_that_cannot_be_imported_is_named_with_its_package_and_stops_no_other(table, caplog) -> None:
    table.load_plugins()
    assert list(table.broken) == ["bad"]
    line = "plug-in 'bad' (vitdecomp.things) of package strange cannot be imported (AttributeError: no luck): update"
    for _ in range(2):
        with pytest.raises(LoadError) as caught:
            table["bad"]
        assert str(caught.value).startswith(line)
        assert "\n" not in str(caught.value)
        assert isinstance(caught.value.__cause__, AttributeError)
    table.warn_of_broken()
    assert caplog.messages == [str(caught.value)]
    with pytest.raises(LoadError, match="plug-in 'bad'"):
        plugin("vitdecomp.things", "thing", "bad")
