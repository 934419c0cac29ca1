# SPDX-License-Identifier: BSD-3-Clause
"""Wait for a condition, never for a while."""

import time


class Timeout(AssertionError):
    """What was waited for did not come."""


def wait_for(condition, timeout, what, interval=0.02):
    """Call condition() until it returns something true, and return that.

    An exception of condition() counts as "not yet", and the last one is told when time is up;
    but a Timeout of its own means that there is nothing left to wait for. `what` says what was
    waited for; it may be a function, called when time is up.
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
