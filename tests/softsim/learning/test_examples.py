"""What the pages and docstrings of training show runs as it stands, and learns."""

import doctest
import importlib
import re
import runpy
from pathlib import Path

import numpy as np
import pytest

from softsim import learning

DOCS = Path(__file__).parents[3] / "docs"


@pytest.mark.slow
@pytest.mark.parametrize("module", ["train", "policy"])
def test_docstring(module: str) -> None:
    flags = doctest.ELLIPSIS | doctest.IGNORE_EXCEPTION_DETAIL
    found = doctest.testmod(
        importlib.import_module(f"softsim.learning.{module}"), optionflags=flags
    )
    assert found.attempted and not found.failed


@pytest.mark.slow
@pytest.mark.parametrize(
    ("page", "name", "goal"), [("training.md", "cart", 27.0), ("envs.md", "reacher", 40.0)]
)
def test_page(
    page: str, name: str, goal: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The example that trains, as a script of its own; it ends as well as the page promises."""
    blocks = re.findall(r"```python\n(.*?)```", (DOCS / page).read_text(), re.DOTALL)
    (code,) = [block for block in blocks if "learning.train(" in block]
    (tmp_path / "script.py").write_text(code)
    monkeypatch.chdir(tmp_path)
    found = runpy.run_path("script.py", run_name="__main__")
    assert found["report"].returns.mean() > goal
    policy = learning.load_policy(tmp_path / "runs" / f"{name}.npz")
    assert np.isfinite(policy(np.zeros(policy.observation_size))).all()
