"""Contacts of all geom pairs, hard and soft from the same lines; `contract` states the rules."""

from softsim.collision import box_box as box_box
from softsim.collision import box_patch as box_patch
from softsim.collision import capsule_convex as capsule_convex
from softsim.collision import convex as convex
from softsim.collision import convex_convex as convex_convex
from softsim.collision import hfield as hfield
from softsim.collision import hfield_prisms as hfield_prisms
from softsim.collision import implicit as implicit
from softsim.collision import plane as plane
from softsim.collision import round_convex as round_convex
from softsim.collision import sphere as sphere
from softsim.collision.contact import Contact as Contact
from softsim.collision.contract import PAIRS as PAIRS
from softsim.collision.contract import Convex as Convex
from softsim.collision.contract import Geom as Geom
from softsim.collision.contract import HField as HField
from softsim.collision.contract import Hit as Hit
from softsim.collision.contract import pair as pair
from softsim.collision.driver import collide as collide
from softsim.collision.driver import contacts_are_nearest as contacts_are_nearest
from softsim.collision.support import unsupported_meshes as unsupported_meshes
from softsim.collision.support import unsupported_pairs as unsupported_pairs
