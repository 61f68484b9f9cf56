"""The benchmark of scaling: a model on paper with closed forms, bytes that were counted twice, and honest fractions."""

import json
from contextlib import contextmanager

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from numpy.testing import assert_allclose

import jax_meta
from benchmarks.convolution import variants as convolution
from benchmarks.harness.processes import WorkerError
from benchmarks.harness.rounds import Turns
from benchmarks.harness.workloads import conv4
from benchmarks.scaling import __main__ as scaling
from benchmarks.scaling import measure
from benchmarks.scaling.measure import (
    Load,
    Program,
    collective_bytes,
    count_turns,
    measure_batches,
    measure_groups,
    powers_of_four,
)
from benchmarks.scaling.paper import (
    NETWORKS,
    Machine,
    Work,
    efficiency,
    flop_per_task,
    forward_flop,
    most_devices,
    reduced_bytes,
    reduction_seconds,
    shapes,
    step_seconds,
)

FREE = Machine(1e9, 1e99, 0.0)
TINY_BYTES = 4 * (1 * 4 + 4 + 4 * 4 + 4 + 4 * 1 + 1 + 1 + 1)
"""A 1-4-4-1 network's kernels and biases, and the loss."""


@pytest.mark.parametrize("devices", [1, 2, 3, 8, 100])
def test_where_communication_is_free_only_an_uneven_share_costs(devices):
    work = Work(1e6, 1000)
    assert_allclose(efficiency(FREE, work, 24, devices), 24 / (devices * -(-24 // devices)))
    assert_allclose(step_seconds(FREE, work, 24, devices), -(-24 // devices) * 1e-3)


def test_all_reduces_of_two_and_of_many():
    ring, tree = (Machine(1e9, 100.0, 0.5, kind) for kind in ("ring", "tree"))
    for machine in (ring, tree):
        assert reduction_seconds(machine, 1000, 1) == 0
    assert_allclose(reduction_seconds(ring, 1000, [2, 5]), [10 + 1, 16 + 4])
    assert_allclose(reduction_seconds(tree, 1000, [2, 5, 8]), [2 * 10.5, 6 * 10.5, 6 * 10.5])


def test_the_number_of_devices_at_half_is_where_reducing_takes_as_long_as_computing():
    tasks, flop = 2520, 1e6  # which 1 to 10 devices divide
    alone = tasks * flop / 1e9
    for devices in (2, 7, 9):
        by_bandwidth = Machine(1e9, 2 * (devices - 1) * 1000 / alone, 0.0)
        by_latency = Machine(1e9, 1e99, alone / (2 * devices * (devices - 1)))
        for machine in (by_bandwidth, by_latency):
            assert_allclose(efficiency(machine, Work(flop, 1000), tasks, devices), 0.5)
            assert most_devices(machine, Work(flop, 1000), tasks) == devices
    assert most_devices(FREE, Work(flop, 1000), 3) == 6
    assert most_devices(Machine(1e9, 1.0, 0.0), Work(flop, 10**9), 64) == 1


@pytest.mark.parametrize("steps", [1, 5])
def test_flop_of_conv4_are_those_of_the_benchmark_of_convolutions(steps):
    head = 2 * 64 * 5 * (3 * 75 + 9 * steps * 5)
    task = flop_per_task(NETWORKS["conv4"], steps)
    assert_allclose(task - head, convolution.model_flop(conv4(4, steps)) / 4)


@pytest.mark.parametrize("name", list(NETWORKS))
def test_flop_of_a_forward_pass_are_those_that_xla_counts(name):
    params, task = shapes(NETWORKS[name])
    lowered = jax.jit(NETWORKS[name].model.apply).lower(params, task.query[0])
    counted = lowered.cost_analysis()["flops"] / len(task.query[0])
    assert 0.88 < counted / sum(forward_flop(NETWORKS[name])) < 1.06  # XLA leaves padding out, and counts activations


@pytest.mark.parametrize("steps", [1, 3])
def test_flop_of_a_second_order_meta_gradient_are_those_that_xla_counts(steps):
    network = NETWORKS["sine"]._replace(model=jax_meta.models.MLP((512, 512)))
    params, task = shapes(network)
    learner = jax_meta.maml(jax_meta.regression(network.model.apply), optax.sgd(0.01), num_steps=steps)
    lowered = jax.jit(learner.gradient).lower(params, task, jax.random.key(0))
    assert_allclose(lowered.cost_analysis()["flops"], flop_per_task(network, steps), rtol=0.03)


def test_the_bytes_of_an_all_reduce_are_those_of_parameters_metrics_and_loss():
    assert reduced_bytes(NETWORKS["sine"]) == 4 * (40 + 40 + 1600 + 40 + 40 + 1 + 1 + 1)
    assert reduced_bytes(NETWORKS["conv4"]) == 4 * (9 * 64 + 3 * 9 * 64 * 64 + 4 * 64 + 64 * 5 + 5 + 2 + 1)
    assert reduced_bytes(NETWORKS["resnet12"]) == 4 * (12_424_320 + 5 * 641 + 2 + 1)


def test_collectives_are_read_from_a_program():
    text = """
  %sum = f32[3,4]{1,0} all-reduce(f32[3,4]{1,0} %x), channel_id=1
  %both = (f32[10]{0}, f64[], /*index=2*/bf16[2,2]{1,0}) all-reduce(%a, %b, %c), to_apply=%add
  ROOT %far = u32[5]{0} collective-permute-start(%all-reduce), channel_id=3
  %not = f32[7]{0} get-tuple-element((f32[10]{0}) %all-reduce.2), index=0
"""
    assert collective_bytes(text) == {"all-reduce": 48 + 40 + 8 + 8, "collective-permute": 20}


@pytest.mark.slow
def test_a_mesh_all_reduces_once_a_step_in_one_process_and_in_two(tmp_path):
    for shape in ((1, 2), (2, 1)):
        with measure.start_group(*shape, tmp_path) as group:
            told = measure.ask_all(group, "build", workload="tiny", tasks=4)
            assert told["collective_bytes"] == {"all-reduce": TINY_BYTES}
            assert measure.ask_all(group, "run", workload="tiny", tasks=4, calls=2)["seconds"] > 0
            with pytest.raises(WorkerError, match="failed: KeyError: 'unknown'"):
                measure.ask_all(group, "build", workload="unknown", tasks=4)


@pytest.fixture
def pretended(monkeypatch):
    """Groups whose steps take 1 ms for each task of the largest share, and 2 ms for each device but the first."""
    started = []

    @contextmanager
    def start_group(count, devices, folder):
        started.append((count, devices))
        yield count * devices

    def ask_all(group, do, *, workload, tasks, calls=1):
        seconds = 4 * calls * (1e-3 * -(-tasks // group) + 2e-3 * (group - 1))
        if do == "run":
            return {"seconds": seconds}
        return {"compile_seconds": 1.0, "num_steps": 4, "collective_bytes": {}, "seconds": seconds}

    monkeypatch.setattr(measure, "start_group", start_group)
    monkeypatch.setattr(measure, "ask_all", ask_all)
    return started


@pytest.mark.parametrize("across_processes", [True, False])
def test_weak_and_strong_efficiency(pretended, tmp_path, across_processes):
    told, loads = [], {"sine": Load(2, 8)}
    turns = Turns(3, 0.1, told.append)
    records = measure_groups(loads, [1, 2, 4], tmp_path, turns, across_processes=across_processes)
    assert pretended == [(n, 1) if across_processes else (1, n) for n in (1, 2, 4)]
    assert [record["tasks_per_step"] for record in records] == [2, 4, 8, 8, 8, 8]
    assert_allclose([record["steps_per_second"] for record in records], 1e3 / np.array([2, 4, 8, 8, 6, 8]))
    assert_allclose([record["efficiency"] for record in records], [1, 2 / 4, 2 / 8, 1, 8 / 12, 8 / 32])
    assert len(told) == count_turns(loads, [1, 2, 4], 3)


def test_batches_grow_until_memory_is_full(monkeypatch):
    def compile_program(name, tasks, mesh):
        if tasks > limits[name]:
            raise jax.errors.JaxRuntimeError(messages[name])
        return Program(lambda: (None, {"loss": jnp.zeros(1)}), 8, 1.0, {})

    messages = {"sine": "RESOURCE_EXHAUSTED: out of memory", "conv4": "INTERNAL: broken"}
    limits = {"sine": 16, "conv4": 1}
    monkeypatch.setattr(measure, "compile_program", compile_program)
    records = measure_batches(["sine"], 1000, Turns(2, 1e-3))
    assert [record["tasks_per_step"] for record in records] == [1, 4, 16]
    for record in records:
        assert_allclose(record["tasks_per_second"], record["steps_per_second"] * record["tasks_per_step"])
    with pytest.raises(jax.errors.JaxRuntimeError, match="broken"):
        measure_batches(["conv4"], 1000, Turns(2, 1e-3))


def test_powers_of_four():
    assert powers_of_four(1) == [1]
    assert powers_of_four(63) == [1, 4, 16]
    assert powers_of_four(64) == [1, 4, 16, 64]


def test_the_command_writes_what_was_measured(pretended, tmp_path, capsys):
    small = ["--workloads", "tiny", "--devices", "1", "2", "--processes", "1", "2", "--seconds", "0.1"]
    paper = ["--networks", "sine", "--paper-tasks", "64", "--paper-devices", "4", "--latency", "1e-9"]
    scaling.main([*small, *paper, "--repeats", "1", "--output", str(tmp_path)])
    content = json.loads((tmp_path / "results.json").read_text())
    table = (tmp_path / "table.md").read_text()
    for what in ("devices", "processes"):
        assert [record["devices"] for record in content[what]] == [1, 2, 1, 2]
        assert f"| workload | scaling | {what} |" in table
    (on_paper,) = content["paper"]
    machine = Machine(scaling.FLOP_RATE, scaling.BANDWIDTH, 1e-9)
    expected = efficiency(machine, Work(on_paper["flop_per_task"], 7052), 64, 4)
    assert_allclose(on_paper["efficiency"], [expected], rtol=1e-4)
    assert f"{expected:.2g} |" in table
    assert (tmp_path / "scaling.png").read_bytes().startswith(b"\x89PNG")
    assert table in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--devices", "2", "4"], "--devices needs 1 among its numbers"),
        (["--processes", "0"], "0 is not 1 or more"),
        (["--flop-rate", "0"], "0.0 is not a finite number above 0"),
        (["--bandwidth", "inf"], "inf is not a finite number above 0"),
        (["--parts", "gpu"], "invalid choice: 'gpu'"),
    ],
)
def test_bad_options_name_the_remedy(options, message, capsys):
    with pytest.raises(SystemExit):
        scaling.main(options)
    assert message in capsys.readouterr().err
