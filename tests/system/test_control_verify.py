# SPDX-License-Identifier: BSD-3-Clause
"""A relay by itself that asks the coordination server for the nodes that may connect."""

import json
import urllib.error
import urllib.request

import pytest
from lab import wait_for
from lab.own_relay import LoopbackRelay
from lab.raw_http2 import NoiseConnection, request
from lab.relay_tool import Tool


def verify(server, body):
    request = urllib.request.Request(server.url + "/verify", data=body, method="POST")
    with urllib.request.urlopen(request, timeout=5) as answer:
        assert answer.headers["Content-Type"] == "application/json"
        return json.load(answer)


def test_a_relay_asks_who_may_connect(server, tmp_path):
    """--verify-url of `pillion derp`: only nodes of the tailnet, until they are deleted."""
    folder = tmp_path / "derp"
    folder.mkdir()
    relay = LoopbackRelay(folder, host="127.0.0.1", flags=[f"--verify-url={server.url}/verify"])
    tool, connection = Tool(tmp_path, relay.derp_map()), NoiseConnection(server).start()
    node_key = f"nodekey:{tool.key}"
    try:
        question = json.dumps({"NodePublic": node_key, "Source": "127.0.0.1"}).encode()
        assert verify(server, question) == {"Allow": False}
        tool.say("home 1")
        wait_for(lambda: relay.metrics()['cut_total{reason="refused"}'] > 0, 20, "a refusal")
        key = server.cli("keys", "create")["key"]
        body = {"Version": 138, "NodeKey": node_key, "Auth": {"AuthKey": key}}
        connection.send(request(1, "/machine/register", body))
        wait_for(lambda: verify(server, question) == {"Allow": True}, 10, "the node to be known")
        wait_for(lambda: relay.metrics()["home_clients"] == 1, 20, "the node to be let in")
        assert server.run("nodes", "delete", "1").returncode == 0
        assert verify(server, question) == {"Allow": False}
        for nonsense in b"", b"{}", b"[]", b'{"NodePublic":"x"}', b"{" * 5000:
            with pytest.raises(urllib.error.HTTPError) as refused:
                verify(server, nonsense)
            assert refused.value.code in (400, 413)
        with pytest.raises(urllib.error.HTTPError) as refused:
            server.get("/verify")
        assert refused.value.code == 405
    finally:
        connection.close()
        tool.quit()
        relay.stop()
