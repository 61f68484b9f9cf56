"""A run's folder: damage falls back or is refused, a folder is of one run and one process, full disks lose nothing."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import jax_meta
from tests.runs.training import OUTER, bits, first_state, train
from tests.tiers import each

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # TensorStore's, of damage


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    state, _ = train(folder)
    return folder, state


@pytest.fixture
def run(whole, tmp_path):
    """A copy of a finished run of 12 steps, with checkpoints at 10 and 12."""
    return Path(shutil.copytree(whole[0], tmp_path / "run"))


def newest(folder):
    return folder / "checkpoints" / "12"


def files_of(folder):
    return sorted(path for path in folder.rglob("*") if path.is_file())


def truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path):
    content = bytearray(path.read_bytes())
    for place in np.random.default_rng(0).integers(0, len(content), 3):
        content[place] ^= 0xFF
    path.write_bytes(bytes(content))


def largest(folder):
    return max(files_of(folder), key=lambda path: path.stat().st_size)


@pytest.mark.parametrize("harm", each([truncate, flip, Path.unlink], [flip]))
def test_a_damaged_newest_checkpoint_falls_back_to_the_one_before(whole, run, harm, recwarn):
    for path in files_of(newest(run) / "state"):
        harm(path)
    state, _ = train(run)
    told = [str(warning.message) for warning in recwarn]
    assert any("the checkpoint of meta-step 12" in text and "Going back to the one before" in text for text in told)
    assert bits(state) == bits(whole[1])
    assert (run / "metrics.jsonl").read_bytes() == (whole[0] / "metrics.jsonl").read_bytes()
    assert (run / "damaged" / "12").is_dir()
    assert jax_meta.load_state(run, first_state()).step == 12


@pytest.mark.filterwarnings("ignore:the checkpoint of meta-step")
@pytest.mark.slow
@pytest.mark.parametrize("harm", [truncate, flip, Path.unlink])
def test_harm_to_any_single_file_leads_to_the_same_end(whole, run, tmp_path, harm):
    for number, path in enumerate(files_of(newest(run))):
        copy = Path(shutil.copytree(run, tmp_path / str(number)))
        harm(copy / path.relative_to(run))
        assert bits(train(copy)[0]) == bits(whole[1]), path


def test_a_single_flipped_bit_of_the_weights_shows(run):
    """Also where nothing but our digest looks at it."""
    path = largest(newest(run) / "state")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(ValueError, match="the checkpoint of meta-step 12"):
        jax_meta.load_state(run, first_state())


@pytest.mark.filterwarnings("ignore:the checkpoint of meta-step")
def test_a_checkpoint_under_another_meta_step_is_none(whole, run):
    shutil.rmtree(newest(run))
    shutil.copytree(run / "checkpoints" / "10", newest(run))
    with pytest.raises(ValueError, match="the checkpoint of meta-step 12 is not what was saved"):
        jax_meta.load_state(run, first_state())
    (run / "checkpoints" / "90").mkdir()  # and what is no checkpoint at all is set aside
    assert bits(train(run)[0]) == bits(whole[1])
    assert sorted(path.name for path in (run / "damaged").iterdir()) == ["12", "90"]


@pytest.mark.filterwarnings("ignore:the checkpoint of meta-step")
def test_where_all_checkpoints_are_damaged_nothing_is_begun_anew(run):
    for path in files_of(run / "checkpoints"):
        truncate(path)
    with pytest.raises(OSError, match=r"no checkpoint in .* can be read"):
        train(run)
    assert len(jax_meta.read_records(run)) == 6


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seed": 1}, r"key is \[0, 0\] there and \[0, 1\] here"),
        ({"name": "reptile"}, "learner is maml there and reptile here"),
        ({"settings": {"ways": 5}}, "settings.ways is None there and 5 here"),
    ],
)
def test_the_folder_of_another_run_is_refused_by_what_differs(run, options, message):
    before = (run / "metrics.jsonl").read_bytes()
    with pytest.raises(ValueError, match=message):
        train(run, **options)
    assert (run / "metrics.jsonl").read_bytes() == before


def test_another_optimizer_shows_in_the_arrays(run):
    import optax

    with pytest.raises(ValueError, match=r"arrays\.opt_state.* there and .* here"):
        train(run, outer=optax.sgd(0.1, momentum=0.9))
    assert OUTER is not None


def test_checkpoints_without_run_json_are_refused(run):
    (run / "run.json").unlink()
    with pytest.raises(ValueError, match=r"no run\.json"):
        train(run)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"run": 3}', '{"run": {}, "versions": []}'])
def test_a_damaged_run_json_is_refused(run, content):
    (run / "run.json").write_text(content)
    with pytest.raises(ValueError, match=r"run\.json is damaged|holds another run"):
        train(run)


def test_another_version_is_told_and_goes_on(run, capsys):
    told = json.loads((run / "run.json").read_text())
    told["versions"]["jax"] = "0.1.0"
    (run / "run.json").write_text(json.dumps(told))
    train(run)
    assert "begun with jax 0.1.0, goes on with" in capsys.readouterr().out


HOLD = """
import sys, time
from pathlib import Path
from jax_meta.runs.lock import locked
with locked(Path(sys.argv[1])):
    print("holds", flush=True)
    time.sleep(100)
