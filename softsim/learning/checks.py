"""Checks of settings, made when they are given: an error names the field and what was expected."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np


class Rule(NamedTuple):
    """A test of a value, and in words what passes it."""

    passes: Callable[[Any], bool]
    expected: str


def number(passes: Callable[[float], bool], expected: str) -> Rule:
    """A finite number that passes a test."""
    ok = lambda x: isinstance(x, int | float | np.number) and np.isfinite(x) and passes(float(x))
    return Rule(lambda x: bool(ok(x)), expected)


def whole(least: int, unit: str = "") -> Rule:
    """A whole number of at least `least`."""
    expected = f"a whole number of at least {least}{unit and ' ' + unit}"
    ok = lambda x: isinstance(x, int | np.integer) and not isinstance(x, bool) and x >= least
    return Rule(lambda x: bool(ok(x)), expected)


def optional(rule: Rule) -> Rule:
    """None, or what passes a rule."""
    return Rule(lambda x: x is None or rule.passes(x), f"{rule.expected}, or None")


POSITIVE = number(lambda x: x > 0, "a finite number above 0")
NOT_NEGATIVE = number(lambda x: x >= 0, "a finite number of at least 0")
SHARE = number(lambda x: 0 <= x <= 1, "a share from 0 to 1")
PART = number(lambda x: 0 < x <= 1, "a share above 0, at most 1")


def one_of(names: tuple[str, ...]) -> Rule:
    """One of some names."""
    return Rule(lambda x: x in names, f"one of {', '.join(names)}")


def check(owner: str, settings: Mapping[str, Any], rules: Mapping[str, Rule]) -> None:
    """Test settings of an owner, such as the fields of a dataclass.

    Raises:
        ValueError: names the field, its value and what was expected.
    """
    for name, rule in rules.items():
        if not rule.passes(settings[name]):
            raise ValueError(f"{owner}{name}: got {settings[name]!r}, expected {rule.expected}")
