"""Public names that are imported when they are first used."""

import ast
import inspect
import pkgutil
from importlib import import_module
from multiprocessing.reduction import ForkingPickler
from types import ModuleType

import pytest
import vitdecomp_alignment
from forks import Fork, source

import vitdecomp

PACKAGES = [vitdecomp, vitdecomp_alignment]
packages = pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.__name__)


def told_to_type_checkers(package: ModuleType) -> dict[str, str]:
    """Names and their modules, as the imports say that never run."""
    imports = [node for node in ast.walk(ast.parse(inspect.getsource(package))) if isinstance(node, ast.ImportFrom)]
    inside = [node for node in imports if node.module and node.module.startswith(f"{package.__name__}.")]
    return {name.name: node.module for node in inside for name in node.names if node.module != "vitdecomp._utils.lazy"}


@packages
def test_every_name_is_what_its_module_defines(package):
    told = told_to_type_checkers(package)
    assert sorted(told.keys() - {"__version__"}) == sorted(package.__all__)
    for name, module in told.items():
        assert getattr(package, name) is getattr(import_module(module), name)


@packages
def test_names_are_listed_before_they_are_used(package):
    assert set(package.__all__) <= set(dir(package))


@packages
def test_no_name_is_also_a_module(package):
    assert not set(package.__all__) & {module.name for module in pkgutil.iter_modules(package.__path__)}


@packages
def test_a_star_imports_them_all(package):
    names: dict[str, object] = {}
    exec(f"from {package.__name__} import *", names)
    assert {name: names[name] for name in package.__all__} == {name: getattr(package, name) for name in package.__all__}


@pytest.mark.parametrize("room", ["metrics", "datasets", "datasets.masks", "datasets.grouped"])
def test_rooms_are_attributes_of_a_package_that_has_just_been_imported(room):
    script = f"import sys, vitdecomp as vd; assert 'vitdecomp.{room}' not in sys.modules; vd.{room}"
    fork = Fork(source, script)
    _, err = fork.communicate()
    assert fork.returncode == 0, err
    assert room.partition(".")[0] in dir(vitdecomp)


def test_they_go_to_other_processes_and_back():
    for thing in (
        vitdecomp.Component,
        vitdecomp.debiased,
        vitdecomp.Scope(feature="colour"),
        vitdecomp_alignment.ClosedForm,
    ):
        back = ForkingPickler.loads(ForkingPickler.dumps(thing))
        assert back is thing or back == thing


def test_an_unknown_name_is_no_attribute():
    with pytest.raises(AttributeError, match="module 'vitdecomp' has no attribute 'Decomposr'"):
        vitdecomp.Decomposr  # noqa: B018
    with pytest.raises(ImportError, match="cannot import name 'Decomposr'"):
        exec("from vitdecomp import Decomposr")
