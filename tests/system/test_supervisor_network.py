# SPDX-License-Identifier: BSD-3-Clause
"""The supervisor: the network state."""

import os
import re
import signal

import pytest
from lab.process import children
from supervisor_world import status_of, wait_for, wait_for_wakes

# The network


def test_network_state(start, namespace):
    sidecar = start()
    sidecar.up()
    answer = sidecar.ask(
        "network 100.64.0.1/32 fd7a:115c:a1e0::1/128 route 100.64.0.2/32 127.0.0.0/8 10.9.0.0/16"
    )
    # The rest stands where one route is refused, and it is named.
    assert answer.startswith("0 127.0.0.0/8 "), answer
    assert "100.64.0.1/32" in namespace.run("ip -o addr show dev tailscale0")
    routes = namespace.run("ip route show table 52")
    assert "100.64.0.2 dev tailscale0" in routes and "10.9.0.0/16" in routes
    assert "127." not in routes
    assert "fwmark 0x80000" in namespace.run("ip rule")
    assert "mtu 1280" in namespace.run("ip link show tailscale0")
    # An address that is refused leaves the others.
    answer = sidecar.ask("network 8.8.8.8/32 100.64.0.1/32 route 100.64.0.2/32 10.9.0.0/16")
    assert answer.startswith("0 8.8.8.8/32 is no single tailnet address"), answer
    assert "100.64.0.1/32" in namespace.run("ip -o addr show dev tailscale0")
    assert "8.8.8.8" not in namespace.run("ip -o addr show dev tailscale0")
    # Somebody takes away what is ours.
    namespace.run("ip rule del priority 5270; ip route flush table 52")
    wait_for(lambda: "5270:" in namespace.run("ip rule"), what="repair")
    wait_for(lambda: "10.9.0.0/16" in namespace.run("ip route show table 52"), what="repair")
    # Packets come to the engine.
    namespace.run("ping -c1 -W0.1 100.64.0.2 || true")
    assert not sidecar.ask("tun").endswith("packets=0")

    assert sidecar.ask("network down").startswith("0")
    assert "100.64" not in namespace.run("ip -o addr")
    code, _ = sidecar.end()
    assert code == 0
    assert "tailscale0" not in namespace.run("ip -o link")
    assert "52" not in namespace.run("ip rule") + namespace.run("ip -6 rule")


EIGHTHS = " ".join(f"{first}.0.0.0/8" for first in range(256))


def table_52(namespace):
    return {
        line.split()[0]
        for family in ("-4", "-6")
        for line in namespace.run(f"ip {family} route show table 52 || true").splitlines()
    }


@pytest.mark.parametrize(
    ("flags", "asked", "stands"),
    [
        ((), "0.0.0.0/0 ::/0", set()),
        ((), "0.0.0.0/1 128.0.0.0/1 ::/1 8000::/1", set()),
        ((), "0.0.0.0/2 64.0.0.0/2 128.0.0.0/2 192.0.0.0/2", set()),
        ((), EIGHTHS, {"10.0.0.0/8"}),
        ((), "10.9.0.0/16 16.0.0.0/8", {"10.9.0.0/16", "16.0.0.0/8"}),
        (("--allow-routes", ""), "8.8.8.8/32 10.96.0.10/32 100.65.0.0/16", set()),
        (("--allow-routes", "10.9.0.0/16"), "10.9.3.0/24 10.0.0.0/8", {"10.9.3.0/24"}),
        (("--tailnet-prefix", "10.99.0.0/16", "--allow-routes", ""), "10.99.0.7/32", {"10.99.0.7"}),
        (("--exit-node",), "0.0.0.0/1 128.0.0.0/1", {"0.0.0.0/1", "128.0.0.0/1"}),
        (("--exit-node",), "126.0.0.0/7 224.0.0.0/3", set()),
    ],
    ids=lambda value: "" if isinstance(value, str) else None,
)
def test_what_a_captured_engine_may_route(start, namespace, flags, asked, stands):
    """Whatever it asks for: what the start allows, and this not in many parts either."""
    sidecar = start(*flags)
    sidecar.up()
    answer = sidecar.ask(f"network 100.64.0.1/32 route 100.64.0.2/32 {asked}")
    assert answer.startswith("0 "), answer
    assert (len(answer) > 2) == (len(stands) < len(asked.split())), answer
    assert table_52(namespace) == stands | {"100.64.0.2"}


