"""The console command `softsim`: one word for each thing a user runs.

It loads nothing but the chosen program, so that `softsim --help` answers at once.
"""

import importlib
import sys

PROGRAMS: dict[str, tuple[str, str]] = {
    "demo": ("trajopt.__main__", "throw a cube to a target by gradients through its bounces"),
    "train": ("train", "train a policy through contact and check it in MuJoCo C"),
    "sysid": ("sysid", "fit masses, friction, damping and more to recorded motion"),
    "mpc": ("mpc.__main__", "plan at every step: gradients beside sampling"),
    "compare": ("compare_gradients.__main__", "compare the gradients of your model by each method"),
    "doctor": ("doctor", "find the gradients of your model that are NaN, zero or off"),
}


def usage() -> str:
    """What `softsim --help` prints."""
    width = max(map(len, PROGRAMS))
    lines = [f"  {name:{width}}  {does}" for name, (_, does) in PROGRAMS.items()]
    return "\n".join(
        ["usage: softsim PROGRAM [options]", "", "Differentiable MuJoCo XLA. The programs:", ""]
        + lines
        + ["", "`softsim PROGRAM --help` explains one; results go into the folder runs/ or --out."]
    )


def main() -> None:
    """Run the program that the first word names."""
    name, *options = sys.argv[1:] or ["--help"]
    if name in ("-h", "--help"):
        print(usage())
    elif name == "--version":
        from importlib import metadata

        print(f"softsim {metadata.version('softsim')}")
    elif name in PROGRAMS:
        sys.argv = [f"softsim {name}", *options]
        importlib.import_module(f"experiments.{PROGRAMS[name][0]}").command()
    else:
        print(f"error: {name!r} is no program of softsim\n\n{usage()}", file=sys.stderr)
        sys.exit(2)
