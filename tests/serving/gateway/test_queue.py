"""First come, first served within a priority, and nobody starves."""

from __future__ import annotations

from fooocus_stages.serving.gateway.clock import SteadyClock
from fooocus_stages.serving.gateway.queue import LOW, NORMAL, NORMAL_IN_A_ROW, Queue


def taken(queue: Queue) -> list[str]:
    order = []
    while len(queue):
        first = next(iter(queue))
        assert queue.position(first) == 0
        queue.take(first)
        order.append(first)
    return order


def test_the_order_is_that_of_arrival_within_a_priority() -> None:
    queue = Queue()
    for number in range(20):
        queue.add(f"low {number}", LOW)
        queue.add(f"normal {number}", NORMAL)
    announced = list(queue)
    assert announced == taken(queue)
    for kind in ("low", "normal"):
        assert [id for id in announced if id.startswith(kind)] == [f"{kind} {number}" for number in range(20)]


def test_low_priority_has_a_turn_while_normal_requests_keep_coming() -> None:
    queue = Queue()
    queue.add("low", LOW)
    for number in range(100):
        queue.add(f"normal {number}", NORMAL)
    assert taken(queue).index("low") == NORMAL_IN_A_ROW


def test_positions_follow_removals() -> None:
    queue = Queue()
    for id in "abc":
        queue.add(id, NORMAL)
    assert [queue.position(id) for id in "abc"] == [0, 1, 2]
    queue.remove("a")
    queue.remove("a")
    assert [queue.position(id) for id in "bc"] == [0, 1]
    assert "a" not in queue


def test_a_clock_that_jumps_moves_no_deadline() -> None:
    walls, steady = iter([1000.0]), iter([5.0, 6.0, 7.0])
    clock = SteadyClock(0.0, lambda: next(walls), lambda: next(steady))
    assert [clock.now(), clock.now()] == [1001.0, 1002.0]


def test_a_clock_set_back_between_two_processes_does_not_go_back() -> None:
    clock = SteadyClock(2000.0, lambda: 1000.0, lambda: 5.0)
    assert clock.now() == 2000.0
