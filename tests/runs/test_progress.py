"""Where there is no terminal lines tell how far a run is, at least every half minute; they stay in its log."""

import os
import sys
import time

import pytest

from jax_meta.runs import progress
from jax_meta.runs.progress import Progress, describe, duration, left, lines, shown
from jax_meta.runs.writing import say
from tests.runs.training import stop_at, train


def at(step, speed=0.0, total=60_000, **record):
    return Progress(step, total, speed, record)


def test_lines_tell_of_the_first_part_and_of_validations_and_of_the_end():
    told = []
    with lines("sines", told.append) as report:
        report(at(0))
        report(at(1_000, 12.3, loss=0.5))
        report(at(1_500, 12.3, loss=0.3))
        report(at(2_000, 12.3, loss=0.25, val_loss=1.5))
        report(at(60_000, 1_234.5, loss=0.125))
    assert told == [
        "sines: 1,000 of 60,000, 12.3/s, loss 0.5, 1.3 h left",
        "sines: 2,000 of 60,000, 12.3/s, loss 0.25, val loss 1.5, 1.3 h left",
        "sines: 60,000 of 60,000, 1,234/s, loss 0.125, finished in 1 s",
    ]


def test_a_line_comes_though_nothing_is_finished(monkeypatch):
    monkeypatch.setattr(progress, "QUIET_SECONDS", 0.02)
    told = []
    with lines("sines", told.append) as report:
        for now, words in (
            (at(0), "compiling for 1 s"),
            (at(1, 2.0, loss=1.0), "in the next part for 1 s, 8.3 h left"),
        ):
            report(now)
            while not (told and told[-1].endswith(words)):
                time.sleep(0.001)
        count = len(told)
        monkeypatch.setattr(progress, "QUIET_SECONDS", 60.0)
        report(at(2, 2.0, loss=1.0))
    time.sleep(0.05)
    assert len(told) <= count + 1  # nothing more once it has ended


def test_records_are_told_once_they_are_due(monkeypatch):
    monkeypatch.setattr(progress, "QUIET_SECONDS", 0.0)
    monkeypatch.setattr(progress, "Thread", lambda **options: Still())
    told = []
    with lines("sines", told.append) as report:
        report(at(1, 1.0, loss=1.0))
    assert told == ["sines: 1 of 60,000, 1/s, loss 1, 16.7 h left"]


class Still:
    def start(self):
        pass

    def join(self):
        pass


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0, "1 s"), (59.4, "59 s"), (59.6, "1.0 min"), (150, "2.5 min"), (3_570, "1.0 h"), (360_000, "100.0 h")],
)
def test_times_are_in_a_unit_in_which_they_are_one_or_more(seconds, text):
    assert duration(seconds) == text


def test_a_speed_that_is_not_known_is_not_told_and_a_slow_one_is_told_by_the_step():
    assert describe(at(0)) == ""
    assert describe(at(5, 0.02, loss=1.0)) == "50 s a meta-step, loss 1"
    assert describe(at(5, 1e-9)) == "1e+09 s a meta-step"
    assert left(at(60_000, 3.0)) == left(at(3, 0.0)) == ""


def test_the_lines_stay_in_the_folder(tmp_path, capsys):
    train(tmp_path, report=None, name="sines", num_meta_steps=4)
    train(tmp_path, report=None, name="sines", num_meta_steps=4)
    told = capsys.readouterr().out
    assert told == (tmp_path / "progress.log").read_text()
    assert [line.partition(" of ")[0] for line in told.splitlines()] == [
        "sines: 2",
        "sines: 4",
        f"{tmp_path} was finished before, at meta-step 4: no step is taken",
    ]
    train(tmp_path, name="sines", num_meta_steps=8)  # with a report of the caller's, too
    assert (tmp_path / "progress.log").read_text().count("sines: 8 of 8") == 1
    assert "sines: 8 of 8" not in capsys.readouterr().out


def test_on_a_terminal_no_bar_appears_that_would_not_move(monkeypatch):
    """As one of a finished run, or of one that has no steps to take."""
    made = []
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(progress, "bars", lambda: Bars(made))
    with shown("sines", None, lambda line: None) as report:
        report(at(5, total=5))
        assert not made
    with shown("sines", None, lambda line: None) as report:
        report(at(0, total=5))
        assert made == [("sines", None)]  # no share of the whole, before one is known
        report(at(2, 1.0, total=5))
        assert made[1:] == [(2, 5)]


class Bars:
    """In the place of rich's."""

    def __init__(self, made):
        self.made = made

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass

    def add_task(self, name, *, total, status):
        self.made.append((name, total))
        return 1

    def update(self, task, *, completed, total, status):
        self.made.append((completed, total))


@pytest.fixture
def gone(monkeypatch):
    """A standard output whose reader has gone, as that of `| head -1`."""
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as output:
        monkeypatch.setattr(sys, "stdout", output)
        yield output


def test_a_reader_that_is_gone_does_not_end_a_run(tmp_path, gone):
    assert train(tmp_path / "lines", num_meta_steps=4, report=None)[0].step == 4
    print("and whoever prints next meets no error", flush=True)


def test_nor_does_one_that_goes_while_a_report_of_the_callers_prints(tmp_path, gone):
    assert train(None, num_meta_steps=4, report=lambda now: print(now.step, flush=True))[0].step == 4
    with pytest.raises(BrokenPipeError, match="another pipe"):
        train(None, num_meta_steps=4, report=break_pipe)
    with pytest.raises(RuntimeError, match="stopped at"):
        train(None, num_meta_steps=4, report=stop_at(2))


def break_pipe(now):
    raise BrokenPipeError("another pipe")


def test_a_full_disk_behind_the_output_or_the_log_does_not_end_a_run(tmp_path, monkeypatch):
    with open("/dev/full", "w") as output:
        monkeypatch.setattr(sys, "stdout", output)
        say("lost")
        with pytest.raises(OSError, match="No space"):
            output.flush()
        monkeypatch.undo()
        train(tmp_path, num_meta_steps=2)
        (tmp_path / "progress.log").unlink()
        (tmp_path / "progress.log").symlink_to("/dev/full")
        assert train(tmp_path, num_meta_steps=4)[0].step == 4
        os.dup2(os.open(os.devnull, os.O_WRONLY), output.fileno())
