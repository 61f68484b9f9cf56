"""Two and four processes, which talk over the loopback address, train as one does."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.harness.processes import free_port

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
COUNTS = (1, 2, 4)


def start(processes):
    environment = os.environ | {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": "1"}
    command, port = [sys.executable, "-m", "tests.core.processes_worker"], free_port()
    return [
        subprocess.Popen(
            [*command, str(port), str(processes), str(process)],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for process in range(processes)
    ]


@pytest.fixture(scope="module")
def reports():
    """What each process says, by the number of processes; all run at once, since they mostly wait for one another."""
    groups = {count: start(count) for count in COUNTS}
    try:
        told = {count: [process.communicate(timeout=300) for process in group] for count, group in groups.items()}
    finally:
        for process in (process for group in groups.values() for process in group):
            process.kill()
            process.wait()
    for count, group in groups.items():
        for process, (_, errors) in zip(group, told[count], strict=True):
            assert process.returncode == 0, errors
    return {count: [json.loads(output.splitlines()[-1]) for output, _ in outputs] for count, outputs in told.items()}


@pytest.mark.parametrize("processes", [2, 4])
@pytest.mark.parametrize("case", ["8 tasks", "5 tasks", "again, restored", "outside jit"])
def test_processes_agree_with_one(reports, case, processes):
    alone = reports[1][0][case]
    assert np.ptp(alone) > 0.1
    for report in reports[processes]:
        np.testing.assert_allclose(report[case], alone, rtol=0, atol=1e-12)


@pytest.mark.parametrize("processes", [2, 4])
def test_each_process_has_one_device_and_its_share_of_the_tasks(reports, processes):
    for report in reports[processes]:
        assert (report["local devices"], report["devices"]) == (1, processes)
        assert report["shares of tasks"] == 4 * [8 // processes]


@pytest.mark.parametrize("processes", [2, 4])
def test_processes_that_begin_with_different_keys_are_refused_in_all_of_them(reports, processes):
    for report in reports[processes]:
        assert report["refusal"].startswith("1 of the ")
        assert "differ from process to process: make them in each process from the same key" in report["refusal"]
