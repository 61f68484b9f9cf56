"""A process that is asked in lines of JSON: `python -m benchmarks.harness.worker MODULE:FUNCTION ARGUMENTS`.

`FUNCTION(**ARGUMENTS)` returns what it has to tell of itself, which is the first answer, and by name the functions that
can be asked for. From then on `{"do": name, ...}` is answered with what that function returns for the rest. Answers are
dictionaries; `{"missing": ...}` says that a library is not installed, `{"error": ...}` that anything else went wrong.
The end of the input ends the process, which imports nothing but the module that it is told to.
"""

import json
import os
import pkgutil
import sys
import traceback
from collections.abc import Callable, Mapping
from typing import Any

Answer = dict[str, Any]
Served = tuple[Answer, Mapping[str, Callable[..., Answer]]]
"""What a room's function returns: the first answer, and the functions that can be asked for."""


def main() -> None:
    """Serves until the input ends."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # so that what a library prints is not taken for an answer
    functions: dict[str, Callable[..., Answer]] = {}

    def begin() -> Answer:
        first, served = pkgutil.resolve_name(sys.argv[1])(**json.loads(sys.argv[2]))
        functions.update(served)
        return first

    def work(do: str, **request: Any) -> Answer:
        return functions[do](**request)

    print(json.dumps(outcome(begin)), file=answers, flush=True)
    for line in sys.stdin:
        print(json.dumps(outcome(work, **json.loads(line))), file=answers, flush=True)
    sys.stderr.flush()
    os._exit(0)  # the ordinary exit waits for the other processes of a group, which may be gone


def outcome(function: Callable[..., Answer], **request: Any) -> Answer:
    """What a function returns, or why it does not."""
    try:
        return function(**request)
    except ModuleNotFoundError as error:
        return {"missing": str(error)}
    except Exception as error:
        traceback.print_exc()
        return {"error": f"{type(error).__name__}: {error}"}


if __name__ == "__main__":
    main()
