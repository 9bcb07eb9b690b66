"""The pairs under test and their checks, shared with `python -m experiments.bench contact`."""

from softsim.testing.contact_cases import CASES as CASES
from softsim.testing.contact_cases import CONVEX_CASES as CONVEX_CASES
from softsim.testing.contact_cases import DEGENERATE as DEGENERATE
from softsim.testing.contact_cases import ROUND_CASES as ROUND_CASES
from softsim.testing.contact_cases import Case as Case
from softsim.testing.contact_cases import degenerate_poses as degenerate_poses
from softsim.testing.contact_cases import random_poses as random_poses
from softsim.testing.contact_checks import check_continuity as check_continuity
from softsim.testing.contact_checks import check_convergence as check_convergence
from softsim.testing.contact_checks import check_finite as check_finite
from softsim.testing.contact_checks import check_gradient as check_gradient
from softsim.testing.contact_checks import check_hard_parity as check_hard_parity
from softsim.testing.contact_checks import evaluator as evaluator
