"""The comparison with other libraries: all do the same work, and one that does not is found out and left out."""

import json
import os
import pkgutil
import signal
from argparse import Namespace
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose

from benchmarks.harness.jax_networks import initial_weights, our_sampler
from benchmarks.harness.processes import Machine
from benchmarks.harness.rounds import Turns
from benchmarks.harness.workloads import (
    WORKLOADS,
    adapt,
    conv4,
    draw_sines,
    load_problem,
    random_images,
    relative,
    save_problem,
    sine,
    task_source,
)
from benchmarks.peers import __main__ as peers
from benchmarks.peers import results
from benchmarks.peers.jax_peers import naive_draw
from benchmarks.peers.measure import TOLERANCES, measure, ratio
from benchmarks.peers.peer import PEERS, Entry, maker

MACHINE = Machine("cpu", 1, 60.0)
SMALL = [
    problem(second_order=order)
    for order in (True, False)
    for problem in (
        lambda second_order: sine(3, 2, second_order=second_order, width=6),
        lambda second_order: conv4(2, 1, second_order=second_order, width=2, size=16, queries=2),
    )
]


def in_float64(tasks):
    return tuple(tuple(leaf.astype(float) if leaf.dtype == np.float32 else leaf for leaf in batch) for batch in tasks)


def three_losses(name, workload):
    """The losses of a peer in float64."""
    weights = {name: leaf.astype(float) for name, leaf in initial_weights(workload).items()}
    draw, generator = task_source(workload), np.random.default_rng(1)
    batches = [in_float64(draw(generator)) for _ in range(3)]
    peer = pkgutil.resolve_name(maker(PEERS[name], workload))(workload, weights, "cpu")
    return peer.losses(batches)


@cache
def reference(workload):
    """Our losses."""
    return three_losses("jax_meta", workload)


def by_speed(*values, slow=False):
    """Parameters of a test, of which those with images are slow anyway, since they compile long."""
    images = any(getattr(value, "model", "") == "conv4" for value in values)
    name = "-".join(getattr(value, "name", str(value)) for value in values)
    return pytest.param(*values, id=name, marks=[pytest.mark.slow] if slow or images else [])


@pytest.mark.parametrize(
    ("name", "workload"),
    [
        by_speed(name, workload, slow=name != "torch")
        for name in ("jax-loop", "torch", "torch-func", "jax-scan")
        for workload in SMALL
    ],
)
def test_peers_take_the_same_meta_steps(name, workload):
    if name.startswith("torch"):
        pytest.importorskip("torch")
    assert_allclose(three_losses(name, workload), reference(workload), rtol=1e-9)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("second_order", [True, False])
@pytest.mark.parametrize(
    ("name", "module"),
    [
        ("higher", "higher"),
        ("learn2learn", "learn2learn"),
        ("torchopt", "torchopt"),
        ("parallel-metalearn", "metalearn.algorithms"),
    ],
)
def test_libraries_take_the_same_meta_steps(name, module, second_order):
    pytest.importorskip(module, reason=f"{name} is of the extra peers", exc_type=ImportError)
    workload = SMALL[0] if second_order else SMALL[2]
    assert_allclose(three_losses(name, workload), reference(workload), rtol=1e-6)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("name", "workload"),
    [
        by_speed(name, workload)
        for name, entry in PEERS.items()
        for workload in (adapt(sine(1, 3, width=6)), adapt(conv4(1, 2, width=2, size=16, queries=2)))
        if entry.adapt and name != "jax_meta"
    ],
)
def test_those_who_adapt_to_one_task_end_in_the_same_model(name, workload):
    pytest.importorskip(PEERS[name].install.split()[0], exc_type=ImportError)
    assert_allclose(three_losses(name, workload), reference(workload), rtol=1e-9 if "jax" in name else 1e-6)
    unadapted = three_losses("jax_meta", workload._replace(inner_steps=0))
    assert not np.allclose(unadapted, reference(workload), rtol=1e-3)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("learner", ["anil", "protonet"])
