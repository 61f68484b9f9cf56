"""The memory benchmark: what it measures is what was allocated, and what is wrong, missing or fails is found out."""

import json
from argparse import Namespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose

import jax_meta
from benchmarks.harness import jax_networks
from benchmarks.harness.processes import Machine
from benchmarks.harness.rounds import Turns
from benchmarks.harness.workloads import conv4, load_problem
from benchmarks.memory import __main__ as memory
from benchmarks.memory import in_jax
from benchmarks.memory import program as measured
from benchmarks.memory.measure import VARIANTS, Variant, measure, measure_compiled, perceptron
from benchmarks.memory.results import leanest, tables, times_of_default
from benchmarks.peers.peer import Entry
from tests.benchmarks import memory_programs

MACHINE = Machine("cpu", 1, 60.0)
TINY = conv4(2, 2, width=3, size=16, queries=2)
linux = pytest.mark.skipif(not measured.STATUS.exists(), reason="needs /proc")


def program(name, kind="other", **options):
    return Variant(Entry(name, f"tests.benchmarks.memory_programs:{name}", "it", kind), options)


def run(folder, machine=MACHINE, repeats=1, seconds=10.0, **variants):
    return measure(variants, {}, machine, folder, Turns(repeats, seconds))


@pytest.fixture(scope="module")
def problem(tmp_path_factory):
    return memory.images(TINY, tmp_path_factory.mktemp("problem"))


@linux
@pytest.mark.slow
def test_what_is_allocated_is_measured_where_it_is_allocated(tmp_path):
    told = run(tmp_path, program=program("known", building=200, running=100))["program"]
    assert told["status"] == "measured"
    assert 199 < told["peak_before_running_mib"] - told["resident_before_mib"] < 220
    assert told["resident_after_compilation_mib"] - told["resident_before_mib"] < 20
    assert 99 < told["peak_running_mib"] - told["resident_after_compilation_mib"] < 120
    assert told["peak_mib"] == told["peak_before_running_mib"]
    cached = run(tmp_path, program=program("compiled", building=200, running=100))["program"]
    assert 199 < cached["peak_mib"] - cached["resident_before_mib"] < 220
    assert 99 < cached["peak_compiled_before_mib"] - cached["resident_before_mib"] < 120


@linux
@pytest.mark.slow
def test_the_peak_of_a_run_and_not_what_its_parent_holds(tmp_path):
    held = memory_programs.allocate(400)
    told = run(tmp_path, program=program("known", running=200))["program"]
    assert len(held) == 400 * 2**20
    assert told["resident_before_mib"] < 150
    assert told["peak_mib"] == told["peak_running_mib"]
    assert 199 < told["peak_mib"] - told["resident_before_mib"] < 220


def test_resident_memory_of_this_process():
    before = measured.resident()
    held = memory_programs.allocate(50)
    assert measured.resident() - before > 49 * (len(held) > 0)
    assert measured.peak() >= measured.resident() - 1


@pytest.mark.slow
def test_a_wrong_gradient_is_found_out(tmp_path):
    told = run(
        tmp_path,
        right=program("known"),
        close=program("off_by", entry=0.004),
        wrong=program("off_by", entry=0.006),
        nan=program("off_by", entry=float("nan")),
        misnamed=program("misnamed"),
    )
    assert told["right"]["norm"] == 5
    assert told["close"]["difference"] == pytest.approx(0.0008)
    assert told["close"]["status"] == "measured"
    assert told["wrong"]["status"] == "disagrees: its meta-gradient differs by 1.2e-03 of its norm"
    assert told["nan"]["status"] == "disagrees: its meta-gradient is not finite"
    assert told["misnamed"]["status"] == "disagrees: its meta-gradient differs by inf of its norm"


@pytest.mark.slow
def test_a_failure_ends_one_variant_and_the_rest_goes_on(tmp_path):
    failing = {name: program(name) for name in ("missing", "out_of_memory", "killed", "silent")}
    told = run(tmp_path, machine=MACHINE._replace(timeout=8.0), **failing, right=program("known"))
    assert told["missing"]["status"].startswith("not installed: pip install it")
    assert told["out_of_memory"]["status"].startswith("failed: ")
    assert "emory" in told["out_of_memory"]["status"]
    assert told["killed"]["status"].startswith("failed: exit code -9")
    assert told["silent"]["status"] == "failed: no answer in 8 s"
    assert told["right"]["status"] == "measured"
    assert not any("peak_mib" in told[name] for name in failing)


