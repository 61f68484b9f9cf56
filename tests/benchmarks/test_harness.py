"""What all benchmarks share: arguments, progress, the order of events, results and their index."""

import json
import re
import shutil
import time
from argparse import Namespace
from contextlib import suppress

import jax
import pytest
from matplotlib.figure import Figure

from benchmarks import __main__ as index
from benchmarks.convolution import results as convolution
from benchmarks.growth import results as growth
from benchmarks.harness.command import contents, make_output_folder, make_parser, parse, running
from benchmarks.harness.progress import Part, progress
from benchmarks.harness.results import (
    environment,
    markdown_table,
    processor,
    records_table,
    rounded,
    save_figure,
    write_json,
    write_results,
)
from benchmarks.sinusoid import speed
from benchmarks.sweep import results as sweep
from jax_meta.runs.progress import duration


def test_help_is_the_description_and_the_defaults(capsys):
    parser = make_parser("room.part", "The question?\n\n    an example", repeats=5, seconds=0.5)
    parser.add_argument("--steps", type=int, nargs="+", default=[20_000, 5], help="of 100%%")
    parser.add_argument("--none", help="no default")
    parser.add_argument("--flag", action="store_true", help="a flag")
    with pytest.raises(SystemExit):
        parse(parser, ["--help"])
    told = capsys.readouterr().out
    assert told.startswith("usage: python -m benchmarks.room.part ")
    assert "The question?\n\n    an example" in told
    for words in ("it is created; default: results/room_part", "medians count; default: 5", "lasts; default: 0.5"):
        assert words in " ".join(told.split())
    assert "of 100%; default: 20,000 5" in told
    assert "no default\n" in told
    assert "a flag\n" in told


def test_the_command_is_what_reads_the_same_options():
    parser = make_parser("room", None, output="results/A_B", repeats=1)
    options = parse(parser, ["--repeats", "60,000", "--output", "a folder"])
    assert options.command == "python -m benchmarks.room --repeats 60,000 --output 'a folder'"
    assert options.repeats == 60_000
    assert parse(parser, []).output is None


@pytest.mark.parametrize("words", ["--repeats 0", "--repeats 1.5", "--seconds nan", "--seconds -1", "--seconds inf"])
def test_numbers_that_cannot_be_are_refused(words):
    with pytest.raises(SystemExit, match="2"):
        parse(make_parser("room", None, repeats=5, seconds=1.0), words.split())


def test_a_line_is_written_when_a_part_is_finished_and_while_it_is_long(tmp_path, capsys):
    with progress(tmp_path / "log", "command", every=0.02) as begin, begin("slow", 60_000) as tell:
        tell("compiles", 0)
        time.sleep(0.1)
        tell("3/s", 30_000)
        time.sleep(0.1)
    told = capsys.readouterr().out.splitlines()
    assert told[0] == "slow: 0 of 60,000, compiles, 1 s so far"
    assert told[-2] == "slow: 30,000 of 60,000, 3/s, about 1 s left"
    assert told[-1] == "slow: finished, 60,000 in 1 s"
    log = (tmp_path / "log").read_text().splitlines()
    assert log == [f"0:00:00 {line}" for line in ["command", *told]]


def test_a_line_is_written_as_soon_as_the_first_piece_is_done(tmp_path, capsys):
    """Of a command, not of each of its parts: it tells that the work moves, and how long it will take."""
    with progress(tmp_path / "log", "command") as begin, begin("slow", 60_000) as tell:
        tell("compiles", 30)
        tell("3/s", 80)
        assert capsys.readouterr().out.startswith("slow: 80 of 60,000, 3/s, about ")
        tell("3/s", 130)
    assert capsys.readouterr().out.splitlines() == ["slow: finished, 60,000 in 1 s"]


