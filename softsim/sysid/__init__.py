"""System identification: the parameters of a model from recordings of its motion."""

from softsim.sysid.fit import Fit as Fit
from softsim.sysid.identify import identify as identify
from softsim.sysid.identify import iterate as iterate
from softsim.sysid.identify import refit as refit
from softsim.sysid.recording import Recording as Recording
from softsim.sysid.recording import read as read
from softsim.sysid.settings import Settings as Settings