@pytest.mark.parametrize(
    ("name", "module", "tolerance"), [("torch", "torch", 1e-9), ("parallel-metalearn", "metalearn.algorithms", 1e-6)]
)
def test_relatives_take_the_same_meta_steps(name, module, tolerance, learner):
    pytest.importorskip(module, exc_type=ImportError)
    workload = relative(conv4(2, 3, width=2, size=16, queries=2), learner)
    assert_allclose(three_losses(name, workload), reference(workload), rtol=tolerance)
    of_maml = reference(workload._replace(learner="maml"))
    assert not np.allclose(of_maml, reference(workload), rtol=1e-2)


def test_a_transposed_gradient_is_not_taken_for_a_plain_one():
    """PyTorch's fused Adam reads a gradient in the order of memory, whatever its strides."""
    torch = pytest.importorskip("torch")
    from benchmarks.peers.libraries import add_gradients
    from benchmarks.peers.torch_peers import adam

    module = torch.nn.Linear(2, 2, bias=False)
    before = module.weight.detach().clone()
    optimizer = adam(module.parameters())
    add_gradients(module, (torch.tensor([[1.0, 1.0], [-1.0, -1.0]]).t(),))
    optimizer.step()
    assert_allclose((module.weight.detach() - before).numpy().round(6), [[-1e-3, 1e-3], [-1e-3, 1e-3]], rtol=1e-3)


@pytest.mark.parametrize(("second", "first"), [by_speed(*pair) for pair in zip(SMALL[:2], SMALL[2:], strict=True)])
def test_orders_differ_from_the_second_meta_step_on(second, first):
    assert reference(second)[0] == pytest.approx(reference(first)[0], rel=1e-12)
    assert reference(second)[1] != pytest.approx(reference(first)[1], rel=1e-6)


@pytest.mark.parametrize("name", ["sine-1x1", "sine-25x1"])
def test_a_missing_second_derivative_exceeds_the_tolerance(name):
    """Two meta-steps from the same weights, as the command checks them."""
    second, first = (three_losses("jax-loop", WORKLOADS[name + order])[:2] for order in ("", "-first-order"))
    assert abs(first[1] / second[1] - 1) > 5 * TOLERANCES["mlp"][1]


def test_the_workloads_are_those_of_the_issue():
    trained = [workload for workload in WORKLOADS.values() if not workload.adapts]
    found = {(w.model, w.num_tasks, w.inner_steps, w.second_order) for w in trained if w.learner == "maml"}
    sines, images = [("mlp", 1, 1), ("mlp", 25, 1), ("mlp", 25, 5)], [("conv4", 4, 1), ("conv4", 4, 5)]
    assert found == {(*numbers, order) for numbers in sines + images for order in (True, False)}
    relatives = {(w.learner, w.inner_steps): w for w in trained if w.learner != "maml"}
    assert relatives.keys() == {("anil", 1), ("anil", 5), ("protonet", 0)}
    assert all(
        (w.num_tasks, w.ways, w.shots, w.ways * w.queries, w.size) == (4, 5, 1, 75, 28) for w in relatives.values()
    )
    assert all(name == workload.name for name, workload in WORKLOADS.items())


def draw_with(source, workload):
    """Tasks as NumPy draws them for PyTorch, as plain JAX does, or as `jax_meta` does."""
    if source == "numpy":
        return task_source(workload)(np.random.default_rng(0))
    images = None if workload.model == "mlp" else jnp.asarray(random_images(workload))
    key = jax.random.key(0)
    tasks = naive_draw(workload)(key, images) if source == "naive" else our_sampler(workload)(key, workload.num_tasks)
    return jax.tree.map(np.asarray, tasks)


