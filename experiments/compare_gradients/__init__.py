"""Hard against soft gradients, of your model: `python -m experiments.compare_gradients --help`."""
