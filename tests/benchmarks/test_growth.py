"""The benchmark of growth: its exponents, its nested programs, what it reads from a trace, its tables."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jax_meta
from benchmarks.growth import __main__ as growth
from benchmarks.growth import programs as measured
from benchmarks.growth import results, trace
from benchmarks.growth.programs import Setting
from benchmarks.harness.jax_networks import first_state, our_learning, our_sampler
from jax_meta.meta_step import step_keys
from jax_meta.tasks import sinusoid

SMALL = Setting(tasks=2, inner_steps=1, shots=3, width=4)


def test_the_exponent_of_a_power_law_is_recovered():
    values = [1, 2, 5, 10, 50, 100]
    fit = measured.fit_exponent(values, [3.0 * value**1.7 for value in values])
    np.testing.assert_allclose(fit, (1.7, 3.0, 10.0), rtol=1e-12)
    np.testing.assert_allclose(measured.local_exponents(values, [3.0 * value**1.7 for value in values]), 1.7)


def test_the_exponent_is_that_of_the_upper_half():
    """Overhead below, a cube above: least squares over the whole would lie between."""
    values = [1, 2, 4, 8, 16, 32, 64]
    times = [8.0**3] * 3 + [float(value) ** 3 for value in values[3:]]
    fit = measured.fit_exponent(values[::-1], times[::-1])
    np.testing.assert_allclose(fit, (3.0, 1.0, 8.0), rtol=1e-12)
    assert measured.local_exponents(values, times)[:2] == [0, 0]


def test_two_values_make_an_exponent():
    np.testing.assert_allclose(measured.fit_exponent([10, 1000], [2.0, 20.0]), (0.5, 2 / 10**0.5, 10), rtol=1e-12)


def test_meta_steps_in_a_turn_are_a_power_of_two_that_fits():
    assert measured.steps_in(0.25, 100.0) == 2_048  # 2,500 fit
    assert measured.steps_in(0.25, 1e9) == 1
    assert measured.steps_in(10.0, 1.0) == measured.MOST_STEPS


def test_every_size_is_compiled_once_and_described_in_rising_order(monkeypatch):
    """A clock that takes tasks * width microseconds a meta-step stands in for the machine."""
    compiled = []

    def compile_setting(setting, num_steps):
        compiled.append(setting)
        return measured.Program(lambda: None, num_steps, 0.5, setting)

    monkeypatch.setattr(measured, "compile_setting", compile_setting)
    monkeypatch.setattr(measured, "time_once", lambda program: program.compiled.tasks * program.compiled.width)
    scans = {"tasks": [64, 4, 1], "width": [40, 10]}
    told = []
    programs = measured.prepare(scans, 0.1, told.append)
    assert compiled == [measured.BASE._replace(**change) for change in CHANGES]
    assert told == ["tasks 1", "tasks 4", "tasks 64", "width 10"]
    turns = [program.num_steps * setting.tasks * setting.width * 1e-6 for setting, program in programs.items()]
    assert max(turns[1:3]) <= 0.1 < 2 * min(turns[1:3])  # the first of a scan is a guess, the others are measured
    microseconds = {setting: setting.tasks * setting.width**2 for setting in programs}
    scan = measured.describe_scans(scans, programs, microseconds)
    assert scan["tasks"]["values"] == [1, 4, 64]
    assert scan["tasks"]["microseconds"] == [1_600, 6_400, 102_400]
    assert scan["tasks"]["fit"]["exponent"] == pytest.approx(1)
    assert scan["width"]["fit"]["exponent"] == pytest.approx(2)


CHANGES: tuple[dict[str, int], ...] = ({"tasks": 1}, {"tasks": 4}, {"tasks": 64}, {"width": 10})


def test_a_size_is_what_fit_gets(monkeypatch):
    seen = {}

    def fit(learner, outer, sample_tasks, state, *, num_meta_steps, num_tasks, **options):
        seen["tasks"] = sample_tasks(jax.random.key(0), num_tasks)
        seen["params"], seen["steps"] = state.params, num_meta_steps
        return state, {"loss": jnp.zeros(num_meta_steps)}

    monkeypatch.setattr(jax_meta, "fit", fit)
    program = measured.compile_setting(Setting(tasks=5, inner_steps=2, shots=7, width=9), 8)
    assert seen["tasks"].support[0].shape == seen["tasks"].query[0].shape == (5, 7, 1)
    assert seen["params"]["params"]["Dense_1"]["kernel"].shape == (9, 9)
    assert seen["steps"] == program.num_steps == 8


@pytest.fixture(scope="module")
def histories():
    """The metrics of four meta-steps of each nested program."""
    programs = measured.compile_parts(SMALL, 4)
    return {part: program.run() for part, program in programs.items()}


@pytest.mark.slow
def test_the_nested_programs_draw_the_tasks_of_fit(histories):
    workload = SMALL.workload()
    state = first_state(workload, our_learning(workload))
    drawing, forward, *_ = (history for _, history in histories.values())
    for step in range(4):
        key, _ = step_keys(state.key, jnp.int32(step))
        sizes = {"shots": SMALL.shots, "queries": SMALL.shots}
        tasks = sinusoid.sample_tasks(key, SMALL.tasks, **sizes, phases=(0.0, np.pi))
        support, query = (sum(leaf.sum() for leaf in batch) / SMALL.tasks for batch in tasks)
        np.testing.assert_allclose((drawing["support"][step], drawing["loss"][step]), (support, query), rtol=1e-6)
        np.testing.assert_allclose(forward["support"][step], support, rtol=1e-6)


@pytest.mark.slow
def test_each_nested_program_does_one_part_more(histories):
    workload = SMALL.workload()
    learning = our_learning(workload)
    state = first_state(workload, learning)
    _, forward, inner, plain, adam = histories.values()
    sample_tasks = our_sampler(workload)
    _, expected = jax_meta.fit(*learning, sample_tasks, state, num_meta_steps=4, num_tasks=SMALL.tasks)
    np.testing.assert_allclose(adam[1]["loss"], expected["loss"], rtol=1e-12)
    first = [history["loss"][0] for _, history in (inner, plain, adam)]
    np.testing.assert_allclose(first, expected["loss"][0], rtol=1e-6)  # θ is the same, and so is the adapted loss
    assert abs(forward[1]["loss"][0] - first[0]) > 1e-6  # without inner steps it is not
    for kept, _ in (forward, inner):
        assert jax.tree.all(jax.tree.map(lambda a, b: (a == b).all(), kept.params, state.params))
    moved = [jax.tree.leaves(after.params)[0] - jax.tree.leaves(state.params)[0] for after, _ in (plain, adam)]
    assert np.abs(moved[0]).max() > 0
    assert not np.allclose(*moved, atol=1e-6)


def test_the_parts_of_a_split_add_up_to_the_whole():
    cases = (SMALL, SMALL._replace(tasks=1))
    microseconds = {
        (case, part): 10.0 * (index + 1) ** 2 * case.tasks
        for case in cases
        for index, part in enumerate(measured.PARTS)
    }
    told = measured.describe_split(cases, microseconds)
    assert list(told) == ["2 tasks x 1 step", "1 task x 1 step"]
    assert list(told["1 task x 1 step"]["microseconds_of_parts"].values()) == [10, 30, 50, 70, 90]
    assert sum(told["2 tasks x 1 step"]["microseconds_of_parts"].values()) == 500
    assert "| drawing the tasks | 20.0 (4%) | 10.0 (4%) |\n" in results.split_table(told)


BODY = "jit(fit)/jit(steps_on_samples)/while/body/closed_call/"
STEP = BODY + "meta_steps/while/body/"


@pytest.mark.parametrize(
    ("name", "part"),
    [
        (BODY + "vmap(jit(_uniform))/vmap()/while/body/closed_call/add", "drawing the tasks"),
        (STEP + "closed_call/jvp(MLP)/Dense_1/dot_general", "query loss, forward"),
        (STEP + "closed_call/vmap(jvp(MLP))/jit(relu)/max", "query loss, forward"),
        (STEP + "closed_call/transpose(jvp(MLP))/Dense_1/transpose", "query loss, backward"),
        (STEP + "closed_call/jvp()/while/body/closed_call/transpose(jvp(MLP))/Dense_1/dot_general", "inner steps"),
        (STEP + "closed_call/jvp(vmap(jit(inner_step)))/transpose(jvp(MLP))/Dense_1/dot_general", "inner steps"),
        (STEP + "closed_call/vmap(jvp(jit(inner_step)))/jvp(MLP)/Dense_1/dot_general", "inner steps"),
        (STEP + "closed_call/transpose(jvp())/while/body/closed_call/mul", "back through the inner steps"),
        (STEP + "closed_call/transpose(jvp(vmap(jit(inner_step))))/jvp(MLP)/add_any", "back through the inner steps"),
        (STEP + "closed_call/pow", "mean over tasks, and Adam"),
        (STEP + "jit(dynamic_index_in_dim)/dynamic_slice", "the scan's own"),
        ("", trace.UNNAMED),
    ],
)
def test_a_part_is_read_from_the_name_of_an_operation(name, part):
    assert trace.part_of(name) == part


def test_a_profile_sums_the_operations_of_a_trace(monkeypatch):
    text = f'%dot.1 = f32[2] dot(%a), metadata={{op_name="{STEP}closed_call/jvp(MLP)/dot_general"}}\n'
    text += f'  ROOT %add_fusion = f32[2] fusion(%a), metadata={{stack_frame_id=3 op_name="{STEP}closed_call/pow"}}\n'
    compiled = type("Compiled", (), {"as_text": lambda self: text})()
    program = measured.Program(lambda: jnp.zeros(()), 2, 0.0, compiled)
    events = [("dot.1", 3.0), ("add_fusion", 1.0), ("dot.1", 5.0), ("copy.3", 1.0)]
    monkeypatch.setattr(trace, "trace_events", lambda program: events)
    assert trace.profile(program) == {
        "microseconds_by_part": {"query loss, forward": 4, "mean over tasks, and Adam": 0.5, trace.UNNAMED: 0.5},
        "microseconds_by_kind": {"matrix products": 4, "elementwise, fused": 0.5, "copies": 0.5},
        "operations_a_meta_step": 2,
    }
    monkeypatch.setattr(trace, "trace_events", lambda program: [])
    assert trace.profile(program) is None


def test_a_trace_tells_every_turn_of_a_loop():
    def cumulative(matrix):
        return jax.lax.scan(lambda carry, _: (jnp.tanh(carry @ matrix), None), matrix, None, length=20)[0]

    matrix = jnp.eye(64)
    compiled = jax.jit(cumulative).lower(matrix).compile()
    events = trace.trace_events(measured.Program(lambda: compiled(matrix), 20, 0.0, compiled))
    names = [name for name, _ in events]
    assert max(names.count(name) for name in names) == 20
    assert not any(name.startswith("while") for name in names)
    assert all(microseconds >= 0 for _, microseconds in events)


def test_a_loop_is_left_out_where_its_operations_are_told():
    """The second loop is one kernel; the sum runs on another thread while the product does."""
    events = [("while.2", 10.0, 5.0), ("while.1", 0.0, 9.0), ("dot.1", 1.0, 3.0), ("add.1", 3.0, 5.0)]
    assert trace.innermost(events) == [("while.2", 5.0), ("dot.1", 3.0), ("add.1", 5.0)]


@pytest.fixture
def scan():
    values = [1, 4, 64]
    times = [5.0, 8.0, 128.0]
    return {
        "values": values,
        "microseconds": times,
        "compile_seconds": [1.0, 1.25, 2.0],
        "local_exponents": measured.local_exponents(values, times),
        "fit": measured.fit_exponent(values, times)._asdict(),
    }


def test_tables_and_figure_show_the_measured_numbers(scan):
    scans = {"tasks": scan, "inner_steps": scan, "shots": scan, "width": scan}
    assert "| tasks a meta-step | 1 | 64 | 5.0 | 128.0 | 4 | 1.00 |\n" in results.exponent_table(scans)
    assert "| width of both hidden layers | 4 | 8.0 | 0.34 | 1.25 |\n" in results.scan_table(scans)
    panels = results.draw(scans).axes
    assert [axes.get_xlabel() for axes in panels] == list(results.LABELS.values())
    measured, fitted, extended = panels[0].lines
    np.testing.assert_array_equal(measured.get_ydata(), scan["microseconds"])
    np.testing.assert_allclose(fitted.get_ydata(), [8.0, 128.0])
    np.testing.assert_allclose(extended.get_ydata(), [2.0])
    assert {panels[0].get_xscale(), panels[0].get_yscale()} == {"log"}


@pytest.mark.parametrize("words", ["--tasks 4", "--width 40 40", "--shots 0 10", "--seconds 0", "--repeats 0"])
def test_wrong_options_stop_with_usage(words, capsys, tmp_path):
    with pytest.raises(SystemExit) as stop:
        growth.main([*words.split(), "--output", str(tmp_path)])
    assert stop.value.code == 2
    assert "usage:" in capsys.readouterr().err
