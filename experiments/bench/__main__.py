"""Benchmarks: `python -m experiments.bench <name> [options]`; `--help` after a name explains it."""

import importlib
import sys
from typing import Literal, get_args

import tyro

Name = Literal["operators", "contact", "engine", "gpu", "parity", "toss", "torch", "training"]


def main() -> None:
    """Run one benchmark: operators, contact, engine, gpu, parity, toss, torch, or training."""
    name = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if name not in get_args(Name):
        names = ", ".join(get_args(Name))
        print(f"usage: python -m experiments.bench <{names}> [options]")
        sys.exit(0 if name in ("-h", "--help") else 2)
    module = importlib.import_module(f"experiments.bench.{name}")
    try:
        module.main(tyro.cli(module.Args, args=sys.argv[2:], prog=f"experiments.bench {name}"))
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
