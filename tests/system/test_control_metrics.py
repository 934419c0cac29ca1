# SPDX-License-Identifier: BSD-3-Clause
"""What the coordination server counts, read as Prometheus would."""

import urllib.error
import urllib.request

import pytest
from lab import prometheus, wait_for
from lab.loopback_control import JoinedNode, LoopbackControl
from lab.relay_tool import free_port


def test_metrics(tmp_path):
    server = LoopbackControl(tmp_path, relay=True)
    port = free_port()
    server.start(f"--metrics=127.0.0.1:{port}")
    node = None

    def get(path):
        return urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5)

    def metrics():
        with get("/metrics") as answer:
            assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
            return prometheus.parse(answer.read().decode())

    try:
        before = metrics()
        assert before['pillion_control_nodes{state="online"}'] == 0
        assert before["pillion_relay_clients"] == 0
        key = server.cli("keys", "create", "--reusable")["key"]
        node = JoinedNode(server, key, tmp_path)
        wait_for(lambda: " netmap " in node.text(), 20, node.text)
        after = metrics()
        assert set(after) == set(before)
        for name, value in (
            ('pillion_control_nodes{state="online"}', 1),
            ("pillion_control_nodes_connected", 1),
            ("pillion_control_users", 1),
            ("pillion_control_keys", 1),
            ("pillion_control_sessions", 1),
            ("pillion_control_registrations_total", 1),
            ("pillion_control_store_failed", 0),
        ):
            assert after[name] == value, name
        assert after['pillion_control_maps_total{kind="full"}'] >= 1
        for name, value in before.items():
            assert after[name] >= value or not name.endswith("_total"), name
        with get("/healthz") as answer:
            assert answer.read() == b"ok\n"
        # Nothing else is there, and nothing of it where nodes ask.
        for ask in (lambda: get("/v1/nodes"), lambda: server.get("/metrics")):
            with pytest.raises(urllib.error.HTTPError, match="404"):
                ask()
    finally:
        if node:
            node.close()
        server.end()
