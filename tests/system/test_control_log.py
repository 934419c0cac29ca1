# SPDX-License-Identifier: BSD-3-Clause
"""What the coordination server says of orders and refusals, in its log and to the operator."""

from lab import wait_for
from lab.loopback_control import joined


def test_no_order_logs_a_key(server, nodes):
    """Whatever an order is given, its line in the log names what was found by it."""
    keys = [server.cli("keys", "create", *flags)["key"] for flags in ([], ["--reusable"])]
    keys.append(server.cli("page-key", "create")["key"])
    joined(nodes(keys[1]))
    assert server.cli("keys", "expire", keys[0]) is not None
    assert server.cli("keys", "expire", keys[0].rpartition("-")[0]) is not None
    for order in ("nodes show", "nodes delete", "nodes expire", "keys expire", "ssh approve"):
        assert server.run(*order.split(), keys[2]).returncode == 1
    assert server.cli("nodes", "rename", "1", "other") is not None
    log = server.log.read_text()
    prefix = keys[0].split("-")[2]
    assert log.count(f"order POST keys/*/expire key={prefix}\n") == 2
    assert "order POST nodes/*/rename node=1 name=" in log
    for key in keys:
        assert key.rpartition("-")[2] not in log


def test_who_can_come_back_is_said(server, nodes):
    """Deleted or expired, with a key in its environment that is still good."""
    once, many = server.cli("keys", "create"), server.cli("keys", "create", "--reusable")
    for key in once, many:
        joined(nodes(key["key"]))
    assert "valid_auth_key" not in server.cli("nodes", "show", "1")
    assert server.cli("nodes", "show", "2")["valid_auth_key"] == many["prefix"]
    done = server.run("nodes", "expire", "1")
    assert (done.returncode, done.stderr) == (0, "")
    for order in "expire", "delete":
        done = server.run("nodes", order, "2")
        assert done.returncode == 0
        assert f"keys expire {many['prefix']}" in done.stderr
    back = wait_for(lambda: server.cli("nodes", "show", "3"), 10, "the node to be back")
    assert server.run("keys", "expire", back["valid_auth_key"]).returncode == 0
    done = server.run("nodes", "delete", "3")
    assert (done.returncode, done.stderr) == (0, "")
