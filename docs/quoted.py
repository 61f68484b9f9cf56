"""Every number that a page quotes, as text: from benchmarks/results, and from published.json for those of others.

A page names them as in {{ post.maml[1] }}; whole results are there, too, as in {{ sinusoid.seeds }}.
"""

import json
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results"
STEPS = (0, 1, 5, 10, 32)


def substitutions() -> dict[str, Any]:
    """All names that pages may use."""
    results = {path.parent.name: json.loads(path.read_text("utf-8")) for path in RESULTS.glob("*/results.json")}
    published = json.loads((Path(__file__).parent / "published.json").read_text("utf-8"))
    return {
        **results,
        "post": sines(results["sinusoid"], "10"),
        "paper": sines(results["sinusoid_maml"], "5"),
        "difference": differences(results["sinusoid"]),
        "accuracy": {name: accuracies(results[f"omniglot_{name}"]) for name in ("maml", "reptile")},
        "peer": peers(results["peers"]),
        "member": members(results["family"]),
        "field": decibels(results["fields"]["networks"]["siren"]["starts"]),
        "fourier": decibels(results["fields"]["networks"]["fourier"]["starts"]),
        "peak": peaks(results["memory"]),
        "start": starts(results["transfer"]["budgets"]["1500000"]),
        "tenth": starts(results["transfer"]["budgets"]["150000"]),
        "three_tenths": starts(results["transfer"]["budgets"]["450000"]),
        "alphabets": alphabets(results["multi_shot"]),
        "made": {name: made(result) for name, result in results.items()},
        "noted": published["noted"],
        "reproduced": reproduced_table(results, published["figures"]),
    }


def made(result: dict[str, Any]) -> str:
    """On what a result was made, for the line under its table."""
    versions = ", ".join(f"{name} {number}" for name, number in result["versions"].items())
    told = result.get("processor") or {}
    named = {"name": "{}", "family": "family {}", "model": "model {}", "vector_instructions": "{}"}
    processor = [form.format(told[key]) for key, form in named.items() if told.get(key)]
    return f"Made on: {', '.join([result['device'], *processor])}; Python {result['python']}; {versions}."


def plus_minus(mean: float, half_width: float, digits: int = 2) -> str:
    """A mean and its interval."""
    return f"{mean:.{digits}f} ± {half_width:.{digits}f}"


def sines(result: dict[str, Any], shots: str) -> dict[str, Any]:
    """By method: the error after so many steps with its interval over tasks, and without (`mean`); spread of seeds."""
    told: dict[str, Any] = {}
    for name, method in result["methods"].items():
        errors = method["errors_by_shots"][shots]
        mean, half_width = errors["mean"], errors["half_width_over_tasks"]
        intervals: dict[Any, Any] = {step: plus_minus(mean[step], half_width[step]) for step in STEPS}
        told[name.replace("-", "_")] = intervals | {
            "mean": {step: f"{mean[step]:.2f}" for step in STEPS},
            "spread": {step: f"{errors['standard_deviation_over_seeds'][step]:.2f}" for step in STEPS},
            "least": {step: f"{min(errors['seed_means_after'][str(step)]):.2f}" for step in STEPS},
            "most": {step: f"{max(errors['seed_means_after'][str(step)]):.2f}" for step in STEPS},
        }
    return told


def differences(result: dict[str, Any]) -> dict[str, dict[int, str]]:
    """By `first_minus_second`: the difference of their errors after so many steps, with its interval over seeds."""
    told = {}
    for row in result["differences"]:
        columns = zip(row["after_steps"], row["mean"], row["half_width_over_seeds"], strict=True)
        name = f"{row['first']}_minus_{row['second']}".replace("-", "_")
        told[name] = {step: f"{mean:+.2f} ± {half_width:.2f}" for step, mean, half_width in columns}
    return told


