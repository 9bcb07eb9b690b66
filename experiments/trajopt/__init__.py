"""Throw a cube to a target by gradients: `python -m experiments.trajopt --help`."""
