"""Policies trained through the physics: of any environment with `reset` and `step`.

for report in learning.train(env, learning.Shac(iterations=500), seed=0):
    print(report.steps, report.returns.mean())
report.policy.save("policy.npz")
"""

from softsim.learning.algorithm import Algorithm as Algorithm
from softsim.learning.apg import Apg as Apg
from softsim.learning.environment import Environment as Environment
from softsim.learning.environment import State as State
from softsim.learning.policy import Policy as Policy
from softsim.learning.policy import load_policy as load_policy
from softsim.learning.policy import new_policy as new_policy
from softsim.learning.rollouts import Score as Score
from softsim.learning.rollouts import evaluate as evaluate
from softsim.learning.shac import Shac as Shac
from softsim.learning.softness import Softness as Softness
from softsim.learning.train import DivergedError as DivergedError
from softsim.learning.train import Report as Report
from softsim.learning.train import train as train
