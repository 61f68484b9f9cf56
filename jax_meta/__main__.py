"""The command `python -m jax_meta`; each subcommand has a function that registers it."""

import argparse
import sys

from jax_meta.runs.plot import register_plot
from jax_meta.saved.command import register_adapt
from jax_meta.saved.page.command import register_page

SUBCOMMANDS = (register_adapt, register_page, register_plot)


def main(arguments: list[str] | None = None) -> None:
    """Runs a subcommand; ends with one line and status 1 where a file is wrong, and status 2 where the command is."""
    parser = argparse.ArgumentParser(prog="python -m jax_meta", description="Meta-learning in JAX, from the shell.")
    subparsers = parser.add_subparsers(title="commands", dest="command", metavar="COMMAND", required=True)
    for register in SUBCOMMANDS:
        register(subparsers)
    options = parser.parse_args(arguments)
    try:
        options.run(options)
    except (ImportError, OSError, ValueError) as error:
        sys.exit(f"{parser.prog} {options.command}: {' '.join(str(error).split())}")


if __name__ == "__main__":
    main()
