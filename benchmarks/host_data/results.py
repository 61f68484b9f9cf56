"""What the benchmark of tasks of the host writes: a table, and its answer in one line."""

from benchmarks.harness.results import Row

COLUMNS = {
    "network": "{network}",
    "tasks from": "{tasks_from}",
    "µs a meta-step": "{microseconds:,.1f}",
    "quartiles": "{quartiles[0]:,.1f} - {quartiles[1]:,.1f}",
    "of the device's time": "{ratio:.2f}",
}


def row(told: dict) -> Row:
    others = (row for row in told["rows"] if row["tasks_from"] != "device")
    answer = ", ".join(f"{row['network']} from a {row['tasks_from']} {row['ratio']:.2f}" for row in others)
    return 1.5, f"of the time with tasks drawn on the device: {answer}"
