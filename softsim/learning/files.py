"""Files that appear whole: written beside their place and moved there in one step."""

from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO


def write(path: Path, fill: Callable[[BinaryIO], object]) -> Path:
    """Let `fill` write a file; a crash leaves the old one or the new one, never a broken one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    try:
        with partial.open("wb") as stream:
            fill(stream)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return path
