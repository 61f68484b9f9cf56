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
from collections.abc import Callable
from itertools import chain
from typing import Any

Answer = dict[str, Any]
Served = tuple[Answer, dict[str, Callable[..., Answer]]]  # what `FUNCTION` returns


def main() -> None:
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # so that what a library prints is not taken for an answer
    served: dict[str, Callable[..., Answer]] | None = None
    for line in chain(["{}"], sys.stdin):
        request = json.loads(line)
        try:
            if served is None:
                answer, served = pkgutil.resolve_name(sys.argv[1])(**json.loads(sys.argv[2]))
            else:
                answer = served[request.pop("do")](**request)
        except ModuleNotFoundError as error:
            answer = {"missing": str(error)}
        except Exception as error:
            traceback.print_exc()
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), file=answers, flush=True)
    sys.stderr.flush()
    os._exit(0)  # the ordinary exit waits for the other processes of a group, which may be gone


if __name__ == "__main__":
    main()
