"""What docstrings and pages show runs as it stands, and prints what it says."""

import doctest
import importlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = (
    "README.md",
    *(
        f"docs/{n}.md"
        for n in ("concepts", "derivatives", "mechanics", "planning", "quickstart", "sysid")
    ),
    *sorted(str(page.relative_to(ROOT)) for page in (ROOT / "docs" / "how-to").glob("*.md")),
)
TUTORIALS = sorted((ROOT / "docs" / "tutorials").glob("*.py"))
PACKAGES = {
    "softsim": "softsim", "softsim.learning": "learning", "softsim.planning": "planning",
    "softsim.sysid": "sysid", "envs": "envs", "softjax_ops": "softjax_ops",
}  # fmt: skip
TOPICS = (
    "index", "install", "quickstart", "concepts", "derivatives", "glossary", "gallery", "peers",
    "supported", "engine", "contact", "mechanics", "envs", "sysid", "planning", "operators",
    "operators_axiswise", "torch", "training",
)  # fmt: skip
LONGEST = 80  # words in a paragraph of a page that teaches
TEACHING = [
    ROOT / page
    for page in ("README.md", *(f"docs/{n}.md" for n in TOPICS), "docs/tutorials/index.md")
] + [*(ROOT / "docs" / "how-to").glob("*.md"), *TUTORIALS]
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
def test_page(page, tmp_path, monkeypatch):
    """The blocks of a page run in order, as one script, in an empty folder."""
    code = re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    for block in code:
        exec(compile(block, page, "exec"), names)


@pytest.mark.slow
@pytest.mark.parametrize("tutorial", TUTORIALS, ids=lambda file: file.stem)
def test_tutorial(tutorial, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exec(compile(tutorial.read_text(), str(tutorial), "exec"), {"__name__": "__main__"})


@pytest.mark.parametrize("page", TEACHING, ids=lambda file: file.stem)
def test_paragraphs_are_short(page):
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    if page.suffix == ".py":
        cells = re.findall(r"^# %% \[markdown\]\n((?:#.*\n)+)", text, re.MULTILINE)
        text = re.sub(r"^# ?", "", "\n\n".join(cells), flags=re.MULTILINE)
    paragraphs = re.split(r"\n\s*\n|\n- |\n\|", text)
    assert max(len(paragraph.split()) for paragraph in paragraphs) <= LONGEST


@pytest.mark.parametrize("package", PACKAGES)
def test_reference_has_every_public_name(package):
    """Those that the package re-exports, each once, at the place where it is defined."""
    source = Path(importlib.import_module(package).__file__).read_text()
    public = re.findall(r"^from (\S+) import (\w+) as \2$", source, re.MULTILINE)
    page = (ROOT / "docs" / "api" / f"{PACKAGES[package]}.md").read_text()
    shown = re.findall(r"^::: (\S+)$", page, re.MULTILINE)
    missing = {f"{module}.{name}" for module, name in public if module != "softjax_ops"}
    missing -= set(shown)
    assert not {name for name in missing if f"`{name.split('.')[-1]}`" not in page}
    assert len(set(shown)) == len(shown)


def test_reference_has_every_name_of_torch():
    """They are read from the source, since PyTorch need not be installed."""
    source = (ROOT / "softjax_ops" / "torch" / "__init__.py").read_text()
    public = re.findall(r"^from softjax_ops\.torch\S* import (\w+) as \1$", source, re.MULTILINE)
    page = (ROOT / "docs" / "api" / "torch.md").read_text()
    assert public and not {name for name in public if f"`{name}`" not in page}
