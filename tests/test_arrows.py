"""Imports point one way, MJX internals stay behind one door, and no file names a machine."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
LAYERS = ("softjax_ops", "softsim", "envs", "experiments")  # each may import those before it
FILES = sorted(file for layer in LAYERS for file in (ROOT / layer).rglob("*.py"))


def imports(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def name(file: Path) -> str:
    return str(file.relative_to(ROOT))


def test_imports_point_down() -> None:
    def above(file: Path) -> tuple[str, ...]:
        return LAYERS[LAYERS.index(file.relative_to(ROOT).parts[0]) + 1 :]

    found = [(name(f), i) for f in FILES for i in imports(f) if i.split(".")[0] in above(f)]
    assert not found


def test_no_module_of_experiments_is_private() -> None:
    files = [f for f in FILES if f.is_relative_to(ROOT / "experiments")]
    assert not [name(f) for f in files if f.name.startswith("_") and not f.name.startswith("__")]


def test_operators_know_nothing_of_physics() -> None:
    files = (ROOT / "softjax_ops").rglob("*.py")
    assert not [f for f in files if any(i.startswith("mujoco") for i in imports(f))]


def test_one_door_to_mjx_internals() -> None:
    doors = [name(f) for f in FILES if any(i.startswith("mujoco.mjx._src") for i in imports(f))]
    assert doors == ["softsim/_mjx.py"]


def test_no_file_names_a_machine() -> None:
    folders = (*LAYERS, "tests", "docs", ".ci")
    files = [file for folder in folders for file in (ROOT / folder).rglob("*") if file.is_file()]
    files += [file for file in ROOT.iterdir() if file.is_file() and file.name != ".git"]
    files = [file for file in files if "__pycache__" not in file.parts]
    needles = ["/" + folder + "/" for folder in ("home", "root", "Users", "work", "workspace")]
    found = [
        (name(file), needle)
        for file in files
        for needle in needles
        if needle in file.read_text(errors="replace")
    ]
    assert not found
