"""What the process of `test_processes_and_rounds.py` serves."""

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
