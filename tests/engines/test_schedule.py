"""schedule.py: shared prefixes, order of entry, the prefill budget, and rows that stay dense."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from oneloop.core.draws import uniforms
from oneloop.engines.request import Request
from oneloop.engines.schedule import PREFILL_TOKENS, LiveRows, Queue


def asked(*prompts_and_limits):
    return [Request(n, n, tuple(prompt), limit) for n, (prompt, limit) in enumerate(prompts_and_limits)]


def test_the_longest_allowance_enters_first_and_brings_its_siblings():
    requests = asked(([1], 5), ([2], 9), ([1], 7), ([3], 9), ([2], 1))
    entries = Queue(requests, in_order=False).enter(0, 9)
    assert [entry.members for entry in entries] == [[1, 4], [3], [0, 2]]
    assert [entry.rows for entry in entries] == [[0, 1], [2], [3, 4]]
    assert [entry.members for entry in Queue(requests, in_order=True).enter(0, 9)] == [[0, 2], [1, 4], [3]]


def test_a_partial_counts_as_prefix_and_not_as_allowance():
    requests = [Request(0, 0, (1, 2), 9), Request(1, 0, (1,), 9, (2,)), Request(2, 0, (1,), 30, (5,) * 28)]
    entries = Queue(requests, in_order=False).enter(0, 9)
    assert [entry.members for entry in entries] == [[0, 1], [2]]


def test_a_prefix_is_split_where_the_slots_end_and_kept_for_the_rest():
    queue = Queue(asked(([1], 5), ([1], 5), ([1], 5), ([2], 5)), in_order=True)
    (first,) = queue.enter(3, 5)
    assert first.members == [0, 1] and first.rows == [3, 4] and list(first.prefix.waiting) == [2]
    rest = queue.enter(0, 5)
    assert rest[0].prefix is first.prefix and [entry.members for entry in rest] == [[2], [3]] and not queue


def test_prefill_is_bounded_but_always_goes_on():
    long = [1] * PREFILL_TOKENS
    queue = Queue(asked(([*long, 1], 5), ([2], 5), (long, 5), ([3], 5)), in_order=True)
    sizes = []
    while queue:
        sizes.append([len(entry.prefix.tokens) for entry in queue.enter(0, 9)])
    assert sum(map(len, sizes)) == 4 and all(sum(step) <= PREFILL_TOKENS or len(step) == 1 for step in sizes)


@given(st.lists(st.booleans(), min_size=1, max_size=20))
def test_dropping_rows_moves_the_fewest_and_keeps_the_others(marks):
    count = len(marks)
    rows = LiveRows(asked(*[([n], 5) for n in range(count)]), count)
    for entry in Queue(asked(*[([n], 5) for n in range(count)]), in_order=True).enter(0, count):
        rows.add(entry)
    ended = np.array(marks)
    sources, targets = rows.drop(ended)
    kept = np.flatnonzero(~ended)
    assert rows.count == len(kept) and sorted(rows.request[: rows.count]) == kept.tolist()
    assert len(sources) == len(targets) == int(ended[: rows.count].sum())
    untouched = [row for row in range(rows.count) if row not in targets]
    assert all(rows.request[row] == row for row in untouched)


@given(st.lists(st.integers(0, 90), min_size=1, max_size=6), st.integers(1, 6))
def test_numbers_in_store_are_those_of_each_rows_own_key_and_token(lengths, slots):
    requests = [Request(3 * n, n, (n,), length + 1, (7,) * (n % 3)) for n, length in enumerate(lengths)]
    queue, rows = Queue(requests, in_order=True), LiveRows(requests, slots)
    while queue or rows.count:
        for entry in queue.enter(rows.count, slots):
            rows.add(entry)
        live = slice(rows.count)
        assert (rows.uniforms() == uniforms(3 * rows.request[live], rows.sampled[live])).all()
        rows.sampled[live] += 1
        rows.drop(rows.sampled[live] >= rows.limit[live])
