"""Write the page on the studies, docs/studies.md, from their stored results.

Nothing is computed: tables and findings are those in `metrics.json` of each study, so that the page
says what the commands found. Studies without stored results are left out, and named.
"""

import json
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from experiments import cli

HERE = Path(__file__).parents[1]


@dataclass(frozen=True)
class Args:
    """Settings of the report."""

    results: Path = HERE / "results" / "studies"
    """This folder holds a folder of results per study."""
    out: Path = HERE.parent / "docs" / "studies.md"
    """This page is written."""


class Study(NamedTuple):
    """A module, its title, and what its result does not show."""

    module: str
    title: str
    limits: str


STUDIES = (
    Study(
        "bounce",
        "The slope of a bounce in one dimension",
        "One dimension, one contact, no friction. Errors are relative to a trend that is small: "
        "the sawtooth is ten times as steep as the bouncing outcome.",
    ),
    Study(
        "toss",
        "The slope of tosses of five shapes",
        "One family of tosses per shape, one bounce or two in each. Which corner touches first is "
        "a choice that has no slope: where it changes along the family, the trend has a bend that "
        "no derivative shows.",
    ),
    Study(
        "billiard",
        "Billiards: contact from a distance, and its moment",
        "From the wrong side the way to the target leads over a hill, which descent seldom "
        "crosses. Nothing tells in advance which reach suits a task.",
    ),
    Study(
        "manifold",
        "A box turned over a plane: contact points and straight-through",
        "Softened contact points differ from MuJoCo's, by what the table says; the softness trades "
        "one against the other. Soft, no corner is picked: the four contacts have the mean and the "
        "spread of all that touch, and glide in pairs to the edge as the box tilts (upper left).",
    ),
    Study(
        "horizon",
        "Time and memory of gradients of long rollouts",
        "Memory is what the compiler plans for on this device; other devices plan differently.",
    ),
    Study(
        "operators",
        "Soft operators: values, derivatives, speed",
        "Times are those of a large batch on one machine. A hard argmax has no derivative and is "
        "nearly free, so a ratio to it says little: compare such operators in ns.",
    ),
    Study(
        "recovery",
        "System identification finds known parameters",
        "The simulator that made the data is the one that is fitted, up to the noise: real data "
        "hold what no parameter describes, see [system identification](sysid.md).",
    ),
)


def markdown_table(rows: list[dict[str, Any]]) -> str:
    """Rows that share their keys."""
    head = list(rows[0])
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    lines += ["| " + " | ".join(str(row.get(key, "")) for key in head) + " |" for row in rows]
    return "\n".join(lines)


def section(study: Study, folder: Path, page: Path) -> str:
    """What a study asked, found, and did not show."""
    metrics = json.loads((folder / "metrics.json").read_text())
    about = (import_module(f"experiments.studies.{study.module}").__doc__ or "").strip()
    about = "\n\n".join(p.replace("\n", " ") for p in about.split("\n\n"))
    parts = [f"## {study.title}", about.removeprefix("Study: ")]
    parts.append(f"```sh\npython -m experiments.studies.{study.module}\n```")
    pictures = sorted(folder.glob("*.png"))
    for picture in pictures:
        path = Path("..") / picture.resolve().relative_to(page.resolve().parent.parent)
        parts.append(f"![{study.title}]({path.as_posix()})")
    if metrics.get("table"):
        parts.append(markdown_table(metrics["table"]))
    parts += [f"- {text}" for text in metrics.get("findings", [])]
    parts.append(f"*Limits.* {study.limits}")
    made = metrics["machine"]
    versions = metrics["versions"]
    parts.append(
        f"<sub>{made['cpus']} CPU cores, {', '.join(made['devices'])}, {made['dtype']}; "
        f"jax {versions['jax']}, mujoco {versions['mujoco']}. `{metrics['command']}`</sub>"
    )
    return "\n\n".join(parts).replace("\n\n- ", "\n- ").replace(":\n- ", ":\n\n- ")


def conclusions(found: list[tuple[Study, dict[str, Any]]]) -> str:
    """The first finding of every study."""
    lines = [f"- {metrics['findings'][0]}" for _, metrics in found if metrics.get("findings")]
    return "\n".join(lines)


def main(args: Args) -> None:
    """Assemble the page."""
    present: list[Study] = []
    missing: list[Study] = []
    for study in STUDIES:
        folder = args.results / study.module
        (present if (folder / "metrics.json").is_file() else missing).append(study)
    if not present:
        raise ValueError(f"--results {args.results}: no study has results there; run one first")
    found = [
        (study, json.loads((args.results / study.module / "metrics.json").read_text()))
        for study in present
    ]
    intro = (
        "# What soft gradients are worth: studies\n\n"
        "Each study is one file and one command, which writes a figure, a table and its findings; "
        "`--quick` runs a small version. This page is made from stored results by "
        "`python -m experiments.studies.report`.\n\n## In short\n\n" + conclusions(found)
    )
    sections = [section(study, args.results / study.module, args.out) for study in present]
    if missing:
        names = ", ".join(f"`{study.module}`" for study in missing)
        sections.append(f"No results are stored for {names}.")
    text = "\n\n".join([intro, *sections]) + "\n"
    cli.write_with(args.out, lambda file: file.write_text(text))
    print(f"Written: {args.out}, {len(present)} studies")


if __name__ == "__main__":
    cli.launch(Args, main, __doc__)