def test_pieces_are_counted_when_the_next_begins(tmp_path, capsys):
    with progress(tmp_path / "log", "command") as begin:
        with suppress(ZeroDivisionError), begin("pieces", 3) as tell:
            tell("first")
            tell("second")
            raise ZeroDivisionError
        with begin("nothing to count", 0):
            pass
    told = capsys.readouterr().out.splitlines()
    assert told[0] == "pieces: 1 of 3, second, about 1 s left"
    assert told[1] == "pieces: 1 of 3, second, about 1 s left: stopped"
    assert told[2] == "nothing to count: finished, 1 in 1 s"


def test_it_says_that_it_works_while_no_part_is_begun(tmp_path, capsys):
    with progress(tmp_path / "log", "command", every=0.02):
        time.sleep(0.1)
    assert capsys.readouterr().out.splitlines()[0] == "at work, 1 s so far"


def test_a_closed_pipe_does_not_end_the_work(tmp_path, monkeypatch):
    class Closed:
        def write(self, text):
            raise BrokenPipeError

        def isatty(self):
            return False

    monkeypatch.setattr("sys.stdout", Closed())
    with progress(tmp_path / "log", "command") as begin, begin("part", 1):
        pass
    assert "part: finished" in (tmp_path / "log").read_text()


def test_bars_reach_their_end_on_a_terminal(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    with progress(tmp_path / "log", "command") as begin, begin("Random", 0) as tell:
        tell("evaluates")
    told = capsys.readouterr().out
    assert re.search(r"Random.*100%.*finished", told)
    assert "Random: finished" not in told
    assert "Random: finished" in (tmp_path / "log").read_text()


def test_the_time_left_counts_from_where_a_run_went_on():
    part = Part("images", 100, time.monotonic() - 120, completed=80, first=60)
    assert part.describe() == "images: 80 of 100, about 2.0 min left"


@pytest.mark.parametrize(
    ("seconds", "told"), [(0, "1 s"), (59.4, "59 s"), (59.6, "1.0 min"), (90, "1.5 min"), (3_600, "1.0 h")]
)
def test_a_duration_is_never_nothing(seconds, told):
    assert duration(seconds) == told


@pytest.mark.parametrize(
    ("error", "code", "told"),
    [
        (KeyboardInterrupt(), 130, "stopped; finished, and kept in {}: sines, images\n"),
        (FloatingPointError("NaN at 3"), "NaN at 3\nfinished, and kept in {}: sines, images", ""),
        (OSError(28, "No space left"), "[Errno 28] No space left\nfinished, and kept in {}: sines, images", ""),
    ],
)
def test_what_is_finished_is_named_where_a_benchmark_ends_early(tmp_path, capsys, error, code, told):
    def work():
        finished = {}
        with running(Namespace(output=tmp_path, command="command"), finished):
            finished.update(sines=1, images=2)
            raise error

    with pytest.raises(SystemExit) as stop:
        work()
    assert stop.value.code == (code.format(tmp_path) if isinstance(code, str) else code)
    assert capsys.readouterr().out == told.format(tmp_path)


def test_the_last_words_are_the_table_and_what_the_folder_holds(tmp_path, capsys):
    options = Namespace(output=tmp_path / "made" / "here", command="python -m benchmarks.room")
    with running(options):
        write_results(options, {"numbers": [1, 2]}, "| a table |\n")
        for index_ in range(4):
            save_figure(options.output / f"figure_{index_}.svg", Figure())
    assert capsys.readouterr().out == (
        f"| a table |\n\n{options.output} holds benchmark.log, results.json, table.md, 4 svg files.\n"
    )
    assert contents(options.output).endswith("4 svg files")
    told = json.loads((options.output / "results.json").read_text())
    assert told["command"] == "python -m benchmarks.room"
    assert told["versions"]["jax"] == jax.__version__
    assert told["numbers"] == [1, 2]
    assert b"</svg>" in (options.output / "figure_0.svg").read_bytes()


def test_json_is_written_whole_or_not_at_all(tmp_path):
    path = make_output_folder(tmp_path) / "results.json"
    write_json(path, {"numbers": [1.0, 2.5], "nested": {"name": "a [b]"}})
    before = path.read_text()
    assert json.loads(before) == {"numbers": [1.0, 2.5], "nested": {"name": "a [b]"}}
    assert "[ 1.0, 2.5 ]" in before
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(path, {"error": float("nan")})
    assert path.read_text() == before


def test_fractions_are_rounded_and_whole_numbers_stay_whole():
    told = rounded({"values": [1, 1024], "fit": {"exponent": 1.2345678}, "times": (0.123456789,), "name": "1.234567"})
    assert told == {"values": [1, 1024], "fit": {"exponent": 1.2346}, "times": [0.12346], "name": "1.234567"}
    assert all(isinstance(value, int) for value in told["values"])
    assert rounded(None) is None
    assert rounded(True) is True
    assert rounded(1234.5, 2) == 1200


def test_a_table_of_records():
    columns = {"point": "{x}", "height": "{y:.1f}", "sum": lambda point: f"{point['x'] + point['y']:,}"}
    assert records_table([{"x": 1, "y": 2_000}], columns) == (
        "| point | height | sum |\n| --- | ---: | ---: |\n| 1 | 2000.0 | 2,001 |\n"
    )
    assert records_table([{"x": 1}], {"x": "{x}"}) == markdown_table(["x"], [["1"]])


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "cpu family\t: 25\nmodel\t\t: 17\nmodel name\t: AMD EPYC\nflags\t\t: sse2 avx avx2\n",
            {"name": "AMD EPYC", "family": "25", "model": "17", "vector_instructions": "AVX2"},
        ),
        (
            "model name\t: Xeon\nflags\t\t: avx avx2 avx512f\nbugs\t: avx\n",
            {"name": "Xeon", "vector_instructions": "AVX-512"},
        ),
        (
            "Features\t: fp asimd sve\nCPU architecture: 8\nCPU part\t: 0xd40\n",
            {"family": "8", "model": "0xd40", "vector_instructions": "SVE"},
        ),
    ],
)
def test_the_processor_is_read_from_the_kernel(tmp_path, text, told):
    (tmp_path / "cpuinfo").write_text(text)
    assert told.items() <= processor(tmp_path / "cpuinfo").items()


