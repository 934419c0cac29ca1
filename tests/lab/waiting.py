# SPDX-License-Identifier: BSD-3-Clause
"""Wait for conditions instead of fixed times."""

import time


class Timeout(AssertionError):
    """A condition was not met in time, or can't be met any more."""


def wait_for(condition, timeout, what, interval=0.02):
    """Call condition() until it returns something true, and return that.

    An exception of condition() counts as "not yet"; the last one is the cause of the Timeout. A
    Timeout that condition() raises ends the wait at once. `what` describes the condition; it may be
    a function, which is called when time is up.
    """
    deadline = time.monotonic() + timeout
    while True:
        problem = None
        try:
            result = condition()
            if result:
                return result
        except Timeout:
            raise
        except Exception as error:
            problem = error
        if time.monotonic() >= deadline:
            text = what() if callable(what) else what
            raise Timeout(f"not within {timeout} s: {text}") from problem
        time.sleep(interval)
