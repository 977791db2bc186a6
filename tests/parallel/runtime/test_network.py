"""Registers are conserved at every message, order is kept, nothing is lost when a stage fails."""

import random

import pytest

from oneloop.parallel.runtime.graph import Graph, GraphError
from oneloop.parallel.runtime.network import Network, rehearse
from oneloop.parallel.runtime.registers import BrokenProtocol, Pool, Register


def diamond(order="strict", workers=3):
    """in -> work -> (left, right) -> out, with a bound of 4 items between in and out."""
    graph = Graph()
    graph.stage("in")
    graph.stage("work", workers=workers, order=order)
    graph.stage("left", workers=2)
    graph.stage("right")
    graph.stage("out")
    graph.edge("in", "work", registers=2)
    graph.edge("work", "left", "right", registers=3)
    graph.edge("left", "out", registers=1)
    graph.edge("right", "out", registers=2)
    graph.edge("out", "in", control=True, initial=4)
    return graph


class Player:
    """Plays a network in a random order and checks every message."""

    def __init__(self, graph, seed, items=20):
        self.network = Network(graph, watch=self.watch)
        self.random, self.items = random.Random(seed), items
        self.acts, self.out, self.messages, self.sent = [], [], [], 0

    def watch(self, kind, name):
        self.messages.append((kind, name))
        for pool in self.network.pools.values():
            pool.check()
            read = {id(r): r for act in self.all_acts() for r in act.registers if not act.ended}
            waiting = {id(r): r for box in pool.inboxes for r in box.queue}
            counted = [r for r in {**read, **waiting}.values() if r.pool is pool and r.references > 0]
            assert len(counted) <= pool.held <= pool.edge.registers

    def all_acts(self):
        return [act for actor in self.network.actors.values() for act in actor.open]

    def step(self, fail=None):
        """One random move; False when there is none."""
        network = self.network
        moves = [("begin", name) for name in network.actors if network.ready(name)]
        moves += [("end", act) for act in self.acts]
        if not moves:
            return False
        kind, what = self.random.choice(moves)
        if kind == "begin":
            self.acts.append(network.begin(what))
            if what == "in" and network.actors["in"].begun == self.items:
                network.finish("in")
            return True
        self.acts.remove(what)
        if fail == (what.stage, what.index):
            network.fail(what, ZeroDivisionError("injected"))
        elif what.stage == "in":
            network.end(what, what.index)
        elif what.stage == "out":
            self.out.append(what.inputs)
            network.end(what, None)
        else:
            network.end(what, (what.stage, what.inputs[0]))
        return True

    def play(self, fail=None):
        while self.step(fail):
            pass
        return self


@pytest.mark.parametrize("seed", range(30))
def test_items_arrive_once_and_in_order_and_every_register_comes_back(seed):
    player = Player(diamond(), seed).play()
    assert player.out == [[("left", ("work", n)), ("right", ("work", n))] for n in range(20)]
    assert player.network.done and player.network.left == []
    for pool in player.network.pools.values():
        assert (pool.free, pool.reserved, pool.held) == (pool.edge.registers, 0, 0)
        assert pool.max_held <= pool.edge.registers
    kinds = [kind for kind, _ in player.messages]
    # 20 of each of 4 data edges and of the control edge; the edge with two readers is acknowledged twice
    assert kinds.count("req") == 5 * 20
    assert kinds.count("ack") == 6 * 20 + 4
    assert kinds.count("eord") == 6


@pytest.mark.parametrize("seed", range(10))
def test_completion_order_loses_nothing(seed):
    graph = Graph()
    graph.stage("in")
    graph.stage("work", workers=4, order="completion")
    graph.stage("out")
    graph.edge("in", "work", registers=4)
    graph.edge("work", "out", registers=4)
    player = Player(graph, seed).play()
    got = [inputs[0][1] for inputs in player.out]
    assert sorted(got) == list(range(20)) and player.network.done


def test_completion_order_lets_a_later_item_overtake():
    graph = Graph()
    graph.stage("in")
    graph.stage("work", workers=2, order="completion")
    graph.stage("out")
    graph.edge("in", "work")
    graph.edge("work", "out")
    network = Network(graph)
    for n in range(2):
        network.end(network.begin("in"), n)
    first, second = network.begin("work"), network.begin("work")
    network.end(second, second.inputs[0])
    assert network.begin("out").inputs == [1]
    network.end(first, first.inputs[0])


@pytest.mark.parametrize("stage", ["work", "left", "out"])
@pytest.mark.parametrize("seed", range(12))
def test_a_failure_hands_back_every_item_that_was_on_its_way(stage, seed):
    player = Player(diamond(), seed).play(fail=(stage, 7))
    network = player.network
    assert (network.failure.stage, network.failure.index) == (stage, 7)
    assert isinstance(network.failure.error, ZeroDivisionError)
    for pool in network.pools.values():
        assert (pool.free, pool.reserved, pool.held) == (pool.edge.registers, 0, 0)

    def number(payload):
        while isinstance(payload, tuple):
            payload = payload[1]
        return payload

    begun = network.actors["in"].begun
    arrived = {number(inputs[0]) for inputs in player.out}
    left = {number(each.payload) for each in network.left}
    assert arrived | left == set(range(begun)) and not arrived & left


def test_a_stage_that_passes_nothing_on_gives_its_registers_back():
    graph = Graph()
    graph.stage("in")
    graph.stage("filter")
    graph.stage("out")
    graph.edge("in", "filter", registers=1)
    graph.edge("filter", "out", registers=1)
    network = Network(graph)
    for n in range(5):
        network.end(network.begin("in"), n)
        act = network.begin("filter")
        network.end(act, act.inputs[0] if act.inputs[0] == 4 else None)
    assert network.begin("out").inputs == [4]


def test_an_act_takes_several_registers_at_once_and_what_is_too_few_is_handed_back():
    graph = Graph()
    graph.stage("in")
    graph.stage("batch")
    graph.edge("in", "batch", registers=4, take=3)
    network = Network(graph)
    got = []
    for n in range(8):
        network.end(network.begin("in"), n)
        if network.ready("batch"):
            act = network.begin("batch")
            got.append(act.inputs[0])
            network.end(act, None)
    network.finish("in")
    assert got == [[0, 1, 2], [3, 4, 5]]
    assert [each.payload for each in network.left] == [6, 7] and network.done


def test_a_register_out_of_turn_is_a_broken_protocol():
    graph = Graph()
    graph.stage("a")
    graph.stage("b")
    graph.edge("a", "b")
    pool = Pool(graph.edges["a -> b"])
    with pytest.raises(BrokenProtocol, match="register 1 came where 0 was due"):
        pool.inboxes[0].add(Register(pool, 1, None, 1))
    pool.free -= 1
    with pytest.raises(BrokenProtocol, match="1 free, 0 reserved and 0 held of 2 registers"):
        pool.check()


def test_rehearsal_finds_a_cycle_with_too_few_credits():
    graph = Graph()
    graph.stage("rollout")
    graph.stage("update")
    graph.edge("rollout", "update", registers=4, take=4)
    graph.edge("update", "rollout", control=True, registers=4, initial=3, give=4)
    with pytest.raises(GraphError, match="deadlock: rollout waits for update, update waits for rollout"):
        rehearse(graph)
    rehearse(diamond())
