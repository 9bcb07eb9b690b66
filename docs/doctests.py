"""Examples in docstrings (`>>>`) become blocks of code in the API reference."""

import re

import griffe

EXAMPLE = re.compile(r"(?:^>>> .*\n?(?:^(?!\s*$).*\n?)*)", re.MULTILINE)


class Doctests(griffe.Extension):
    """Fences each example before the docstring is parsed."""

    def on_object(self, *, obj: griffe.Object, **_: object) -> None:
        """Called once for every object that is read."""
        if obj.docstring and ">>>" in obj.docstring.value:
            fence = lambda match: f"```pycon\n{match[0].rstrip()}\n```\n"
            obj.docstring.value = EXAMPLE.sub(fence, obj.docstring.value)
