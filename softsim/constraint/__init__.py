"""Constraint rows of a step: what the solver must satisfy."""

from softsim.constraint.assembly import make_rows as make_rows
from softsim.constraint.assembly import rows_of as rows_of
from softsim.constraint.rows import Rows as Rows
from softsim.constraint.switching import Switches as Switches