@pytest.mark.parametrize("source", ["numpy", "naive", "ours"])
def test_sines_have_the_amplitudes_and_phases_of_the_paper(source):
    (inputs, targets), (query_inputs, query_targets) = draw_with(source, sine(400, 1))
    assert inputs.shape == query_targets.shape == (400, 10, 1)
    points = np.concatenate([inputs, query_inputs], 1)[..., 0].astype(float)
    values = np.concatenate([targets, query_targets], 1)[..., 0]
    curves = []
    for x, y in zip(points, values, strict=True):
        coefficients, residual, *_ = np.linalg.lstsq(np.c_[np.sin(x), np.cos(x)], y, rcond=None)
        assert residual < 1e-9
        curves.append(coefficients)
    amplitude, phase = np.hypot(*np.transpose(curves)), np.arctan2(*np.transpose(curves)[::-1])
    for found, (low, high) in ((amplitude, (0.1, 5)), (phase, (0, np.pi)), (points, (-5, 5))):
        assert low - 1e-3 < found.min() < low + 0.1 < high - 0.1 < found.max() < high + 1e-3


@pytest.mark.parametrize("source", ["numpy", "naive", "ours"])
def test_episodes_show_different_images_of_the_class_that_a_label_stands_for(source):
    workload = conv4(3, 1, size=6)
    images = random_images(workload)
    place = {image.tobytes(): index for index, image in enumerate(images.reshape(-1, 6, 6, 1))}
    support, query = draw_with(source, workload)
    assert support[0].shape == (3, 5, 6, 6, 1)
    assert query[0].shape == (3, 75, 6, 6, 1)
    for task in range(3):
        pixels = np.concatenate([support[0][task], query[0][task]])
        labels = np.concatenate([support[1][task], query[1][task]])
        found = np.array([place[np.round(image * 255).astype(np.uint8).tobytes()] for image in pixels])
        assert len(set(found)) == 80
        pairs = set(zip(found // images.shape[1], labels, strict=True))
        assert len(pairs) == len({one for one, _ in pairs}) == len({label for _, label in pairs}) == 5


def test_a_problem_is_read_as_it_was_written(tmp_path):
    batches = [draw_sines(sine(2, 1), np.random.default_rng(seed)) for seed in range(3)]
    save_problem(tmp_path / "problem", {"params/a": np.arange(3.0)}, batches)
    weights, read = load_problem(tmp_path / "problem")
    assert_allclose(weights["params/a"], np.arange(3.0))
    assert_allclose(np.array(read), np.array(batches))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Where the peers of `comparison_peers` leave their process ids; these processes must have ended."""
    path = tmp_path / "ids"
    path.mkdir()
    monkeypatch.setenv("COMPARISON_FOLDER", str(path))
    yield path
    ids = [int(path.name) for path in path.iterdir()]
    assert ids
    for process_id in ids:
        with pytest.raises(ProcessLookupError):
            os.kill(process_id, 0)


def entries(*names):
    return {name: Entry(name, f"tests.benchmarks.comparison_peers:{name}", "it", "other") for name in names}


def compare(*names, machine=MACHINE, seconds=0.01, **options):
    return measure(sine(1, 1), {"a": np.ones(1)}, entries(*names), machine, Turns(2, seconds, **options))


@pytest.mark.slow
def test_a_peer_that_is_wrong_missing_or_fails_is_reported_and_the_rest_goes_on(folder, tmp_path):
    records = compare("right", "wrong", "nan", "missing", "raising", "crashing", seconds=0.1)
    told = {name: record["status"] for name, record in records.items()}
    assert told["right"] == "measured"
    assert told["wrong"] == "disagrees: its first losses differ by 0.0e+00 and 3.0e-02 of themselves"
    assert told["nan"] == "disagrees: its losses are not finite"
    assert told["missing"] == "not installed: pip install it (No module named 'a_library_that_nobody_has')"
    assert told["raising"] == "failed: ValueError: no such thing"
    assert told["crashing"] == "failed: exit code 7. out of everything"
    assert not {"wrong", "nan", "missing", "raising"} & {name for name in records if "median" in records[name]}
    assert records["right"]["largest_difference"] == 0
    assert len(records["right"]["meta_steps_per_second"]) == 2
    assert records["right"]["steps_a_turn"] in (512, 1024)  # long turns: a busy machine is late by milliseconds
    assert records["right"]["median"] == pytest.approx(1e4, rel=0.5)
    options = Namespace(output=tmp_path, command="", threads=1, repeats=2, seconds=0.01)
    results.write(options, {"sine-1x1": records}, entries(*records))
    text = (tmp_path / "table.md").read_text()
    assert "\n| crashing | failed |\n" in text
    assert f"\n- crashing, sine-1x1: {told['crashing']}\n" in text
    assert json.loads((tmp_path / "results.json").read_text())["workloads"]["sine-1x1"]["peers"].keys() == told.keys()


@pytest.mark.slow
def test_a_peer_that_does_not_answer_is_given_up(folder):
    records = compare("right", "silent", machine=MACHINE._replace(timeout=8.0))
    assert records["silent"]["status"] == "failed: no answer in 8 s"
    assert records["right"]["status"] == "measured"


@pytest.mark.slow
def test_an_interrupt_leaves_no_process(folder):
    def tell(doing):
        if "/" in doing:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        compare("right", "crashing", tell=tell)
    assert len(list(folder.iterdir())) == 2


def made_up(*rates):
    return {"status": "measured", "meta_steps_per_second": list(rates), "median": float(np.median(rates))}


def test_ratios_are_medians_of_the_rounds_own():
    records = {"a": made_up(10.0, 20.0, 90.0), "b": made_up(5.0, 5.0, 30.0)}
    assert ratio(records, "a", "b") == 3.0
    told = {name: PEERS[name] for name in ("jax_meta", "jax-scan", "torch", "torch-func")}
    row = dict(zip(told, (made_up(100.0), made_up(50.0), made_up(4.0), made_up(5.0)), strict=True))
    assert results.best_rival(row, told, ("eager",)) == {"peer": "torch-func", "ratio": 20.0}
    assert results.best_rival(row, told, ("jax", "eager")) == {"peer": "jax-scan", "ratio": 2.0}
    assert results.best_rival(row, told, ("compiled",)) is None


@pytest.mark.slow
def test_the_command_measures_and_writes(tmp_path, capsys):
    pytest.importorskip("torch")
    chosen = ["--peers", "jax_meta", "torch", "--workloads", "sine-1x1", "--threads", "1"]
    peers.main([*chosen, "--repeats", "1", "--seconds", "0.01", "--output", str(tmp_path)])
    told = json.loads((tmp_path / "results.json").read_text())
    row = told["workloads"]["sine-1x1"]
    assert [record["status"] for record in row["peers"].values()] == ["measured"] * 2
    assert row["peers"]["torch"]["largest_difference"] < 1e-5
    ours, torch = (row["peers"][name]["median"] for name in ("jax_meta", "torch"))
    assert row["ratios_of_jax_meta"]["best of eager PyTorch"] == {
        "peer": "torch",
        "ratio": pytest.approx(ours / torch, rel=0.01),
    }
    assert f"| PyTorch, loop over tasks | {results.cell(row['peers']['torch'])} |" in capsys.readouterr().out
    assert (tmp_path / "peers.png").read_bytes().startswith(b"\x89PNG")


def test_help_fits_and_wrong_options_stop(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit):
        peers.main(["--help"])
    text = capsys.readouterr().out
    assert "--workloads" in text
    assert max(map(len, text.splitlines())) <= 80
    for wrong in (["--peers", "tensorflow"], ["--threads", "100000"], ["--seconds", "0"], ["--workloads", "mnist"]):
        with pytest.raises(SystemExit) as stopped:
            peers.main(wrong)
        assert stopped.value.code == 2
        assert "usage:" in capsys.readouterr().err
