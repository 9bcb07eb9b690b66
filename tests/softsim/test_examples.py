"""What docstrings and pages show runs as it stands, and prints what it says."""

import doctest
import importlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = (
    "README.md",
    "docs/derivatives.md",
    "docs/mechanics.md",
    "docs/planning.md",
    "docs/sysid.md",
)
MODULES = (
    "bundles",
    "constants",
    "distance",
    "mechanics",
    "names",
    "planning.closed_loop",
    "planning.task",
    "sysid.identify",
    "sysid.recording",
)


@pytest.mark.slow
@pytest.mark.parametrize("module", MODULES)
def test_docstring(module):
    found = doctest.testmod(importlib.import_module(f"softsim.{module}"))
    assert found.attempted and not found.failed


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES)
def test_page(page):
    for code in re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), re.DOTALL):
        exec(compile(code, page, "exec"), {})
