"""Do soft gradients help: `python -m experiments.usefulness --help`."""