"""


def test_a_second_process_is_refused_and_the_lock_goes_with_the_first(run):
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(run)], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "holds\n"
    with pytest.raises(OSError, match=f"in use by process {holder.pid}"):
        train(run)
    holder.kill()
    holder.communicate()
    train(run)


def test_a_folder_that_cannot_be_made_is_told_at_once(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"cannot be written: Not a directory\. Choose another folder"):
        train(tmp_path / "file" / "run", report=lambda progress: pytest.fail("it began"))


def test_a_full_disk_stops_the_run_and_the_last_checkpoint_stays(tmp_path, whole):
    """A metrics file on the device that is always full."""

    def fill(progress):
        if progress.step == 4:
            (tmp_path / "metrics.jsonl").rename(tmp_path / "kept")
            (tmp_path / "metrics.jsonl").symlink_to("/dev/full")

    with pytest.raises(OSError, match=r"No space left on device.*the same call goes on"):
        train(tmp_path, report=fill)
    (tmp_path / "metrics.jsonl").unlink()
    (tmp_path / "kept").rename(tmp_path / "metrics.jsonl")
    assert bits(train(tmp_path)[0]) == bits(whole[1])


LIMITED = """
import resource, sys
from tests.runs import training
def limit(progress):
    if progress.step == 4:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
training.train(sys.argv[1], report=limit)
"""


@pytest.mark.slow  # in a process of its own
def test_a_checkpoint_that_cannot_be_written_is_told_and_the_one_before_stays(tmp_path):
    environment = {"PYTHONPATH": str(Path(__file__).parents[2]), "JAX_ENABLE_X64": "1", "PATH": ""}
    command = [sys.executable, "-c", LIMITED, str(tmp_path)]
    finished = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert finished.returncode == 1
    assert "cannot be written" in finished.stderr.splitlines()[-1]
    assert 2 <= int(jax_meta.load_state(tmp_path, first_state()).step) < 12


@pytest.mark.parametrize("text", ['{"loss": 1}\n', "not JSON\n", "[1]\n", '{"step": 1}\n\x00\n'])
def test_damaged_metrics_are_told(tmp_path, text):
    (tmp_path / "metrics.jsonl").write_text(text)
    with pytest.raises(ValueError, match=r"metrics\.jsonl is damaged .*: delete"):
        jax_meta.read_records(tmp_path)


def test_a_folder_without_a_run_is_told(tmp_path):
    with pytest.raises(FileNotFoundError, match="has no checkpoints"):
        jax_meta.load_state(tmp_path, first_state())
