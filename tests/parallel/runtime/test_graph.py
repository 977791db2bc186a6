"""What is refused before anything runs."""

import pytest

from oneloop.parallel.runtime.graph import Graph, GraphError


def faults(graph):
    with pytest.raises(GraphError) as error:
        graph.check()
    return error.value.faults


def loop(initial):
    graph = Graph()
    for name in ("rollout", "judge", "update"):
        graph.stage(name)
    graph.edge("rollout", "judge")
    graph.edge("judge", "update")
    graph.edge("update", "rollout", control=True, initial=initial)
    return graph


def test_refuses_a_cycle_that_starts_empty_and_names_its_stages():
    assert faults(loop(0)) == [
        "deadlock: the cycle rollout -> judge -> update -> rollout has no initial registers, so no stage of "
        "it could ever act first; give one of its edges `initial`"
    ]
    loop(1).check()


def test_refuses_fewer_initial_registers_than_one_act_takes():
    graph = Graph()
    graph.stage("a")
    graph.stage("b")
    graph.edge("a", "b")
    graph.edge("b", "a", control=True, initial=2, take=3)
    assert "the cycle a -> b -> a has no initial registers" in faults(graph)[0]


def test_reports_all_faults_at_once_with_what_it_got():
    graph = Graph()
    graph.stage("sample", print, print, workers=3)
    graph.stage("sample")
    graph.stage("judge", workers=0)
    graph.stage("idle")
    graph.edge("sample", "juge", registers=0)
    graph.edge("sample", "judge", registers=2, initial=3)
    graph.edge("sample")
    said = faults(graph)
    assert "two stages are called 'sample'" in said
    assert "stage 'judge': workers must be at least 1, got 0" in said
    assert "stage 'idle' reads no edge and fills none" in said
    assert "edge 'sample -> juge': there is no stage 'juge'; did you mean 'judge'?" in said
    assert "edge 'sample -> juge': registers must be at least 1, got 0" in said
    assert "edge 'sample -> judge': initial must be from 0 to registers (2), got 3" in said
    assert any("only a control edge may have `initial`" in one for one in said)
    assert "edge 'sample -> ': no stage reads it" in said


def test_refuses_functions_that_do_not_fit_the_workers():
    graph = Graph()
    graph.stage("sample", print, repr, workers=3)
    assert faults(graph) == ["stage 'sample': 2 functions for 3 workers; give one, or one each"]


def test_refuses_two_edges_of_one_name():
    graph = loop(1)
    graph.edge("rollout", "judge")
    assert faults(graph)[0] == "two edges are called 'rollout -> judge'; give one of them another `name`"
