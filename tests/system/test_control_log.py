# SPDX-License-Identifier: BSD-3-Clause
"""What the coordination server says of orders and refusals, in its log and to the operator."""

import json
import os
import re

import pytest
from lab import raw_http2 as h2
from lab import wait_for
from lab.loopback_control import joined
from lab.raw_http2 import NoiseConnection, request


def test_no_order_logs_a_key(server, nodes):
    """The log line of an order names the record that was found, never the argument."""
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
    assert log.count(f"admin: expired key {prefix}\n") == 2
    assert "admin: renamed node 1 (" in log
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


def lines_of(server, text):
    return [line for line in server.log.read_text().splitlines() if text in line]


def ask(connection, stream, **body):
    """A registration; what the server answers to it."""
    body = {"Version": 138, "NodeKey": "nodekey:" + os.urandom(32).hex(), **body}
    connection.send(request(stream, "/machine/register", body))
    data = wait_for(
        lambda: [p for k, _, s, p in connection.frames() if (k, s) == (h2.DATA, stream) and p],
        60,
        "an answer",
    )
    return json.loads(b"".join(data))


@pytest.fixture
def stranger(server):
    connection = NoiseConnection(server).start()
    yield connection
    connection.close()


def test_a_refusal_is_logged(server, stranger):
    """With the hostname, the key as far as it may be shown, the version and the reason."""
    key = server.cli("keys", "create")
    assert server.cli("keys", "expire", key["prefix"]) is not None
    info = {"Hostname": "web", "IPNVersion": "1.96.2-t0"}
    answer = ask(stranger, 1, Auth={"AuthKey": key["key"]}, Hostinfo=info)
    assert "auth key expired" in answer["Error"]
    [line] = lines_of(server, "refused a node")
    for text in "hostname=web", f"key={key['prefix']} ", "version=1.96.2-t0", "auth key expired":
        assert text in line
    assert key["key"].rpartition("-")[2] not in server.log.read_text()


def test_a_client_that_is_too_old(server, stranger):
    """The node and the operator get the reason."""
    answer = ask(stranger, 1, Version=113, Hostinfo={"Hostname": "o", "IPNVersion": "1.80.3"})
    assert "at least 115 (Tailscale 1.82)" in answer["Error"]
    [line] = lines_of(server, "too old")
    assert "version=1.80.3 capability=113" in line


def test_a_flood_is_one_line(server, stranger, nodes):
    """Of logins by one machine: its own go, and the log has a line a minute."""
    node = nodes("")
    url = wait_for(lambda: re.search(r"auth-url \S+(/register/\w+)", node.text()), 10, node.text)[1]
    size = server.log.stat().st_size
    for stream in range(1, 3001, 2):
        body = {"Version": 138, "NodeKey": "nodekey:" + os.urandom(32).hex()}
        body["Hostinfo"] = {"Hostname": "x" * 1000}
        assert stranger.send(request(stream, "/machine/register", body))
    stranger.send(h2.frame(h2.PING, payload=bytes(8)))
    wait_for(lambda: any(k == h2.PING for k, *_ in stranger.frames()), 60, "all to be read")
    assert len(server.cli("nodes", "list")["logins"]) == 5
    assert server.get(url).status == 200
    assert server.log.stat().st_size - size < 1000
