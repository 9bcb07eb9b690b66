"""What the site needs beyond Markdown: tutorials as pages, and links that leave this folder.

Tutorials are Python files in the percent format of jupytext: a cell begins at `# %%`, text cells at
`# %% [markdown]`. Pictures outside docs/ are copied into the site; other files there become code.
"""

import posixpath
import re
from pathlib import Path

from mkdocs.structure.files import File

ROOT = Path(__file__).parents[1]
PICTURES = (".png", ".gif", ".svg")
LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)#\s]+)(#[^)\s]*)?\)")
OUTSIDE = "linked"  # folder of the site for pictures from outside docs/


def to_markdown(script: str) -> str:
    """A page from a tutorial: text cells as they are, code cells as blocks."""
    cells = re.split(r"^# %%", script, flags=re.MULTILINE)[1:]
    page = []
    for cell in cells:
        head, _, body = cell.partition("\n")
        if "[markdown]" in head:
            page.append(re.sub(r"^# ?", "", body, flags=re.MULTILINE).strip())
        else:
            page.append(f"```python\n{body.strip()}\n```")
    return "\n\n".join(page) + "\n"


def escaped(link: str, page: str) -> str | None:
    """The path from the repository's root of a link that leaves docs/; None if it stays."""
    if re.match(r"[a-z]+:", link):
        return None
    path = posixpath.normpath(posixpath.join(posixpath.dirname(page), link))
    return path.removeprefix("../") if path.startswith("../") else None


def on_files(files, config):
    """Add a page per tutorial, and the pictures that pages show from outside docs/."""
    for script in sorted((ROOT / "docs" / "tutorials").glob("*.py")):
        source = to_markdown(script.read_text())
        source += f"\nThis page is `docs/tutorials/{script.name}`; it runs as it stands.\n"
        name = f"tutorials/{script.stem}.md"
        files.append(File.generated(config, name, content=source))
        files.remove(files.get_file_from_path(f"tutorials/{script.name}"))
    for page in list(files.documentation_pages()):
        for _, _, link, _ in LINK.findall(page.content_string):
            path = escaped(link, page.src_uri)
            name = f"{OUTSIDE}/{path}"
            if path and path.endswith(PICTURES) and not files.get_file_from_path(name):
                files.append(File.generated(config, name, abs_src_path=str(ROOT / path)))
    return files


def on_page_markdown(markdown, page, config, files):
    """Links that leave docs/: pictures to their copies, files and folders to their names."""

    def mend(match):
        picture, text, link, _ = match.groups()
        path = escaped(link, page.file.src_uri)
        if path is None:
            return match[0]
        up = posixpath.relpath(OUTSIDE, posixpath.dirname(page.file.src_uri) or ".")
        if path.endswith(PICTURES):
            return f"{picture}[{text}]({up}/{path})"
        return text if path in text else f"{text} (`{path}`)"

    return LINK.sub(mend, markdown)
