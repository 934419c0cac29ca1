# SPDX-License-Identifier: BSD-3-Clause
"""The real control server is away for a minute."""

from scenarios.control_down import *  # noqa: F403