@pytest.mark.slow
def test_turns_are_repeated_until_their_time_is_up(tmp_path):
    quick, slow = program("known", pause=0.001), program("known", pause=0.2)
    told = run(tmp_path, repeats=4, seconds=0.3, quick=quick, slow=slow)
    assert told["quick"]["runs"] == 5
    assert told["slow"]["runs"] == 2
    assert 0.2 < told["slow"]["seconds"] < 0.3


@pytest.mark.slow
def test_a_size_that_fails_leaves_the_others(tmp_path):
    sizes = [{"workload": {"num_tasks": tasks, "width": 4}, "problem": ""} for tasks in (1, 3, 2)]
    records = measure_compiled({"it": program("width_in_mib")}, sizes, MACHINE, tmp_path)["it"]
    assert [record.get("temporary_mib") for record in records] == [4, None, 8]
    assert records[1]["status"] == "failed: ValueError: too large"


@pytest.fixture(scope="module")
def by_definition(problem):
    """The mean over tasks of ∇θ L(θ - α ∇L(θ) ..., query), in float64."""
    weights, batches = load_problem(problem["problem"])
    params = jax.tree.map(lambda leaf: leaf.astype(float), jax_networks.to_params(weights))
    loss_fn = jax_meta.classification(jax_networks.model(TINY).apply)

    def query_loss(params, support, query):
        adapted = params
        for _ in range(TINY.inner_steps):
            slopes = jax.grad(lambda params: loss_fn(params, support, None)[0])(adapted)
            adapted = jax.tree.map(lambda leaf, slope: leaf - TINY.learning_rate * slope, adapted, slopes)
        return loss_fn(adapted, query, None)[0]

    def task_gradient(task):
        support, query = ((jnp.asarray(images[task], float), labels[task]) for images, labels in batches[0])
        return gradient(params, support, query)

    gradient = jax.jit(jax.grad(query_loss))
    gradients = [task_gradient(task) for task in range(TINY.num_tasks)]
    mean = jax.tree.map(lambda *leaves: sum(leaves) / len(leaves), *gradients)
    return jax_networks.flat(mean)


def assert_is_gradient(gradient, expected):
    assert gradient.keys() == expected.keys()
    for name, leaf in gradient.items():
        assert leaf.dtype == np.float32
        assert_allclose(leaf, expected[name], rtol=2e-3, atol=2e-4 * np.abs(expected[name]).max(), err_msg=name)


@pytest.mark.parametrize("name", ["mixed-blocks", "naive"])
@pytest.mark.slow
def test_programs_in_jax_compute_the_meta_gradient(name, problem, by_definition):
    make = in_jax.naive if name == "naive" else in_jax.ours
    built = make(**problem, **VARIANTS[name].options)()
    assert_is_gradient(built.run(), by_definition)
    assert built.temporary_bytes > 2 * 16 * 16 * 3 * 4


@pytest.mark.slow
def test_pytorch_computes_the_meta_gradient_without_jax(problem, by_definition, tmp_path):
    pytest.importorskip("torch")
    alone = Variant(Entry("torch", "tests.benchmarks.memory_programs:torch_alone", "torch", "eager"), {"name": "torch"})
    told = measure({"torch": alone}, problem, MACHINE, tmp_path, Turns(1, 1.0))["torch"]
    assert told["status"] == "measured"
    assert told["temporary_mib"] is None
    with np.load(tmp_path / "torch.npz") as file:
        assert_is_gradient(dict(file), by_definition)


def test_each_variant_of_ours_has_its_own_options():
    chosen = {name: variant for name, variant in VARIANTS.items() if variant.entry.kind == "ours"}
    assert len({json.dumps(dict(variant.options), sort_keys=True) for variant in chosen.values()}) == len(chosen) == 7
    assert perceptron(VARIANTS).keys() == chosen.keys() - {"vmap"}
    assert len({variant.entry.label for variant in VARIANTS.values()}) == len(VARIANTS)


