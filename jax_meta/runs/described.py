"""Functions in words: the numbers and names that they were made with, so that a refusal can say what differs."""

import dataclasses
import functools
import inspect
import math
from collections import deque
from collections.abc import Mapping
from types import CodeType
from typing import Any

import flax.linen as nn
import jax
import numpy as np
import optax

from jax_meta.runs.program import Seen, array_digest, is_array, shorten

MAX_ENTRIES, MAX_LENGTH = 300, 60
MAX_BYTES = 2**30
"""Of an array that is read to describe it: one in a program is in the program's digest anyway."""
FOREIGN = ("jax", "jaxlib", "numpy", "flax")
"""Packages of whose functions the name is enough."""
STRUCTURE = frozenset(["update", "update_fns", "update_fn", "tx", "func", "self", "loss"])
"""Parts of a path that say how a learner or an optimizer is put together, and not what it is."""


def described(functions: Mapping[str, Any], seen: Seen) -> dict[str, Any]:
    """What is found in functions, the nearest first: `{"learner": ["maml"], "learner.num_steps": 1, ...}`, as JSON.

    Looked into are what a function closes over, the numbers and arrays among its globals, arguments of a `partial`,
    fields of modules, tuples and dicts; not lists, which may grow from one call to the next. Nothing is called. It is
    for words: two that differ may be described alike.
    """
    found: dict[str, Any] = {}
    names: dict[str, list[str]] = {}
    queue, known = deque(functions.items()), list[Any]()
    while queue and len(found) < MAX_ENTRIES:
        path, value = queue.popleft()
        try:
            is_plain, text = plain(value, seen)
            name, parts = ("", {}) if is_plain else inside(value)
        except Exception:  # whatever an object of the user's raises where it is looked into
            is_plain, text = True, type(value).__qualname__
        if is_plain:
            add(found, path, text)
        elif not any(value is other for other in known):
            known.append(value)
            if name not in ("", *names.setdefault(path, [])):
                names[path].append(name)
            queue.extend((extend(path, key), part) for key, part in parts.items())
    return {path: made_of for path, made_of in names.items() if made_of} | found


def plain(value: Any, seen: Seen) -> tuple[bool, Any]:
    """Whether a value can be told by itself, and how: the text of arrays is that of their digest."""
    if value is None or isinstance(value, bool | int):
        return True, value
    if isinstance(value, float):
        return True, value if math.isfinite(value) else repr(value)
    if isinstance(value, complex | bytes | np.dtype | type):
        return True, shortened(repr(value))
    if isinstance(value, str):
        return True, shortened(value)
    if is_array(value) and not isinstance(value, jax.core.Tracer):
        if value.ndim == 0 and value.dtype.kind in "biuf":
            return plain(np.asarray(value).item(), seen)
        if value.nbytes > MAX_BYTES or value.dtype.kind == "O":
            return True, {"array": f"{value.dtype}{list(value.shape)}"}
        array, _, digest = array_digest(value, seen).rpartition(" ")
        return True, {"array": array, "digest": digest}
    if isinstance(value, tuple) and not hasattr(value, "_fields"):
        items = [plain(item, seen) for item in value]
        if all(is_plain for is_plain, _ in items):
            texts = [text for _, text in items]
            return True, texts if len(
                texts
            ) <= MAX_LENGTH // 4 else f"{len(texts)} entries, {shorten(repr(texts))[:16]}"
    return False, None


def inside(value: Any) -> tuple[str, dict[str, Any]]:
    """The name of a function or of a type, if it says something, and the parts that it is made of."""
    if isinstance(value, optax.GradientTransformation):
        return "", {"update": value.update}
    if isinstance(value, Mapping):
        return "", {str(key): item for key, item in value.items()}
    if hasattr(value, "_asdict"):
        return "", value._asdict()
    if isinstance(value, tuple):
        return "", {str(index): item for index, item in enumerate(value)}
    if isinstance(value, functools.partial):
        return "", {"func": value.func, **arguments(value)}
    if inspect.ismethod(value):
        return "", {"self": value.__self__, "func": value.__func__}
    if dataclasses.is_dataclass(value):
        hidden = ("parent", "name") if isinstance(value, nn.Module) else ()
        fields = {field.name: getattr(value, field.name, None) for field in dataclasses.fields(value)}
        return type(value).__qualname__, {key: item for key, item in fields.items() if key not in hidden}
    name = getattr(value, "__qualname__", type(value).__qualname__).partition(".<locals>")[0]
    if str(getattr(value, "__module__", "")).partition(".")[0] in FOREIGN:
        return name, {}
    if hasattr(value, "__wrapped__"):
        return "", {"func": value.__wrapped__}
    return name, closed_over(value) if inspect.isfunction(value) else {}


def arguments(value: functools.partial) -> dict[str, Any]:
    """The arguments of a partial, by their names where its function tells them."""
    try:
        return dict(inspect.signature(value.func).bind_partial(*value.args, **value.keywords).arguments)
    except (TypeError, ValueError):
        return {**{str(index): item for index, item in enumerate(value.args)}, **value.keywords}


def closed_over(function: Any) -> dict[str, Any]:
    """The variables that a function closes over, and the numbers and arrays among its globals."""
    found = {}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            found[name] = cell.cell_contents
        except ValueError:  # not assigned yet
            continue
    for name in names_in(function.__code__):
        value = function.__globals__.get(name)
        if isinstance(value, bool | int | float) or is_array(value):
            found.setdefault(name, value)
    return found


def names_in(code: CodeType) -> list[str]:
    """The names of globals and attributes in a function and in those that are written within it."""
    return [*code.co_names, *(name for part in code.co_consts if isinstance(part, CodeType) for name in names_in(part))]


def extend(path: str, key: str) -> str:
    """The path of a part."""
    return path if key in STRUCTURE or key.isdecimal() else f"{path}.{key}"


def add(found: dict[str, Any], path: str, value: Any) -> None:
    """Keeps a value under its path, or, where that is taken by another, under a numbered one."""
    name, count = path, 1
    while name in found and found[name] != value:
        count += 1
        name = f"{path} ({count})"
    found[name] = value


def shortened(text: str) -> str:
    """A text, or its beginning and a digest."""
    return text if len(text) <= MAX_LENGTH else f"{text[:MAX_LENGTH]}... {shorten(text)[:16]}"
