"""The MuJoCo models that ship with the `gymnasium` package."""

from importlib.util import find_spec
from pathlib import Path

import mujoco


def load(file: str) -> mujoco.MjModel:
    """Compile one of gymnasium's models, such as "hopper.xml".

    Raises:
        ValueError: gymnasium is not installed, or has no such model.
    """
    spec = find_spec("gymnasium")
    if spec is None or spec.origin is None:
        raise ValueError(
            f"{file} is part of the gymnasium package, which is not installed: "
            "pip install 'softsim[envs]'"
        )
    path = Path(spec.origin).parent / "envs" / "mujoco" / "assets" / file
    if not path.is_file():
        raise ValueError(f"the installed gymnasium has no {file}; gymnasium 1.2 or newer does")
    return mujoco.MjModel.from_xml_path(str(path))


def limit_solver(mj_model: mujoco.MjModel, iterations: int = 8, ls_iterations: int = 10) -> None:
    """Cap the iterations of the constraint solver: what MuJoCo's defaults (100, 50) leave to a
    tolerance is out of reach in float32, where every step would take all of them."""
    mj_model.opt.iterations = iterations
    mj_model.opt.ls_iterations = ls_iterations


def cost(weight: float, x):
    """-weight * |x|^2, a term of the reward."""
    return -weight * (x @ x)
