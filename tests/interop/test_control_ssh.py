# SPDX-License-Identifier: BSD-3-Clause
"""SSH between stock nodes of our coordination server: its policy, and sessions it has confirmed.

laptop: OpenSSH ──tailnet──▶ server: tailscaled with --ssh ──Noise──▶ control: may it begin?
"""

import re

import pytest
from lab import Control, Tailscaled, wait_for

POLICY = {
    "tagOwners": {"tag:server": ["lab@"]},
    "acls": [{"action": "accept", "src": ["*"], "dst": ["*:*"]}],
    "ssh": [
        {
            "action": "check",
            "src": ["lab@"],
            "dst": ["tag:server"],
            "users": ["root"],
            "checkPeriod": "1h",
        },
        {"action": "accept", "src": ["lab@"], "dst": ["tag:server"], "users": ["nobody"]},
    ],
}
SSH = [
    *["ssh", "-F", "none", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"],
    *["-o", "BatchMode=yes", "-o", "PreferredAuthentications=none"],
]


@pytest.fixture
def control(lab):
    return Control(lab.box("control"))


@pytest.fixture
def laptop_and_server(lab, control):
    control.set_policy(POLICY)
    laptop = Tailscaled(lab.box("laptop"), control).join()
    server = Tailscaled(lab.box("server"), control)
    server.start()
    server.up(control.auth_key(tags=("tag:server",)), "--ssh")
    server.wait_running()
    laptop.wait_knows(server)
    return laptop, server


def begin(laptop, server, user, number):
    """A session that says "in" and ends; the Process."""
    address = server.addresses()[0]
    return laptop.box.start(*SSH, f"{user}@{address}", "echo in", log=f"ssh-{number}")


def test_a_check_is_confirmed_by_command(laptop_and_server, control):
    laptop, server = laptop_and_server
    first = begin(laptop, server, "root", 1)
    check = first.wait_text(r"pillion control ssh approve ([0-9a-f]{32})", 20).group(1)
    (waits,) = control.cli("ssh", "list")
    assert waits == {"id": check, "from": "laptop", "to": "server", "user": "root"}
    assert f"{control.url}/ssh/{check}" in first.text()
    assert not re.search(r"^in\s*$", first.text(), re.MULTILINE)
    control.cli("ssh", "approve", check)
    first.wait_text(r"(?m)^in\s*$", 20)
    # For an hour the server asks for no further confirmation.
    second = begin(laptop, server, "root", 2)
    second.wait_text(r"(?m)^in\s*$", 20)
    assert "pillion control ssh" not in second.text()
    # A restarted server has forgotten the confirmation and asks again.
    control.stop()
    control.start()
    third = begin(laptop, server, "root", 3)
    check = third.wait_text(r"pillion control ssh approve ([0-9a-f]{32})", 60).group(1)
    control.cli("ssh", "reject", check)
    third.wait_text("(?i)refused|denied", 20)
    wait_for(lambda: not third.running(), 20, third.text)
    assert not re.search(r"^in\s*$", third.text(), re.MULTILINE)


def test_what_policy_does_not_allow(laptop_and_server, control):
    """A user that no rule names, and a source that none does."""
    laptop, server = laptop_and_server
    other = begin(laptop, server, "daemon", 1)
    other.wait_text("does not permit|denied", 20)
    back = begin(server, laptop, "root", 2)
    wait_for(lambda: not back.running(), 20, back.text)
    for session in (other, back):
        assert not re.search(r"^in\s*$", session.text(), re.MULTILINE)
    assert control.cli("ssh", "list") == []
