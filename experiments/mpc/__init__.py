"""Planners in closed loop, gradients against sampling: `python -m experiments.mpc --help`."""
