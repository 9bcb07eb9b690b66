"""What `put_model` says, once, about a model that hardly allows its solver to converge."""

import logging

import mujoco

from softsim.solver import FEW

# Fewer iterations than this rarely reach the optimum of a robot in contact: Newton takes 3 to 8 on
# MJX's humanoid and barkour, conjugate gradient tens.
LEAST = {mujoco.mjtSolver.mjSOL_NEWTON: 4, mujoco.mjtSolver.mjSOL_CG: 20}
_told: set[tuple[str, int]] = set()


def tell_few_iterations(mj_model: mujoco.MjModel) -> None:
    """One line in the log "softsim", once per model name and number of iterations.

    A log line and not a warning: the value is that of MJX and the derivative that of the value, so
    there is nothing that a program with warnings as errors should stop for.
    """
    least = LEAST.get(mujoco.mjtSolver(mj_model.opt.solver), 0)
    iterations = int(mj_model.opt.iterations)
    name = mj_model.names.split(b"\0", 1)[0].decode() or "(no name)"
    if iterations >= least or (name, iterations) in _told:
        return
    _told.add((name, iterations))
    logging.getLogger("softsim").warning(
        "model %s: iterations=%d is likely to stop the constraint solver before its optimum; "
        "gradients are those of the unfinished solve, rugged in contact. iterations=%d lets it "
        "finish, which it notices itself",
        name,
        iterations,
        least + FEW,
    )
