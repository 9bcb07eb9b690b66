"""The Python blocks of docs/operators.md run as one script, in order, in both precisions."""

import re
from pathlib import Path

import jax
import pytest

PAGE = Path(__file__).parents[2] / "docs" / "operators.md"


@pytest.mark.slow
@pytest.mark.parametrize("x64", (False, True))
def test_examples_of_the_operators_page(x64):
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert len(blocks) >= 8
    names: dict = {}
    with jax.enable_x64(x64):
        for block in blocks:
            exec(compile(block, str(PAGE), "exec"), names)
