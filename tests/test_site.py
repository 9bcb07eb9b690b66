"""The site holds together, checked without its builder: pages, links, anchors, pictures."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
LINK = re.compile(r"\]\(([^)\s]+)\)")
PAGES = sorted(DOCS.rglob("*.md"))
TUTORIALS = sorted((DOCS / "tutorials").glob("*.py"))
FRONT = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"]


def text(page: Path) -> str:
    """The page without its code; of a tutorial the text cells."""
    written = page.read_text()
    if page.suffix == ".py":
        cells = re.findall(r"^# %% \[markdown\]\n((?:#.*\n)+)", written, re.MULTILINE)
        written = re.sub(r"^# ?", "", "\n\n".join(cells), flags=re.MULTILINE)
    return re.sub(r"```.*?```", "", written, flags=re.DOTALL)


def source(page: Path) -> Path:
    """The file of a page: tutorials are Python files."""
    script = page.with_suffix(".py")
    return script if page.parent.name == "tutorials" and script.exists() else page


def anchors(page: Path) -> set[str]:
    """Of the headings, as Markdown's `toc` makes them."""
    titles = re.findall(r"^#+ (.*)$", text(page), re.MULTILINE)
    plain = (re.sub(r"[`*]|\]\([^)]*\)|\[", "", title) for title in titles)
    return {re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", t).strip().lower()) for t in plain}


@pytest.mark.parametrize("page", [*PAGES, *TUTORIALS, *FRONT], ids=lambda p: p.stem)
def test_links_lead_somewhere(page: Path) -> None:
    for link in LINK.findall(text(page)):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = source((page.parent / path).resolve() if path else page)
        assert target.exists(), f"{link}: no such file"
        assert target.is_relative_to(ROOT), f"{link}: outside of the repository"
        if anchor and target.suffix in (".md", ".py"):
            assert anchor in anchors(target), f"{link}: no such heading"


def test_every_page_is_in_the_navigation() -> None:
    nav = set(re.findall(r"([\w/-]+\.md)", (ROOT / "mkdocs.yml").read_text()))
    pages = {str(p.relative_to(DOCS)) for p in PAGES}
    pages |= {str(p.relative_to(DOCS).with_suffix(".md")) for p in TUTORIALS}
    assert pages == nav


def test_every_picture_is_shown() -> None:
    shown = {
        (page.parent / link).resolve()
        for page in [*PAGES, *TUTORIALS, *FRONT]
        for link in LINK.findall(text(page))
    }
    drawn = {p for p in (DOCS / "img").rglob("*") if p.suffix in (".png", ".gif")}
    assert not drawn - shown
