"""The tables, the file of results, and what is read off them."""

from argparse import Namespace
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from benchmarks.harness.index import Row
from benchmarks.harness.results import records_table, rounded, save_figure, write_results
from benchmarks.harness.rounds import Record
from benchmarks.memory.figure import draw
from benchmarks.memory.variants import DEFAULT, Variant, of_kind

BySteps = Mapping[int, Mapping[str, Record]]
"""Inner steps, then variant."""
Sizes = Mapping[str, Sequence[Record]]
"""Variant, then one record for each size, with `num_tasks` and `width`."""
Variants = Mapping[str, Variant]
PEER_STEPS = 20
"""The inner steps at which the leanest peer sets the mark."""
STAGES = {
    "before": "{resident_before_mib:,.0f}",
    "peak of compilation": "{peak_before_running_mib:,.0f}",
    "after compilation": "{resident_after_compilation_mib:,.0f}",
    "peak of running": "{peak_running_mib:,.0f}",
}
"""When memory is needed."""


class Findings(NamedTuple):
    """What has been measured so far: by inner steps and variant; by variant, one a size; and by variant."""

    by_steps: dict[int, dict[str, Record]]
    sizes: dict[str, list[Record]]
    perceptron: dict[str, Record]


def write(options: Namespace, settings: Mapping[str, Any], findings: Findings, variants: Variants) -> None:
    """Writes results.json, table.md and memory.png, with what has been measured so far."""
    leanest_peer = mark(findings.by_steps, variants)
    content = {
        **settings,
        "variants": {name: variant.entry.label for name, variant in variants.items()},
        f"leanest_peer_at_{PEER_STEPS}_steps": leanest_peer,
        "by_inner_steps": rounded(findings.by_steps),
        "by_size": rounded(findings.sizes),
        "of_the_perceptron": rounded(findings.perceptron),
    }
    write_results(options, content, tables(*findings, variants))
    save_figure(options.output / "memory.png", draw(findings.by_steps, variants, leanest_peer))


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


def leanest(by_steps: BySteps, steps: int, names: Iterable[str]) -> Record | None:
    """Which of these needs the least resident memory where nothing is compiled; None where none was measured."""
    records = by_steps.get(steps, {})
    known = {
        name: records[name]["peak_compiled_before_mib"]
        for name in names
        if name in records and records[name]["status"] == "measured"
    }
    if not known:
        return None
    best = min(known, key=lambda name: known[name])
    return {"variant": best, "inner_steps": steps, "peak_mib": rounded(known[best])}


def mark(by_steps: BySteps, variants: Variants) -> Record | None:
    """The leanest peer."""
    return leanest(by_steps, PEER_STEPS, variants.keys() - of_kind(variants, "ours").keys())


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
        parts += [*tables_by_steps(by_steps, variants), stage_table(by_steps, variants)]
    if sizes:
        parts.append(size_table(sizes, variants))
    if perceptron:
        parts.append(perceptron_table(perceptron, variants))
    reasons = [
        f"- {variants[name].entry.label}, {where}: {record['status']}\n"
        for where, row in [*((f"{steps} inner steps", row) for steps, row in by_steps.items()), ("MLP", perceptron)]
        for name, record in row.items()
        if record["status"] != "measured"
    ]
    return "\n".join([*parts, *(["".join(reasons)] if reasons else [])])


def sentence(by_steps: BySteps, variants: Variants) -> str:
    """The leanest peer at 20 steps beside the leanest of ours at the most steps."""
    found = [mark(by_steps, variants), leanest(by_steps, max(by_steps), of_kind(variants, "ours"))]
    told = [
        f"the leanest {who} at {one['inner_steps']} inner steps ({variants[one['variant']].entry.label}) needs "
        f"{one['peak_mib']:,.0f} MiB"
        for who, one in zip(("peer", "of jax_meta"), found, strict=True)
        if one
    ]
    return f"With programs found in the compilation cache, {', and '.join(told)}.\n"


def table(title: str, variants: Variants, columns: Mapping[str, Callable[[str], str]]) -> str:
    """A row for each variant: its label, and what the columns' functions say of its name."""
    return records_table(variants, {title: lambda name: variants[name].entry.label, **columns})


def shown(record: Record, form: str) -> str:
    """A record in this format, or the first word of why it has no numbers."""
    return form.format(**record) if record["status"] == "measured" else record["status"].split(":")[0]


def times(records: Mapping[str, Record], name: str, form: str) -> str:
    """The time relative to the default's in this format, where it is known."""
    value = times_of_default(records, name)
    return "" if value is None else form.format(value)


def in_words(steps: int) -> str:
    """A number of inner steps."""
    return f"{steps} inner step{'s' * (steps > 1)}"


def tables_by_steps(by_steps: BySteps, variants: Variants) -> list[str]:
    """Peak resident memory of both processes, and seconds; then temporary memory of the compiled programs."""
    compiled = of_kind(variants, "ours", "jax")
    told = {
        steps: {name: {**record, "times": times(row, name, " ({:.2f} x)")} for name, record in row.items()}
        for steps, row in by_steps.items()
    }

    def by_step(title: str, variants: Variants, form: str) -> str:
        columns = {in_words(steps): lambda name, row=row: shown(row[name], form) for steps, row in told.items()}
        return table(title, variants, columns)

    return [
        by_step(
            "Peak resident MiB (seconds a meta-gradient)", variants, "{peak_compiled_before_mib:,.0f} ({seconds:.2f})"
        ),
        by_step("Peak resident MiB where it is compiled, too", compiled, "{peak_mib:,.0f}"),
        by_step("Temporary MiB (times the default's seconds)", compiled, "{temporary_mib:,.1f}{times}"),
    ]


def stage_table(by_steps: BySteps, variants: Variants) -> str:
    """When memory is needed, at the most steps: resident after imports, while compiling, then, and while running."""
    steps = max(by_steps)
    records = by_steps[steps]

    def compile_seconds(name: str) -> str:
        seconds = records[name].get("compile_seconds")
        return "" if seconds is None else f"{seconds:.1f}"

    stages = {stage: lambda name, form=form: shown(records[name], form) for stage, form in STAGES.items()}
    return table(f"Resident MiB, {in_words(steps)}", variants, {**stages, "compile, s": compile_seconds})


def size_table(sizes: Sizes, variants: Variants) -> str:
    """Temporary memory against tasks and width."""
    columns = {
        f"{record['num_tasks']} x {record['width']}": lambda name, place=place: shown(
            sizes[name][place], "{temporary_mib:,.1f}"
        )
        for place, record in enumerate(next(iter(sizes.values())))
    }
    return table("Temporary MiB, tasks x filters", {name: variants[name] for name in sizes}, columns)


def perceptron_table(records: Mapping[str, Record], variants: Variants) -> str:
    """Temporary memory and time of the perceptron."""
    columns = {
        "temporary MiB": lambda name: shown(records[name], "{temporary_mib:,.0f}"),
        "seconds a meta-gradient": lambda name: shown(records[name], "{seconds:.2f}"),
        "of the default's": lambda name: times(records, name, "{:.2f} x"),
    }
    return table("MLP", {name: variants[name] for name in records}, columns)
