"""Checkpoints: one file, a line of JSON that says what it is, then the arrays."""

import hashlib
import json
import shutil
from importlib import metadata
from pathlib import Path
from typing import Any, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from softsim.learning.files import write

Tree = TypeVar("Tree")
FORMAT = 3


def describe(env: Any, settings: dict[str, Any]) -> dict[str, str]:
    """What must agree for a checkpoint to be continued, by name.

    Of an environment these are its attributes: numbers and names, and arrays as a hash.
    """
    about = {
        "format": str(FORMAT),
        "softsim": metadata.version("softsim"),
        "dtype": jnp.result_type(float).name,
        "environment": type(env).__name__,
        **attributes("env", env),
    }
    return about | {name: str(value) for name, value in settings.items()}


def attributes(prefix: str, thing: Any) -> dict[str, str]:
    """What an environment, or a judge of policies, holds: numbers and names, arrays as a hash."""
    about = {}
    for name, value in getattr(thing, "__dict__", {}).items():
        arrays = jax.tree.leaves(eqx.filter(value, eqx.is_inexact_array))
        if arrays:
            digest = hashlib.sha256(b"".join(np.asarray(x).tobytes() for x in arrays))
            about[f"{prefix}.{name}"] = digest.hexdigest()[:12]
        elif isinstance(value, int | float | str | None):
            about[f"{prefix}.{name}"] = str(value)
    return about


def save(path: Path, about: dict[str, str], progress: dict[str, Any], tree: Any) -> None:
    """Write `tree`; `progress` is what else to remember, such as the time spent."""
    header = json.dumps({"about": about, "progress": progress}).encode() + b"\n"

    def fill(stream: Any) -> None:
        stream.write(header)
        eqx.tree_serialise_leaves(stream, tree)

    write(path, fill)


def load(path: Path, about: dict[str, str], like: Tree) -> tuple[dict[str, Any], Tree]:
    """The progress and the tree, of the structure of `like`.

    Raises:
        ValueError: there is none, or it is of another environment, version or setting (all that
            differ are named), or damaged.
    """
    if not path.is_file():
        raise ValueError(f"resume: there is no checkpoint {path}; leave resume out to begin one")
    with path.open("rb") as stream:
        try:
            header = json.loads(stream.readline())
            theirs, progress = header["about"], header["progress"]
        except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError) as error:
            raise ValueError(f"{path}: not a checkpoint of softsim.learning.train") from error
        names = dict.fromkeys((*theirs, *about))
        changed = [n for n in names if theirs.get(n) != about.get(n)]
        if changed:
            was = ", ".join(f"{n} {theirs.get(n)} (now {about.get(n)})" for n in changed)
            raise ValueError(f"{path}: made with another {was}; continue it with the same settings")
        try:
            return progress, eqx.tree_deserialise_leaves(stream, like)
        except (RuntimeError, EOFError, ValueError, TypeError) as error:
            raise ValueError(f"{path}: damaged ({error})") from error


def check_space(path: Path, tree: Any) -> None:
    """Refuse to start where two checkpoints, the old one and the new one, do not fit.

    Args:
        tree: what is saved, as arrays or as their shapes and dtypes.

    Raises:
        ValueError: says how much is free and how much is needed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    needed = 2 * sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(tree))
    free = shutil.disk_usage(path.parent).free
    if free < needed:
        raise ValueError(
            f"checkpoint {path}: {free / 1e6:.1f} MB free, checkpoints need {needed / 1e6:.1f} MB; "
            "free some, or choose another folder"
        )
