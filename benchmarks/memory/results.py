"""The tables, and what is read off them."""

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.harness.index import Row
from benchmarks.harness.report import markdown_table, rounded
from benchmarks.memory.measure import Record
from benchmarks.memory.variants import DEFAULT, Variant

BySteps = Mapping[int, Mapping[str, Record]]
"""Inner steps, then variant."""
Sizes = Mapping[str, Sequence[Record]]
"""Variant, then one record for each size, with `num_tasks` and `width`."""
Variants = Mapping[str, Variant]
PEER_STEPS = 20
"""The inner steps at which the leanest peer sets the mark."""


def tidy(record: Record) -> Record:
    """A record with its numbers to a few digits."""
    return {key: rounded(value) if isinstance(value, float) else value for key, value in record.items()}


def leanest(by_steps: BySteps, steps: int, names: Sequence[str]) -> Record | None:
    """Which of these needs the least resident memory where nothing is compiled; None where none was measured."""
    known = {name: record for name, record in by_steps.get(steps, {}).items() if record["status"] == "measured"}
    candidates = [name for name in names if name in known]
    if not candidates:
        return None
    best = min(candidates, key=lambda name: known[name]["peak_compiled_before_mib"])
    return {"variant": best, "inner_steps": steps, "peak_mib": rounded(known[best]["peak_compiled_before_mib"])}


def mark(by_steps: BySteps, variants: Variants) -> Record | None:
    """The leanest peer."""
    return leanest(by_steps, PEER_STEPS, [name for name, variant in variants.items() if variant.entry.kind != "ours"])


def times_of_default(records: Mapping[str, Record], name: str) -> float | None:
    """How many times the default's seconds a variant takes, in the same run."""
    known = [records.get(each, {"status": "none"}) for each in (name, DEFAULT)]
    if any(record["status"] != "measured" for record in known):
        return None
    return known[0]["seconds"] / known[1]["seconds"]


def tables(by_steps: BySteps, sizes: Sizes, perceptron: Mapping[str, Record], variants: Variants) -> str:
    """Markdown: memory and time, temporary memory, where the peak is, the perceptron, and who took no part."""
    parts = [sentence(by_steps, variants)] if mark(by_steps, variants) else []
    if by_steps:
        parts += [
            *peak_tables(by_steps, variants),
            temporary_table(by_steps, variants),
            stage_table(by_steps, variants),
        ]
    if sizes:
        parts.append(size_table(sizes, variants))
    if perceptron:
        parts.append(perceptron_table(perceptron, variants))
    reasons = [
        f"- {variants[name].entry.label}, {steps}: {record['status']}"
        for steps, row in [*((f"{steps} inner steps", row) for steps, row in by_steps.items()), ("MLP", perceptron)]
        for name, record in row.items()
        if record["status"] != "measured"
    ]
    return "\n".join(parts) + ("\n" + "\n".join(reasons) + "\n" if reasons else "")


def sentence(by_steps: BySteps, variants: Variants) -> str:
    """The leanest peer at 20 steps beside the leanest of ours at the most steps."""
    names = [name for name, variant in variants.items() if variant.entry.kind == "ours"]
    found = [mark(by_steps, variants), leanest(by_steps, max(by_steps), names)]
    told = [
        f"the leanest {who} at {one['inner_steps']} inner steps ({variants[one['variant']].entry.label}) needs "
        f"{one['peak_mib']:,.0f} MiB"
        for who, one in zip(("peer", "of jax_meta"), found, strict=True)
        if one
    ]
    return f"With programs found in the compilation cache, {', and '.join(told)}.\n"


def peak_tables(by_steps: BySteps, variants: Variants) -> list[str]:
    """Peak resident memory of both processes, and seconds."""

    def cell(record: Record) -> str:
        return f"{record['peak_compiled_before_mib']:,.0f} ({record['seconds']:.2f})"

    def cell_with_compiler(record: Record) -> str:
        return f"{record['peak_mib']:,.0f}"

    jitted = {name: variant for name, variant in variants.items() if variant.entry.kind in ("ours", "jax")}
    return [
        table("Peak resident MiB (seconds a meta-gradient)", by_steps, variants, cell),
        table("Peak resident MiB where it is compiled, too", by_steps, jitted, cell_with_compiler),
    ]


