"""Examine the gradients of one step of any MJCF model: finite, zero, off, and what to change.

Every stage of a step is differentiated with respect to every input and compared with central
differences, in float64.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import jax
import mujoco

import softsim
from experiments import cli

Preset = Literal["hard", "saltation", "soft", "straight_through"]
MODEL = Path(__file__).parent / "models" / "billiard.xml"


@dataclass(frozen=True)
class Args:
    """Settings of the examination."""

    out: Path = Path("runs/doctor")
    """This folder receives metrics.json and findings.csv."""
    model: Path = MODEL
    """This MJCF file is examined."""
    keyframe: str = ""
    """The state of this keyframe is examined. If it is left out, that of the first one is, or the
    reference configuration where there is none."""
    steps: int = 0
    """This many hard steps are taken from there first."""
    preset: Preset = "hard"
    """The step is softened in this way."""
    softness: float = 0.05
    """Soft switches have this width, relative to the shapes."""
    reach: float = 0.0
    """Soft contacts are felt from this distance on, m."""


def softening(args: Args) -> softsim.Softening:
    """The preset with the softness and reach of the arguments."""
    if args.preset == "hard":
        return softsim.Softening.hard()
    if args.preset == "saltation":
        return softsim.Softening.saltation(args.reach)
    return getattr(softsim.Softening, args.preset)(args.softness, args.reach)


def load(args: Args) -> tuple[mujoco.MjModel, mujoco.MjData]:
    """The model and the state to examine.

    Raises:
        ValueError: the file cannot be read or compiled, or has no such keyframe.
    """
    mj_model = cli.load_model(args.model)
    mj_data = mujoco.MjData(mj_model)
    names = [mj_model.key(i).name for i in range(mj_model.nkey)]
    if args.keyframe and args.keyframe not in names:
        raise ValueError(
            f"--keyframe {args.keyframe}: expected one of {', '.join(names) or 'none'}"
        )
    if names:
        index = names.index(args.keyframe) if args.keyframe else 0
        mujoco.mj_resetDataKeyframe(mj_model, mj_data, index)
    mujoco.mj_step(mj_model, mj_data, args.steps)
    return mj_model, mj_data


def main(args: Args) -> None:
    """Examine, print the table and the advice, and store both."""
    jax.config.update("jax_enable_x64", True)
    mj_model, mj_data = load(args)
    m, d = softsim.put_model(mj_model), softsim.put_data(mj_model, mj_data)
    out = cli.open_folder(args.out)
    report = softsim.check_gradients(m, d, softening(args))
    print(report)
    rows = [asdict(finding) for finding in report.findings]
    cli.write_csv(out / "findings.csv", {key: [row[key] for row in rows] for key in rows[0]})
    cli.write_json(
        out / "metrics.json",
        {**cli.provenance(args), "healthy": report.healthy, "advice": report.advice},
    )


def command() -> None:
    """Run from the command line."""
    cli.launch(Args, main, __doc__)


if __name__ == "__main__":
    command()
