# SPDX-License-Identifier: BSD-3-Clause
"""The PeerAPI beside the real thing: a stock peer on Headscale, and the stock command line."""

import re

from lab import wait_for


def hit(node, peer):
    done = node.cli("ping", "-c=1", "--peerapi", peer.addresses()[0], check=False)
    return done.stdout + done.stderr


def test_ping_both_ways(world, pillion_only):
    """`tailscale ping --peerapi` of a stock node to ours, and of the stock command to our socket."""
    world.sidecar.join()
    world.fetch_both_ways()
    for node, other in ((world.laptop, world.sidecar), (world.sidecar, world.laptop)):
        wait_for(
            lambda n=node, o=other: "hit peerapi" in hit(n, o),
            20,
            lambda n=node, o=other: hit(n, o),
        )
        [line] = [line for line in hit(node, other).splitlines() if "hit peerapi" in line]
        assert re.match(
            rf"hit peerapi of {other.addresses()[0]} \(\S+\) at http://\S+:\d+ in ", line
        )
    url = world.sidecar.status()["Self"]["PeerAPIURL"][0]
    known = world.laptop.status()["Peer"]
    assert url in str([peer["PeerAPIURL"] for peer in known.values()])
    pong = world.laptop.cli("ping", "-c=1", "--tsmp", world.sidecar.addresses()[0]).stdout
    assert f", {url.rpartition(':')[2]})" in pong, pong


def test_the_stock_nodes_greeting_and_ours(world, pillion_only):
    """Status of the same requests at both; ours refuses a name that the stock node refuses too."""
    world.sidecar.join()
    world.fetch_both_ways()
    wait_for(lambda: world.sidecar.status()["Self"]["PeerAPIURL"], 20, "the PeerAPI")

    def answers(client, server):
        url = server.status()["Self"]["PeerAPIURL"][0]
        seen = []
        for options in (
            [url],
            ["--head", url],
            ["-H", "Host: peer", url],
            ["-H", "Host: evil.example", url],
            ["-H", "Origin: http://evil.example", url],
            ["-H", "Referer: http://evil.example", url],
            [url + "/nothing"],
        ):
            command = ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "--max-time", "9"]
            seen.append(client.box.run(*command, *options, check=False).stdout)
        return seen

    assert answers(world.laptop, world.sidecar) == answers(world.sidecar, world.laptop)
