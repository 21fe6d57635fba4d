"""The graph of linear paths in the formats of other programs."""

import networkx as nx
import pytest

import vitdecomp as vd
from vitdecomp.trace.graph_file import check_graph_file, write_graph

GRAPH = nx.DiGraph(name="linear paths")
GRAPH.add_node('blocks.0."odd\\name"', kind="attn", heads=3)
GRAPH.add_node("representation", kind="representation", heads=0)
GRAPH.add_edge('blocks.0."odd\\name"', "representation", ops="linear | add")


def test_graphml_is_read_back_as_it_was(tmp_path):
    write_graph(GRAPH, tmp_path / "g.graphml")
    back = nx.read_graphml(tmp_path / "g.graphml")
    assert dict(back.nodes(data=True)) == dict(GRAPH.nodes(data=True))
    assert list(back.edges(data=True)) == list(GRAPH.edges(data=True))


def test_dot_quotes_what_must_be_quoted(tmp_path):
    write_graph(GRAPH, tmp_path / "g.dot")
    lines = (tmp_path / "g.dot").read_text().splitlines()
    assert lines[0] == "digraph {"
    assert lines[-1] == "}"
    assert r'  "blocks.0.\"odd\\name\"" -> "representation" [ops = "linear | add"];' in lines


@pytest.mark.parametrize("name", ["g.png", "g", "graphml"])
def test_other_formats_are_refused_before_any_work(tmp_path, name):
    with pytest.raises(vd.OutputError, match=r"must end in \.graphml or \.dot"):
        check_graph_file(tmp_path / name)