def made_up(peak, seconds, temporary=1.0):
    stages = ("resident_before_mib", "peak_before_running_mib", "resident_after_compilation_mib", "peak_running_mib")
    told = {"peak_mib": peak + 400.0, "peak_compiled_before_mib": float(peak), **dict.fromkeys(stages, 1.0)}
    return {"status": "measured", **told, "seconds": seconds, "temporary_mib": temporary, "compile_seconds": None}


def test_what_is_read_off_the_tables():
    names = ("none", "blocks", "torch", "higher")
    variants = {name: VARIANTS[name] for name in names}
    twenty = dict(
        zip(names, (made_up(900, 1.0), made_up(500, 1.25), made_up(700, 2.0), made_up(640, 3.0)), strict=True)
    )
    hundred = {**twenty, "blocks": made_up(2600, 5.0, 3.25), "torch": {"status": "failed: exit code -9"}}
    by_steps = {20: twenty, 100: hundred}
    assert leanest(by_steps, 20, ["torch", "higher"]) == {"variant": "higher", "inner_steps": 20, "peak_mib": 640.0}
    assert leanest(by_steps, 100, ["torch"]) is None
    assert times_of_default(twenty, "blocks") == 1.25
    assert times_of_default(hundred, "torch") is None
    text = tables(by_steps, {}, {}, variants)
    assert (
        "peer at 20 inner steps (higher) needs 640 MiB, and the leanest of jax_meta at 100 inner steps (jax_meta) "
        in text
    )
    assert '| jax_meta, remat="blocks" | 500 (1.25) | 2,600 (5.00) |' in text
    assert '| jax_meta, remat="blocks" | 900 | 3,000 |' in text
    assert '| jax_meta, remat="blocks" | 1.0 (1.25 x) | 3.2 (5.00 x) |' in text
    assert "| PyTorch, loop over tasks | 700 (2.00) | failed |" in text
    assert "- PyTorch, loop over tasks, 100 inner steps: failed: exit code -9" in text


@pytest.mark.slow
def test_a_run_writes_what_it_measured(tmp_path):
    variants = {
        "none": program("width_in_mib", "ours", task_batch_size=1),
        "naive": program("known", "jax", temporary=9),
        "torch": program("killed", "eager"),
    }
    tiny = {"layers": 2, "width": 8, "examples": 4, "inner_steps": 2}
    plan = memory.Plan(TINY, (1, 20), (1, 2, 4), (3, 4), tiny, 1, 1.0)
    memory.run(plan, variants, MACHINE, Namespace(output=tmp_path, command=""))
    told = json.loads((tmp_path / "results.json").read_text())
    assert told["by_inner_steps"]["20"]["none"]["temporary_mib"] == 6
    assert told["by_inner_steps"]["20"]["torch"]["status"].startswith("failed: exit code -9")
    assert told["leanest_peer_at_20_steps"]["variant"] == "naive"
    assert [(one["num_tasks"], one["width"]) for one in told["by_size"]["none"]] == [(1, 3), (2, 3), (4, 3), (2, 4)]
    assert told["of_the_perceptron"]["none"]["status"] == "measured"
    text = (tmp_path / "table.md").read_text()
    assert "\n| width_in_mib | 6.0 (1.00 x) | 6.0 (1.00 x) |\n" in text
    assert "\n| Temporary MiB, tasks x filters | 1 x 3 | 2 x 3 | 4 x 3 | 2 x 4 |\n" in text
    assert "\n| width_in_mib | 3.0 | 6.0 | failed | 8.0 |\n" in text
    assert (tmp_path / "memory.png").read_bytes().startswith(b"\x89PNG")


def test_help_fits_and_wrong_options_stop(monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit):
        memory.main(["--help"])
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 80
    for wrong in (["--variants", "tensorflow"], ["--steps", "0"], ["--repeats", "0"]):
        with pytest.raises(SystemExit) as stopped:
            memory.main(wrong)
        assert stopped.value.code == 2
        assert "usage:" in capsys.readouterr().err
    (tmp_path / "file").touch()
    with pytest.raises(SystemExit, match="Choose another folder with --output"):
        memory.main(["--output", str(tmp_path / "file" / "folder")])
