"""The checks, in the order in which they run. A module is a subject, a function marked with `check` is one check; its name is
`subject.function`, and it says in its first line what must be so. Each makes the state that it wants by itself."""

CHECKS = []


def check(function):
    CHECKS.append(function)
    return function


class Wrong(Exception):
    """Something is not as it must be: says what was expected, and what was seen."""


class Skipped(Exception):
    """What is to be checked cannot be had here: says why."""


def expect(what, seen, wanted):
    if seen != wanted:
        raise Wrong(f"expected {what} to be {wanted!r}, saw {seen!r}")


def expect_that(holds, what, seen):
    if not holds:
        raise Wrong(f"expected {what}, saw {seen!r}")
