"""Reading back what an experiment wrote."""

import csv
from pathlib import Path


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open() as stream:
        return list(csv.DictReader(stream))
