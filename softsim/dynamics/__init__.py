"""Smooth dynamics: kinematics, inertia, bias forces and Jacobians, compact and vectorised.

Every stage takes `m, d` and returns `d` with the fields that MJX's stage of the same name fills,
in MuJoCo's conventions.
"""

from softsim.dynamics.actuation import actuation as actuation
from softsim.dynamics.actuation import next_activation as next_activation
from softsim.dynamics.bias import bias as bias
from softsim.dynamics.bias import com_vel as com_vel
from softsim.dynamics.energy import kinetic_energy as kinetic_energy
from softsim.dynamics.energy import potential_energy as potential_energy
from softsim.dynamics.inertia import com_pos as com_pos
from softsim.dynamics.inertia import mass_matrix as mass_matrix
from softsim.dynamics.jacobian import point_jacobians as point_jacobians
from softsim.dynamics.jacobian import relative_jacobians as relative_jacobians
from softsim.dynamics.kinematics import kinematics as kinematics
from softsim.dynamics.passive import passive as passive
from softsim.dynamics.tendon import tendon as tendon
from softsim.dynamics.tendon import tendon_armature as tendon_armature
from softsim.dynamics.tendon import tendon_bias as tendon_bias
from softsim.dynamics.transmission import transmission as transmission
