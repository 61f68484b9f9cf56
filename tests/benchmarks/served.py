"""What the processes of `test_processes_and_rounds.py` and `test_family.py` serve."""

import importlib
import os


def serve(name):
    """Prints, and can do well and badly."""
    print("a library that prints")
    return {"name": name}, {"add": add, "import_": import_, "fail": fail, "end": end}


def add(a, b):
    """Prints, and is right."""
    print("another")
    return {"sum": a + b}


def import_(module):
    """Needs what may not be there."""
    importlib.import_module(module)


def fail():
    """Is broken."""
    raise ValueError("no such thing\nand more")


def end():
    """Dies with a last word."""
    os.write(2, b"out of everything\n\n")
    os._exit(7)


def serve_cells(core, data, seconds):
    """Measures as `benchmarks.family` does; it is unable to do one learner, and dies of another."""
    return {"core": core}, {"cell": cell}


def cell(problem, learner):
    """Its process, so that it is seen which cells had the same."""
    if learner == "anil":
        end()
    if learner == "fomaml":
        fail()
    return {"problem": problem, "process": os.getpid()}