def temporary_table(by_steps: BySteps, variants: Variants) -> str:
    """Temporary memory of the compiled program, and the time relative to the default's."""

    def cell(record: Record) -> str:
        times = "" if record["times_of_default"] is None else f" ({record['times_of_default']:.2f} x)"
        return f"{record['temporary_mib']:,.1f}{times}"

    compiled = {name: variant for name, variant in variants.items() if variant.entry.kind in ("ours", "jax")}
    with_times = {
        steps: {name: {**record, "times_of_default": times_of_default(row, name)} for name, record in row.items()}
        for steps, row in by_steps.items()
    }
    return table("Temporary MiB (times the default's seconds)", with_times, compiled, cell)


def table(title: str, by_steps: BySteps, variants: Variants, cell: Any) -> str:
    """A row for each variant, a column for each number of steps."""
    header = [title, *(f"{steps} inner step{'s' * (steps > 1)}" for steps in by_steps)]
    rows = [
        [variant.entry.label, *(measured_or_reason(row[name], cell) for row in by_steps.values())]
        for name, variant in variants.items()
    ]
    return markdown_table(header, rows)


def measured_or_reason(record: Record, cell: Any) -> str:
    """The cell of a record, or the first word of why there is none."""
    return cell(record) if record["status"] == "measured" else record["status"].split(":")[0]


def stage_table(by_steps: BySteps, variants: Variants) -> str:
    """When memory is needed, at the most steps: resident after imports, while compiling, then, and while running."""
    stages = ("resident_before_mib", "peak_before_running_mib", "resident_after_compilation_mib", "peak_running_mib")
    steps = max(by_steps)
    title = f"Resident MiB, {steps} inner step{'s' * (steps > 1)}"
    rows = []
    for name, variant in variants.items():
        record = by_steps[steps][name]
        cells = [measured_or_reason(record, lambda record, stage=stage: f"{record[stage]:,.0f}") for stage in stages]
        seconds = record.get("compile_seconds")
        rows.append([variant.entry.label, *cells, "" if seconds is None else f"{seconds:.1f}"])
    header = [title, "before", "peak of compilation", "after compilation", "peak of running", "compile, s"]
    return markdown_table(header, rows)


def size_table(sizes: Sizes, variants: Variants) -> str:
    """Temporary memory against tasks and width."""
    columns = [f"{record['num_tasks']} x {record['width']}" for record in next(iter(sizes.values()))]
    rows = [
        [
            variants[name].entry.label,
            *(measured_or_reason(record, lambda record: f"{record['temporary_mib']:,.1f}") for record in records),
        ]
        for name, records in sizes.items()
    ]
    return markdown_table(["Temporary MiB, tasks x filters", *columns], rows)


def perceptron_table(records: Mapping[str, Record], variants: Variants) -> str:
    """Temporary memory and time of the perceptron."""
    rows = []
    for name, record in records.items():
        cells = [
            measured_or_reason(record, lambda record, key=key, form=form: format(record[key], form))
            for key, form in (("temporary_mib", ",.0f"), ("seconds", ".2f"))
        ]
        times = times_of_default(records, name)
        rows.append([variants[name].entry.label, *cells, "" if times is None else f"{times:.2f} x"])
    return markdown_table(["MLP", "temporary MiB", "seconds a meta-gradient", "of the default's"], rows)


def row(told: Mapping[str, Any]) -> Row:
    """The line of benchmarks/README.md."""
    steps, records = max(told["by_inner_steps"].items(), key=lambda item: int(item[0]))
    peaks = {name: record.get("peak_compiled_before_mib") for name, record in records.items()}
    shown = [f"{told['variants'][name]} {peak:,.0f}" for name, peak in peaks.items() if peak is not None]
    return Row(
        "How much memory does a second-order meta-gradient need?",
        25,
        f"peak MiB of {steps} inner steps: {'; '.join(shown)}",
    )
