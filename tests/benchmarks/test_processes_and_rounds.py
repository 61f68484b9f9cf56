"""A process that is measured answers what it is asked, whatever it prints; rounds are interleaved, and go on."""

import os
from contextlib import ExitStack

import pytest

from benchmarks.harness.processes import Machine, WorkerError, ask, at_once, free_port, receive, start
from benchmarks.harness.rounds import measure_each, median_ratio, median_seconds, take_turns

SERVE, MACHINE = "tests.benchmarks.served:serve", Machine("cpu", 1, 60.0)


def test_a_process_answers_and_goes_on_after_what_fails(tmp_path):
    log = tmp_path / "log"
    with start(SERVE, {"name": "it"}, MACHINE, log, install="a b", variables={"COLOUR": "red"}) as worker:
        assert receive(worker) == {"name": "it"}
        assert ask(worker, "add", a=1, b=2) == {"sum": 3}
        with pytest.raises(WorkerError, match=r"^not installed: pip install a b \(No module named 'nobodys'\)$"):
            ask(worker, "import_", module="nobodys")
        with pytest.raises(WorkerError, match=r"^failed: ValueError: no such thing$"):
            ask(worker, "fail")
        with pytest.raises(WorkerError, match=r"^failed: KeyError: 'unknown'$"):
            ask(worker, "unknown")
        assert at_once(lambda one: ask(one, "add", a="x", b="y"), [worker]) == [{"sum": "xy"}]
        with pytest.raises(WorkerError, match=r"^failed: exit code 7\. out of everything$"):
            ask(worker, "end")
        with pytest.raises(WorkerError, match="exit code 7"):
            ask(worker, "add", a=1, b=2)
    assert "a library that prints\nanother\n" in log.read_text()
    with pytest.raises(ProcessLookupError):
        os.kill(worker.process.pid, 0)


def test_a_free_port_is_one_that_can_be_listened_to():
    assert 1024 <= free_port() < 2**16


def test_all_take_turns_in_every_round():
    order, told = [], []
    turns = {name: (lambda name=name: order.append(name) or len(order)) for name in ("first", "second")}
    assert take_turns(turns, 2, told.append) == {"first": [1, 3], "second": [2, 4]}
    assert order == ["first", "second"] * 2
    assert told == ["first: 1/2", "second: 1/2", "first: 2/2", "second: 2/2"]
    assert median_seconds(turns, 3).keys() == turns.keys()
    assert order == ["first", "second"] * 6


def test_a_ratio_is_the_median_of_the_rounds_own():
    assert median_ratio([10.0, 20.0, 90.0], [5.0, 5.0, 30.0]) == 3.0


def test_a_failure_ends_one_alone_and_what_it_started():
    ended, turns = [], []

    def prepare(name, record, stack):
        stack.callback(ended.append, name)
        if name == "unprepared":
            raise WorkerError("not installed: it")
        record["turns"] = 0

        def turn():
            record["turns"] += 1
            turns.append(name)
            if name == "failing":
                raise WorkerError("failed: it")

        return turn

    records = measure_each(["unprepared", "failing", "right"], prepare, 2)
    assert records["unprepared"] == {"status": "not installed: it"}
    assert records["failing"] == {"status": "failed: it", "turns": 1}
    assert records["right"] == {"status": "measured", "turns": 2}
    assert turns == ["failing", "right", "right"]
    assert ended == ["unprepared", "right", "failing"]


def test_an_interrupt_ends_what_was_started():
    ended = []

    def prepare(name, record, stack: ExitStack):
        stack.callback(ended.append, name)
        if name == "second":
            raise KeyboardInterrupt
        return lambda: None

    with pytest.raises(KeyboardInterrupt):
        measure_each(["first", "second"], prepare, 1)
    assert ended == ["second", "first"]