def test_routes_that_come_one_by_one_are_judged_as_together(start, namespace):
    namespace.run("ip link add eth0 type veth peer name eth1 && ip link set eth0 up")
    namespace.run("sysctl -qw net.ipv4.conf.eth0.rp_filter=1")
    sidecar = start()
    sidecar.up()
    assert sidecar.ask("network 100.64.0.1/32 route 100.64.0.2/32 16.0.0.0/8").startswith("0 ")
    for change, stands, said in (
        ("gone 16.0.0.0/8", set(), ""),
        ("route 100.64.0.3/32", {"100.64.0.3"}, ""),
        ("route 10.9.0.0/16", {"100.64.0.3", "10.9.0.0/16"}, "net.ipv4.conf.all.rp_filter=2"),
        ("gone 10.9.0.0/16", {"100.64.0.3"}, ""),
        ("route 16.0.0.0/8", {"100.64.0.3", "16.0.0.0/8"}, "rp_filter"),
        ("route 17.0.0.0/8", {"100.64.0.3"}, "hold more than a /8"),
        ("gone 16.0.0.0/8", {"100.64.0.3", "17.0.0.0/8"}, "rp_filter"),
        ("route 128.0.0.0/1", {"100.64.0.3", "17.0.0.0/8"}, "--allow-exit-node"),
    ):
        answer = sidecar.ask(f"network delta 100.64.0.1/32 {change}")
        assert answer.startswith("0 ") and said in answer and (said or answer == "0 "), answer
        assert table_52(namespace) == stands | {"100.64.0.2"}, change


def test_routes_are_judged_again_when_networks_change(start, namespace):
    """A network that comes is not captured by a route that was there before; the other way too."""
    sidecar = start()
    sidecar.up()
    both = {"100.64.0.2", "10.9.0.0/16"}
    assert sidecar.ask("network 100.64.0.1/32 route 100.64.0.2/32 10.9.0.0/16") == "0 "
    assert table_52(namespace) == both
    drop = re.compile(r"ip saddr 100\.64\.0\.0/10 counter packets \d+ bytes \d+ drop")
    assert drop.search(namespace.run("nft list table inet pillion"))
    sidecar.kill_engine(signal.SIGSTOP)  # no engine has to ask for it
    namespace.run("ip link add eth0 type veth peer name eth1 && ip link set eth0 up")
    namespace.run("ip addr add 10.9.7.1/24 dev eth0")
    wait_for(lambda: table_52(namespace) == {"100.64.0.2"}, what="the route to go")
    assert "eth0" in namespace.run("ip route get 10.9.7.2")
    wait_for(lambda: "10.9.0.0/16 holds this machine's own" in sidecar.log(), what="a word")
    namespace.run("ip addr add 100.90.0.1/32 dev eth0")  # the range is not the tailnet's alone now
    wait_for(lambda: not drop.search(namespace.run("nft list table inet pillion")), what="no drop")
    namespace.run("ip link del eth0")
    wait_for(lambda: table_52(namespace) == both, what="the route to come back")
    assert drop.search(namespace.run("nft list table inet pillion"))


def test_rules_of_another_vpn(start, namespace):
    """One before ours is named, with what to do, when it comes; a mark that is taken is not ours."""
    namespace.run("ip link add wg0 type veth peer name wg1 && ip link set wg0 up")
    namespace.run("ip route add default dev wg0 table 203")
    namespace.run("ip rule add fwmark 0x80000/0x1e0000 lookup 203 priority 1000")
    sidecar = start()
    sidecar.up()
    asked = "network 100.64.0.1/32 fd7a:115c:a1e0::1/128 route 100.64.0.2/32 fd7a:115c:a1e0::/48"
    assert sidecar.ask(asked) == "0 "
    assert "fwmark 0x800000/0xff0000 lookup main" in namespace.run("ip rule")
    assert sidecar.ask("socket 1 4").startswith("mark=800000 ")
    assert "socket mark & 0x00ff0000 == 0x00800000" in namespace.run("nft list table inet pillion")
    # What takes only packets with a mark does not take the app's.
    namespace.run("ip rule add fwmark 0x200/0xf00 lookup 51820 priority 100")
    # What takes all that has not its own mark; it comes later, and its route after it.
    namespace.run("ip rule add not fwmark 0xca6c lookup 51820 priority 101")
    namespace.run("ip route add default dev wg0 table 51820")
    assert "wg0" in namespace.run("ip route get 100.64.0.2")
    wait_for(lambda: "rule 101 (not fwmark 0xca6c" in sidecar.log(), what="a word about rule 101")
    answer = sidecar.ask(asked)
    assert answer.startswith("0 rule 101 ("), answer
    # The remedy that it names.
    remedy = re.search("`(ip rule add .*)`", answer)[1]
    namespace.run(remedy)
    assert "tailscale0" in namespace.run("ip route get 100.64.0.2")
    wait_for(lambda: "takes our packets any more" in sidecar.log(), what="the end of it")
    assert sidecar.ask(asked) == "0 "
    # One that takes our mark, where no other can be chosen any more.
    namespace.run("ip rule add fwmark 0x800000/0xff0000 lookup 203 priority 1001")
    wait_for(lambda: "rule 1001 (fwmark 0x800000/0xff0000, lookup 203)" in sidecar.log())
    assert "our own sockets" in sidecar.ask(asked)
    namespace.run("ip rule add to 100.64.0.0/10 unreachable priority 50")
    wait_for(lambda: "rule 50 (no way out)" in sidecar.log())


