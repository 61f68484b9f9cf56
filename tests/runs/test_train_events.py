"""TensorBoard's files hold the records, each step once, and a plot is drawn from either."""

import builtins
import sys

import pytest

import jax_meta
from jax_meta.__main__ import main
from jax_meta.runs.events import read_events
from jax_meta.runs.plot import draw, named
from tests.runs.training import stop_at, train

pytest.importorskip("tensorboardX")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run that broke off after its record at 10, with the checkpoint at 8, and then went on."""
    folder = tmp_path_factory.mktemp("run")
    with pytest.raises(RuntimeError):
        train(folder, tensorboard=True, report=stop_at(10), save_seconds=1e9)
    train(folder, tensorboard=True)
    return folder


def test_event_files_hold_the_records_once(run):
    records = read_events(run / "tensorboard")
    expected = jax_meta.read_records(run)
    assert [record["step"] for record in records] == [2, 4, 6, 8, 10, 12]
    for found, record in zip(records, expected, strict=True):
        assert found == pytest.approx(record, rel=1e-6)


def test_tensorboard_itself_reads_them(run):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    events = accumulator.EventAccumulator(str(run / "tensorboard"))
    events.Reload()
    assert [event.step for event in events.Scalars("loss")] == [2, 4, 6, 8, 10, 12]
    assert [event.step for event in events.Scalars("val_loss")] == [4, 8, 12]


def test_a_cut_off_event_file_is_read_as_far_as_it_goes(run, tmp_path):
    (file,) = (run / "tensorboard").iterdir()
    content = file.read_bytes()
    (tmp_path / "events.tfevents").write_bytes(content[:-3])
    assert [record["step"] for record in read_events(tmp_path / "events.tfevents")] == [2, 4, 6, 8, 10, 12]
    (tmp_path / "events.tfevents").write_bytes(content[: len(content) // 2])
    assert 0 < len(read_events(tmp_path)) < 6
    (tmp_path / "events.tfevents").write_bytes(b"\3" + bytes(11) + b"\xff\xff\xff" + bytes(4))
    with pytest.raises(ValueError, match=r"events\.tfevents is damaged"):
        read_events(tmp_path)


def test_without_the_extra_the_remedy_is_named_before_any_step(tmp_path, monkeypatch):
    real = builtins.__import__

    def absent(name, *arguments, **options):
        if name.startswith("tensorboardX"):
            raise ImportError(name)
        return real(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", absent)
    with pytest.raises(ImportError, match=r"pip install 'jax-metalearn\[tensorboard\]'"):
        train(tmp_path, tensorboard=True, report=lambda progress: pytest.fail("it began"))


@pytest.mark.parametrize("place", ["", "metrics.jsonl", "tensorboard"])
def test_a_plot_from_either_by_one_command(run, tmp_path, capsys, place):
    output = tmp_path / "plot.png"
    main(["plot", str(run / place), "--output", str(output)])
    assert output.read_bytes().startswith(b"\x89PNG")
    assert "shows the metrics" in capsys.readouterr().out


def test_the_plot_shows_what_was_recorded(run):
    (axes,) = draw({"run": jax_meta.read_records(run)}).axes
    lines = {line.get_label(): line for line in axes.get_lines()}
    assert list(lines["training"].get_xdata()) == [2, 4, 6, 8, 10, 12]
    assert list(lines["validation"].get_xdata()) == [4, 8, 12]
    assert lines["validation"].get_ydata()[-1] == jax_meta.read_records(run)[-1]["val_loss"]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("meta-steps", "loss")


def test_of_many_points_the_means_of_parts_are_drawn_over_them():
    (axes,) = draw({"run": [{"step": step, "loss": float(step % 2)} for step in range(1000)]}).axes
    thin, thick = axes.get_lines()
    assert len(thin.get_xdata()) == 1000
    assert set(thick.get_ydata()) == {0.5}
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["training, means of 50 parts"]


@pytest.mark.parametrize(("parts", "count"), [(0, 1), (10, 2), (11, 1)])
def test_how_many_parts_can_be_chosen(parts, count):
    (axes,) = draw({"run": [{"step": step, "loss": float(step)} for step in range(20)]}, parts=parts).axes
    assert len(axes.get_lines()) == count
    assert [len(line.get_xdata()) for line in axes.get_lines()][-1] == (20 if count == 1 else parts)


def test_the_command_says_what_it_draws(run, tmp_path, capsys):
    with pytest.raises(SystemExit, match=r"^0$"):
        main(["plot", "--help"])
    assert "the means of 50 equal parts; --parts changes it" in " ".join(capsys.readouterr().out.split())
    main(["plot", str(run), "--output", str(tmp_path / "plot.png"), "--parts", "0"])
    with pytest.raises(SystemExit, match=r"^2$"):
        main(["plot", str(run), "--parts", "-1"])
    assert "must be an integer of 0 or more, got '-1'" in capsys.readouterr().err


def test_two_runs_of_one_name_are_told_apart(tmp_path):
    assert list(named([tmp_path / "a" / "run", tmp_path / "b" / "run"])) == [
        str(tmp_path / name / "run") for name in "ab"
    ]
    assert list(named([tmp_path / "a", tmp_path / "b"])) == ["a", "b"]
    records = [{"step": 1, "loss": 2.0}, {"step": 2, "loss": 1.0}]
    (axes,) = draw({"a": records, "b": records}).axes
    assert [line.get_label() for line in axes.get_lines()] == ["a, training", "b, training"]


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("nothing", "there is no"),
        ("", "has no records yet: neither metrics.jsonl nor event files. Give the folder of a run"),
    ],
)
def test_a_plot_of_nothing_names_the_remedy(tmp_path, place, message, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboardX.proto.event_pb2", None)  # and not the extra, which is not missing
    with pytest.raises(SystemExit, match=message):
        main(["plot", str(tmp_path / place)])