def test_the_processor_has_a_name_where_the_kernel_tells_none(tmp_path):
    assert list(processor(tmp_path / "none")) == ["name"]
    assert environment("python")["processor"] == processor()


def test_the_committed_index_is_what_the_committed_results_say():
    made = index.make_index(index.BENCHMARKS / "results")
    assert (index.BENCHMARKS / "README.md").read_text(encoding="utf-8") == made, "run python -m benchmarks"
    folders = list(index.BENCHMARKS.glob("results/*/results.json"))
    assert made.count("\n| ") == len(folders) + 2


def test_another_result_is_another_index(tmp_path):
    shutil.copytree(index.BENCHMARKS / "results" / "growth", tmp_path / "growth")
    before = index.make_index(tmp_path)
    path = tmp_path / "growth" / "results.json"
    told = json.loads(path.read_text())
    told["scans"]["width"]["fit"]["exponent"] = 7.25
    path.write_text(json.dumps(told))
    assert "width 7.25" not in before
    assert "width 7.25" in index.make_index(tmp_path)


TABLES = {
    "convolution": convolution.table,
    "growth": growth.make_tables,
    "sinusoid_speed": lambda told: records_table(told["methods"], speed.COLUMNS),
    "sweep": sweep.table,
}


@pytest.mark.parametrize("name", TABLES)
def test_a_committed_table_is_what_its_results_say(name):
    folder = index.BENCHMARKS / "results" / name
    told = json.loads((folder / "results.json").read_text())
    assert (folder / "table.md").read_text(encoding="utf-8") == TABLES[name](told)
