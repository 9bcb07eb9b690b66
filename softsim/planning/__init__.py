"""Planning through contact: trajectories and model-predictive control of any model.

    from softsim import planning
    task = planning.Task(model=m, start=d, cost=lambda d, u: ..., final=lambda d: ...)
    plan = planning.ilqr(task, ctrl0, iterations=50)

`ilqr` and `shooting` follow derivatives of the simulation, `mppi` and `cem` sample; all take the
same arguments and return a `Plan`. `Controller` replans at every control.
"""

from softsim.planning.closed_loop import Controlled as Controlled
from softsim.planning.closed_loop import Controller as Controller
from softsim.planning.closed_loop import Memory as Memory
from softsim.planning.closed_loop import control as control
from softsim.planning.ilqr import Ilqr as Ilqr
from softsim.planning.ilqr import ilqr as ilqr
from softsim.planning.planner import Plan as Plan
from softsim.planning.planner import Planner as Planner
from softsim.planning.planner import search as search
from softsim.planning.sampling import Cem as Cem
from softsim.planning.sampling import Mppi as Mppi
from softsim.planning.sampling import Proposing as Proposing
from softsim.planning.sampling import cem as cem
from softsim.planning.sampling import mppi as mppi
from softsim.planning.shooting import Shooting as Shooting
from softsim.planning.shooting import shooting as shooting
from softsim.planning.task import State as State
from softsim.planning.task import Task as Task
