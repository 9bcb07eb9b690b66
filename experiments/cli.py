"""What every experiment shares: a results folder, safe writing, a progress bar, clear errors."""

import csv
import json
import os
import platform
import re
import shlex
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib import metadata
from pathlib import Path
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import tyro
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from softsim.cache import enable_compile_cache

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

Args = TypeVar("Args")


def launch(args_type: Callable[..., Args], main: Callable[[Args], None], description: str) -> None:
    """Run an experiment from the command line; `args_type` may be a function that parses it.

    Reads the arguments, switches the compile cache on, and turns bad input into one line on stderr
    (exit status 2) and Ctrl-C into exit status 130.
    """
    try:
        options: dict[str, Any] = {"description": description, "prog": program()}
        args = tyro.cli(args_type, **options) if isinstance(args_type, type) else args_type()
        enable_compile_cache()
        main(args)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("\nstopped; the results so far are kept", file=sys.stderr)
        sys.exit(130)


def program() -> str:
    """What a user typed to start this: `softsim train`, or `python -m experiments.train`."""
    if sys.argv[0].startswith("softsim "):
        return sys.argv[0]
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    module = spec.name.removesuffix(".__main__") if spec else Path(sys.argv[0]).stem
    return f"python -m {module}"


def open_folder(out: Path) -> Path:
    """Make the folder for results, or say now why nothing could be written there.

    Raises:
        ValueError: `out` is a file, or nothing may be written there.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=out):
            pass
    except OSError as error:
        raise ValueError(f"--out {out}: cannot write there ({error.strerror or error})") from None
    return out


@contextmanager
def lock(out: Path) -> Iterator[None]:
    """Keep a folder to this process until the block is left or the process ends, however it ends.

    Raises:
        ValueError: another process writes there.
    """
    if fcntl is None:  # no such locks on Windows
        yield
        return
    held = os.open(out, os.O_RDONLY)
    try:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(
                f"--out {out}: another process writes there; wait for its end or choose another"
            ) from None
        yield
    finally:
        os.close(held)


def seconds(flag: str, text: str) -> float:
    """A duration such as "90s", "30m", "1h" or "1h30m", in seconds.

    Raises:
        ValueError: it is none, or nothing; names the flag.
    """
    parts = re.fullmatch(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?", text)
    total = (
        sum(int(n or 0) * unit for n, unit in zip(parts.groups(), (3600, 60, 1))) if parts else 0
    )
    if not total:
        raise ValueError(f"{flag}: got {text!r}, expected a duration like 90s, 30m, 1h or 1h30m")
    return float(total)


def load_model(path: Path) -> mujoco.MjModel:
    """Compile an MJCF file; a ValueError says what is wrong with it."""
    if not path.is_file():
        raise ValueError(f"--model {path}: no such file")
    try:
        return mujoco.MjModel.from_xml_path(str(path))
    except ValueError as error:
        raise ValueError(f"--model {path}: {error}") from None


def write_with(path: Path, write: Callable[[Path], object]) -> Path:
    """Let `write` fill a file beside `path`, then put it in place in one move."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=path.suffix)
    os.close(handle)
    partial = Path(name)
    try:
        write(partial)
        partial.chmod(0o644)
        partial.replace(path)
    finally:
        with suppress(FileNotFoundError):
            partial.unlink()
    return path


def write_json(path: Path, data: Mapping[str, Any]) -> Path:
    """Write JSON, arrays as lists; a number that is not finite becomes null, as JSON has none."""
    text = json.dumps(_plain(data), indent=2, allow_nan=False) + "\n"
    return write_with(path, lambda file: _write_text(file, text))


def write_csv(path: Path, columns: Mapping[str, Sequence[Any] | np.ndarray]) -> Path:
    """Write columns of equal length, named in the first row."""

    def write(file: Path) -> None:
        with file.open("w", newline="") as stream:
            writer = csv.writer(stream)
            writer.writerow(columns)
            writer.writerows(zip(*columns.values(), strict=True))

    return write_with(path, write)


def write_markdown(path: Path, rows: Sequence[Mapping[str, str]]) -> Path:
    """Write rows that share their keys as a Markdown table."""
    lines = [list(rows[0]), ["---"] * len(rows[0]), *(list(row.values()) for row in rows)]
    text = "".join("| " + " | ".join(line) + " |\n" for line in lines)
    return write_with(path, lambda file: _write_text(file, text))


def provenance(args: Any) -> dict[str, Any]:
    """The command, its settings, the machine and the versions that made a result."""
    packages = ("softsim", "jax", "jaxlib", "mujoco", "mujoco-mjx", "numpy")
    return {
        "command": " ".join([program(), shlex.join(sys.argv[1:])]).strip(),
        "settings": {name: _shown(value) for name, value in vars(args).items()},
        "machine": {
            "system": f"{platform.system()} {platform.machine()}",
            "cpus": _cpus(),
            "devices": [device.device_kind for device in jax.devices()],
            "dtype": jnp.result_type(float).name,
        },
        "versions": {
            "python": platform.python_version(),
            **{name: metadata.version(name) for name in packages},
        },
    }


def _cpus() -> int | None:
    """Processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count()


def _shown(setting: Any) -> str:
    """A setting as text; a file of this project without the folder it happens to lie in."""
    root = Path(__file__).resolve().parents[1]
    if isinstance(setting, Path) and setting.is_relative_to(root):
        setting = setting.relative_to(root)
    return str(setting)


def progress() -> Progress:
    """A progress bar on stderr; add a `status` field to show a figure of merit beside it."""
    return Progress(
        TextColumn("{task.description:>18}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[status]}"),
        console=Console(stderr=True),
    )


def print_table(title: str, rows: Sequence[Mapping[str, str]]) -> None:
    """Print rows that share their keys as a table."""
    table = Table(title=title, title_justify="left")
    for name in rows[0]:
        table.add_column(name, justify="right" if name != next(iter(rows[0])) else "left")
    for row in rows:
        table.add_row(*row.values())
    Console(width=None if sys.stdout.isatty() else 110).print(table)


def _plain(data: Any) -> Any:
    if isinstance(data, Mapping):
        return {str(key): _plain(value) for key, value in data.items()}
    if isinstance(data, np.ndarray | jax.Array):
        return _plain(np.asarray(data).tolist())
    if isinstance(data, list | tuple):
        return [_plain(value) for value in data]
    if isinstance(data, np.generic):
        return _plain(data.item())
    if isinstance(data, float) and not np.isfinite(data):
        return None
    return data


def _write_text(file: Path, text: str) -> None:
    file.write_text(text)