def test_deleted_link_is_made_again(start, namespace):
    sidecar = start()
    sidecar.up()
    assert sidecar.ask("network 100.64.0.1/32 route 100.64.0.2/32").startswith("0")
    first = sidecar.engine()
    # The supervisor has looked at all addresses since, the link's own among them.
    namespace.run("ip addr add 192.0.2.9/32 dev lo")
    wait_for(lambda: "192.0.2.9" in sidecar.ask("interfaces"))
    os.kill(first, signal.SIGSTOP)
    with sidecar.connect() as client:
        # The first that the new engine asks for: what was the old link's a moment ago.
        client.sendall(b"network 100.64.0.1/32 route 100.64.0.2/32\n")
        namespace.run("ip link del tailscale0")
        assert client.recv(4096) == b"0 "
    assert sidecar.engine() != first
    assert "100.64.0.1/32" in namespace.run("ip -o addr")
    assert "100.64.0.2" in namespace.run("ip route show table 52")
    namespace.run("ping -c1 -W0.1 100.64.0.2 || true")
    assert not sidecar.ask("tun").endswith("packets=0")


def test_a_link_that_cannot_be_made_again_yet(start, namespace):
    """Somebody put one of his own in its place: the app keeps its namespace, and we wait."""
    sidecar = start()
    sidecar.up()
    assert sidecar.ask("network 100.64.0.1/32 route 100.64.0.2/32").startswith("0")
    os.kill(sidecar.pid, signal.SIGSTOP)
    wait_for(lambda: status_of(sidecar.pid)["State"].startswith("T"), what="a pause")
    namespace.run("ip link del tailscale0 && ip link add tailscale0 type veth peer name other")
    os.kill(sidecar.pid, signal.SIGCONT)
    wait_for(lambda: "can't be made again" in sidecar.log(), what="a word about it")
    # An engine that dies meanwhile is replaced once there is a link for it.
    for child in children(sidecar.pid):
        os.kill(child, signal.SIGKILL)
    wait_for_wakes(sidecar.pid, 3)
    assert sidecar.process.poll() is None, sidecar.log()
    assert sidecar.log().count("can't be made again") == 1
    namespace.run("ip link del tailscale0")
    wait_for(lambda: "100.64.0.1/32" in namespace.run("ip -o addr"), what="new link")
    assert "100.64.0.2" in namespace.run("ip route show table 52")
    namespace.run("ping -c1 -W0.1 100.64.0.2 || true")
    assert not sidecar.ask("tun").endswith("packets=0")
    assert sidecar.end()[0] == 0
    assert "5270" not in namespace.run("ip rule")


def test_what_the_kernel_refuses_is_said_once(start):
    """Tried again and again, but not a line each time."""
    sidecar = start("--table", "254")
    sidecar.up()
    assert sidecar.ask("network 100.64.0.1/32").startswith("-22 ")
    wait_for_wakes(sidecar.pid, 3)
    assert sidecar.log().count("trying again") == 1, sidecar.log()
    assert sidecar.ask("network 100.64.0.1/32").startswith("-22 ")


def test_interfaces_are_told(start, namespace):
    namespace.run("ip link add eth0 type veth peer name eth1")
    namespace.run("ip link set eth0 up && ip link set eth1 up")
    namespace.run("ip addr add 192.0.2.7/24 dev eth0 && ip route add default via 192.0.2.1")
    sidecar = start()
    sidecar.up()
    seen = wait_for(lambda: sidecar.ask("interfaces"))
    assert "eth0=192.0.2.7/24;" in seen and "default=192.0.2.1;" in seen
    sidecar.ask("network 100.64.0.1/32")
    namespace.run("ip addr add 192.0.2.8/24 dev eth0")
    wait_for(lambda: "192.0.2.8/24" in sidecar.ask("interfaces"))
    assert "100.64.0.1" not in sidecar.ask("interfaces")
    # The next engine has it at once.
    sidecar.kill_engine()
    wait_for(lambda: "192.0.2.8/24" in sidecar.ask("interfaces"))


def test_without_ipv6(start, namespace):
    namespace.run("sysctl -qw net.ipv6.conf.all.disable_ipv6=1")
    namespace.run("ip -6 rule add lookup 203 priority 1000")
    sidecar = start("--health", "[::]:9002")
    assert sidecar.up()["health"] == "1"
    asked = "network 100.64.0.1/32 fd7a:115c:a1e0::1/128 route 100.64.0.2/32 fd7a:115c:a1e0::/48"
    answer = sidecar.ask(asked)
    assert answer.startswith("0 ") and "sysctl" in answer and "rule 1000" not in answer, answer
    assert "100.64.0.1/32" in namespace.run("ip -o addr")
