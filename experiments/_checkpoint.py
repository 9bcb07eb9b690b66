"""Checkpoints: one file, a line of JSON that says what it is, then the arrays.

Written beside its place and moved there in one step, so that a crash leaves the old one or the new
one, never a broken one.
"""

import json
from importlib import metadata
from pathlib import Path
from typing import Any, TypeVar

import equinox as eqx
import jax.numpy as jnp

from experiments._run import write_with

Tree = TypeVar("Tree")
FORMAT = 1


def describe(env: str, algo: str, settings: dict[str, Any]) -> dict[str, Any]:
    """What must agree for a checkpoint to be continued."""
    return {
        "format": FORMAT,
        "softsim": metadata.version("softsim"),
        "dtype": jnp.result_type(float).name,
        "env": env,
        "algo": algo,
        "settings": {name: str(value) for name, value in settings.items()},
    }


def save(path: Path, about: dict[str, Any], progress: dict[str, Any], tree: Any) -> None:
    """Write `tree`; `progress` is what else to remember, such as the time spent."""

    def write(file: Path) -> None:
        with file.open("wb") as stream:
            header = {**about, "progress": progress}
            stream.write(json.dumps(header).encode() + b"\n")
            eqx.tree_serialise_leaves(stream, tree)

    write_with(path, write)


def read_header(path: Path) -> dict[str, Any]:
    """What the file says it is.

    Raises:
        ValueError: it is no checkpoint.
    """
    try:
        with path.open("rb") as stream:
            header = json.loads(stream.readline())
        return {**header, "format": int(header["format"])}
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: not a checkpoint of experiments.train") from error


def load(path: Path, about: dict[str, Any], like: Tree) -> tuple[dict[str, Any], Tree]:
    """The progress and the tree, of the structure of `like`.

    Raises:
        ValueError: the checkpoint is of another environment, algorithm, version or setting, or
            damaged.
    """
    header = read_header(path)
    for name in ("format", "env", "algo", "softsim", "dtype"):
        if header.get(name) != about[name]:
            raise ValueError(
                f"{path}: {name} is {header.get(name)!r}, this run has {about[name]!r}; "
                "continue it with the same, or choose another --out"
            )
    theirs, ours = header["settings"], about["settings"]
    changed = [name for name in ours if theirs.get(name) != ours[name]]
    if changed:
        was = ", ".join(f"{name} {theirs.get(name)} (now {ours[name]})" for name in changed)
        raise ValueError(f"{path}: made with other settings: {was}")
    with path.open("rb") as stream:
        stream.readline()
        try:
            return header["progress"], eqx.tree_deserialise_leaves(stream, like)
        except (RuntimeError, EOFError, ValueError, TypeError) as error:
            raise ValueError(f"{path}: damaged ({error})") from error
