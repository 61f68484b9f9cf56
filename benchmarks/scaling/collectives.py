"""What a compiled program sends between devices, read from its text."""

import re
from math import prod

ITEM_BYTES = {"pred": 1, "bf16": 2, "f16": 2, "f32": 4, "s32": 4, "u32": 4, "f64": 8, "s64": 8, "u64": 8}
CALL = re.compile(r" = (.*?) (all-reduce|all-gather|all-to-all|reduce-scatter|collective-permute)(?:-start)?\(")
ARRAY = re.compile(r"([a-z]+\d*)\[([\d,]*)\]")


def collective_bytes(text: str) -> dict[str, int]:
    """Bytes of the results of every collective in a compiled program's text, by kind; those in a loop count once."""
    totals: dict[str, int] = {}
    for line in text.split("\n"):
        if found := CALL.search(line):
            totals[found[2]] = totals.get(found[2], 0) + sum(map(array_bytes, ARRAY.findall(found[1])))
    return totals


def array_bytes(array: tuple[str, str]) -> int:
    """Bytes of an array such as `("f32", "3,4")`."""
    dtype, shape = array
    return ITEM_BYTES[dtype] * prod(int(size) for size in shape.split(",") if size)