def accuracies(result: dict[str, Any]) -> dict[str, dict[int, str]]:
    """By measure, transductive or inductive: percent after so many inner steps, with the interval over tasks."""
    return {
        measure: dict(
            enumerate(plus_minus(100 * m, 100 * h, 1) for m, h in zip(told["mean"], told["half_width"], strict=True))
        )
        for measure, told in result["test_accuracy_after_inner_steps"].items()
    }


def members(result: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """By problem and learner, with underscores: percent or error with its interval; what it took."""
    return {
        problem.replace("-", "_"): {learner: member(record) for learner, record in learners.items()}
        for problem, learners in result["problems"].items()
    }


def member(record: dict[str, Any]) -> dict[str, Any]:
    """One learner on one problem, as text."""
    told: dict[str, Any] = {"more": {}, "error": {}, "memory": {}}
    for measure, found in record.get("accuracy", {}).items():
        told[measure] = percent(found)
    for measure, found in record.get("more_than_maml", {}).items():
        told["more"][measure] = percent(found, "+")
    for step, found in record.get("error_after_steps", {}).items():
        digits = 2 if found and found["mean"] >= 0.1 else 4
        told["error"][int(step)] = (
            plus_minus(found["mean"], found["half_width_over_tasks"], digits) if found else "diverges"
        )
    for steps, mebibytes in record.get("mebibytes_by_steps", {}).items():
        told["memory"][int(steps)] = f"{mebibytes:.0f}"
    if "accuracy" in record:
        gain = record["accuracy"]["transductive"]["mean"] - record["accuracy"]["inductive"]["mean"]
        told["transduction"] = f"{100 * gain:.1f}"
        told["meta_steps"] = f"{record['meta_steps']:,}"
        told["milliseconds"] = f"{record['milliseconds_a_meta_step']:.3g}"
    return told


def decibels(starts: dict[str, Any]) -> dict[str, dict[str, dict[int, str]]]:
    """By start: decibels after so many steps of `sgd` or `adam`, and with so many pixels given (`unseen`)."""
    told: dict[str, dict[str, dict[int, str]]] = {}
    for name, start in starts.items():
        told[name] = {
            kind: {int(key): plus_minus(found["mean"], found["half_width"], 1) for key, found in columns.items()}
            for kind, columns in (start["decibels"] | {"unseen": start["unseen"]}).items()
        }
    return told


def peers(result: dict[str, Any]) -> dict[str, dict[str, str]]:
    """By workload, `sine_1x1`: how many times as fast the library is as the best of a group of peers."""
    return {
        name.replace("-", "_"): {
            group.replace(" ", "_").replace(".", "_"): f"{told['ratio']:.3g}"
            for group, told in workload["ratios_of_jax_meta"].items()
        }
        for name, workload in result["workloads"].items()
    }


def peaks(result: dict[str, Any]) -> dict[str, dict[int, str]]:
    """By variant: peak resident MiB after so many inner steps, the program found in the compilation cache."""
    told: dict[str, dict[int, str]] = {}
    for steps, variants in result["by_inner_steps"].items():
        for name, variant in variants.items():
            peak = variant.get("peak_compiled_before_mib") or variant.get("peak_mib")
            told.setdefault(name.replace("-", "_"), {})[int(steps)] = f"{peak:,.0f}"
    return told


def starts(result: dict[str, Any]) -> dict[str, dict[Any, Any]]:
    """By start, with underscores: percent with its interval, by images of a class and by steps; less pre-training's,
    also by pairs of networks."""
    told: dict[str, dict[Any, Any]] = {}
    for name, start in result["starts"].items():
        less = result["differences"].get(name, {})
        row: dict[Any, Any] = {"less": {int(shots): percents(found, "+") for shots, found in less.items()}}
        row["pairs"] = {int(shots): points_of_pairs(found) for shots, found in less.items()}
        row |= {int(shots): percents(found) for shots, found in start.items() if shots.isdigit()}
        told[name.replace("-", "_")] = row
    return told


def points_of_pairs(by_steps: dict[str, Any]) -> dict[int, str]:
    """By steps: so many points more, of each pair of networks."""
    return {int(step): ", ".join(f"{100 * one:+.1f}" for one in found["of_seeds"]) for step, found in by_steps.items()}


def alphabets(result: dict[str, Any]) -> dict[str, dict[str, dict[str, Any]]]:
    """By start, reading and kind, with underscores: percent with its interval, by steps; `way`: by the percentage of
    the published budget after which it was tested; `rates` of the test, by seed; `less` joint training."""
    return {
        name.replace("-", "_"): {
            reading.replace("-", "_"): alphabet(found, result["published_gradients"])
            for reading, found in readings.items()
        }
        for name, readings in result["starts"].items()
    }


def alphabet(found: dict[str, Any], published_gradients: int) -> dict[str, Any]:
    """A start in one reading."""
    told: dict[str, Any] = {kind: percents(found[kind]) for kind in ("accuracy", "transductive") if kind in found}
    told["way"] = {
        round(100 * point["gradients"] / published_gradients): percent(point["accuracy"]["100"])
        for point in [*found["on_the_way"], found]
    }
    if "less_joint" in found:
        told["less"] = percent(found["less_joint"], "+")
    return told | {"rates": dict(enumerate(f"{rate:g}" for rate in found["rates"]))}


def percents(by_steps: dict[str, Any], sign: str = "") -> dict[int, str]:
    """Fractions with their intervals, by steps."""
    return {int(step): percent(one, sign) for step, one in by_steps.items()}


def percent(told: dict[str, Any], sign: str = "") -> str:
    """A fraction with its interval; with the sign "+", one that is a difference."""
    return f"{100 * told['mean']:{sign}.1f} ± {100 * told['half_width']:.1f}"


def here(results: dict[str, Any], figure: dict[str, Any]) -> str:
    """What a figure of others is here; 'not run' where it is not."""
    if "result" not in figure:
        return "not run"
    result, step = results[figure["result"]], figure.get("step")
    if "problem" in figure:
        return f"{member(result['problems'][figure['problem']][figure['learner']])[figure['measure']]} %"
    if "measure" in figure:
        told = result["test_accuracy_after_inner_steps"][figure["measure"]]
        return f"{plus_minus(100 * told['mean'][step], 100 * told['half_width'][step], 1)} %"
    errors = result["methods"][figure["method"]]["errors_by_shots"][figure["shots"]]
    return plus_minus(errors["mean"][step], errors["half_width_over_tasks"][step])


def reproduced_rows(results: dict[str, Any], figures: list[dict[str, Any]]) -> list[str]:
    """Rows of published figures against ours: what, published, here."""
    return [f"| {row['what']} | {row['published']} | {here(results, row)} |" for row in figures]


def readme_rows() -> list[str]:
    """Those rows that the README shows."""
    results = {path.parent.name: json.loads(path.read_text("utf-8")) for path in RESULTS.glob("*/results.json")}
    figures = json.loads((Path(__file__).parent / "published.json").read_text("utf-8"))["figures"]
    return reproduced_rows(results, [figure for figure in figures if figure.get("readme")])


def reproduced_table(results: dict[str, Any], figures: list[dict[str, Any]]) -> str:
    """The table of all figures, with where they were published, the remark and the command, by its number below."""
    commands = [results[row["result"]]["command"] if "result" in row else row["command"] for row in figures]
    numbers = {command: number for number, command in enumerate(dict.fromkeys(commands), start=1)}
    lines = ["| what | published | here | by | remark | command |", "| --- | ---: | ---: | --- | --- | ---: |"]
    for row, start, command in zip(figures, reproduced_rows(results, figures), commands, strict=True):
        lines.append(f"{start} {row['source']} | {row.get('remark', '')} | {numbers[command]} |")
    return "\n".join(
        [*lines, "", "The commands:", "", *(f"{number}. `{command}`" for command, number in numbers.items())]
    )
