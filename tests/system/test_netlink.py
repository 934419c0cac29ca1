"""The netlink room against the kernel, each test in a network namespace of its own.

netstate_tool takes the place of the supervisor: it holds the TUN and applies network
states. The tests check the result with `ip` and `nft`, and with packets.
"""

import contextlib
import itertools
import signal
import socket
import struct
import subprocess
import threading
import time

import pytest
from lab.netstate import PRIORITIES, TOOL, Maker
from lab.waiting import wait_for

EPERM, ENOENT, EAGAIN, EBUSY, ENODEV, EINVAL = -1, -2, -11, -16, -19, -22

RTMGRP_EVERYTHING = 0xFFFFFFFF
NFT_NEW_GENERATION = b"\x0f\x0a"


@pytest.fixture
def make():
    with Maker() as maker:
        yield maker


@pytest.fixture
def box(make):
    return make.namespace()


@pytest.fixture
def node(make, box):
    """A tool with its TUN and a small tailnet, not yet applied."""
    tool = make.tool(box)
    tool("claim tailscale0 52", "open tailscale0", "monitor")
    want(tool)
    return tool


def want(tool):
    tool("reset", "address 100.64.0.1", "address fd7a:115c:a1e0::1")
    tool("route 100.64.0.7", "route 100.64.0.8", "route fd7a:115c:a1e0::/48")


class Events:
    """All that rtnetlink and nf_tables say in a namespace."""

    def __init__(self, namespace):
        self.namespace = namespace
        self.sockets = []
        for bus in (0, 12):
            one = namespace.socket(socket.AF_NETLINK, socket.SOCK_RAW, bus)
            one.bind((0, RTMGRP_EVERYTHING))
            one.settimeout(5)
            self.sockets.append(one)
        self.marks = itertools.count(30001)

    def since_last(self):
        """Messages until the mark that is made now: nothing needs to be slept for."""
        mark = next(self.marks)
        self.namespace.run(f"ip rule add pref {mark} lookup main; nft add table ip mark{mark}")
        taken = 0
        for one, end in zip(self.sockets, (struct.pack("I", mark), b"mark%d" % mark), strict=True):
            while end not in (message := one.recv(65536)):
                taken += message[4:6] != NFT_NEW_GENERATION  # the tail of an earlier mark
        return taken


def test_what_is_applied_is_what_ip_shows(box, node):
    report = node("apply")
    assert report["warnings"] == [] and report["rounds"] == 1
    link = box.json("ip -d -j link show dev tailscale0")[0]
    assert link["mtu"] == 1280 and "UP" in link["flags"]
    assert link["inet6_addr_gen_mode"] == "none"
    assert box.addresses() == {"100.64.0.1/32", "fd7a:115c:a1e0::1/128"}
    assert box.routes(4) == {"100.64.0.7": "80", "100.64.0.8": "80"}
    assert box.routes(6) == {"fd7a:115c:a1e0::/48": "80"}
    for family in (4, 6):
        shown = [
            rule for rule in box.json(f"ip -{family} -d -j rule") if 5200 <= rule["priority"] < 5300
        ]
        assert [rule["priority"] for rule in shown] == PRIORITIES
        assert all(rule["protocol"] == "80" for rule in shown)
        assert [rule.get("table") for rule in shown] == ["main", "default", None, "52"]
        assert shown[2]["action"] == "unreachable"
        assert all(
            rule["fwmark"] == "0x80000" and rule["fwmask"] == "0xff0000" for rule in shown[:3]
        )
        assert "fwmark" not in shown[3]
    chain = box.run("nft list table inet pillion")
    assert 'iif != "lo" iif != "tailscale0" fib saddr oif "tailscale0"' in chain
    assert box.run("ip -4 route show table main").strip() == ""
    assert "tailscale0" not in box.run("ip -6 route show table main")


def test_second_apply_tells_the_kernel_nothing(box, node):
    events = Events(box)
    assert node("apply")["changes"] > 0
    assert events.since_last() > 0
    # Pending events of the kernel: duplicate address detection of IPv6 takes its time.
    wait_for(lambda: not box.run("ip -6 addr show tentative"), 10, "addresses to be settled")
    wait_for(lambda: events.since_last() == 0, 10, "the kernel to be silent")
    assert node("apply")["changes"] == 0
    assert events.since_last() == 0
    # In another order, and with doubles: still nothing.
    node("reset", "route fd7a:115c:a1e0::/48", "route 100.64.0.8", "route 100.64.0.7")
    node("route 100.64.0.8", "address fd7a:115c:a1e0::1", "address 100.64.0.1")
    assert node("apply")["changes"] == 0
    assert events.since_last() == 0


def test_own_things_go_and_others_stay(box, node):
    node("apply")
    box.run("ip route add 100.64.0.99 dev tailscale0 table 52 proto 80")  # as if ours
    box.run("ip route add 100.64.0.50 dev tailscale0 table 52 proto static")
    box.run("ip route add 100.64.0.51 dev tailscale0 table 77 proto 80")
    box.run("ip rule add pref 5270 lookup 99; ip rule add pref 100 lookup 52 protocol 80")
    box.run("ip addr add 100.64.0.2/32 dev tailscale0")
    box.run("nft add table inet somebody")
    node("reset", "address 100.64.0.1", "route 100.64.0.7", "mtu 1400", "apply")
    assert box.routes(4) == {"100.64.0.7": "80", "100.64.0.50": "static"}
    assert box.routes(4, 77) == {"100.64.0.51": "80"}
    assert box.routes(6) == {}
    assert box.addresses() == {"100.64.0.1/32"}
    assert box.json("ip -j link show dev tailscale0")[0]["mtu"] == 1400

    node("teardown")
    assert box.routes(4, 77) == {}, "the kernel flushes the routes of a link that is down"
    assert box.rules(4) == [(5270, "unspec", "99")] and box.rules(6) == []
    assert "100:" in box.run("ip rule")
    assert box.run("nft list tables").strip() == "table inet somebody"
    assert box.addresses() == set()
    node("teardown")


def test_anothers_route_in_our_place_is_reported_and_left(box, node):
    box.run("ip link set tailscale0 up")
    box.run("ip route add 100.64.0.7 dev lo table 52 proto static")
    report = node("apply")
    assert report["conflict"] == "100.64.0.7/32" and report["rounds"] == 2
    assert "--table" in report["warnings"][0]
    assert box.routes(4) == {"100.64.0.7": "static", "100.64.0.8": "80"}
    box.run("ip route del 100.64.0.7 table 52")
    assert node("apply")["warnings"] == []
    assert box.routes(4) == {"100.64.0.7": "80", "100.64.0.8": "80"}


@pytest.mark.parametrize(
    "harm",
    [
        "ip rule del pref 5210",
        "ip -6 rule del pref 5270",
        "ip rule flush",
        "ip route flush table 52",
        "ip -6 route flush table 52",
        "ip addr flush dev tailscale0",
        "ip link set tailscale0 mtu 1500",
        "ip link set tailscale0 down",
        "nft flush ruleset",
        "nft flush chain inet pillion input",
        "nft delete table inet pillion",
    ],
)
def test_what_another_breaks_is_seen_and_mended(box, node, harm):
    def shown():
        routing = [
            (box.rules(family), box.run(f"ip -{family} route show table 52")) for family in (4, 6)
        ]
        link = box.run("ip -o link show tailscale0")
        return [*routing, box.addresses(), box.run("nft -s list ruleset"), link]

    node("apply")
    before = shown()
    node.settle()
    box.run(harm)
    node.wait_for("ours")
    assert node("apply")["changes"] > 0
    assert shown() == before
    assert node("apply")["changes"] == 0


def test_own_changes_are_not_reported_as_anothers(box, node):
    node("apply")
    node.settle()
    node("route 100.64.0.20", "route fd00:9::/64", "apply")
    assert not node("events 300")["ours"]
    node("protect 0", "apply")
    assert not node("events 300")["ours"]


def test_a_link_deleted_under_us_is_told_and_made_again(box, node):
    node("apply")
    node.settle()
    box.run("ip link del tailscale0")
    assert "gone" in node.wait_for("gone")
    code, _ = node.fails("apply")
    assert code == ENODEV
    assert len(box.rules()) == 4, "rules stay: no marked packet may meet a hole"
    node("close", "open tailscale0")
    want(node)
    node("apply")
    assert box.routes(4) == {"100.64.0.7": "80", "100.64.0.8": "80"}
    assert box.addresses() == {"100.64.0.1/32", "fd7a:115c:a1e0::1/128"}
    assert 'oif "tailscale0"' in box.run("nft list table inet pillion")


def test_teardown_without_the_link_takes_the_rules(box, node):
    node("apply", "close")
    assert len(box.rules()) == 4
    node("teardown")
    assert box.rules(4) == [] and box.rules(6) == []
    assert box.run("nft list ruleset") == ""


def test_leftovers_of_a_killed_run_are_taken_over(make, box, node):
    node("apply")
    assert node.stop(signal.SIGKILL) == -signal.SIGKILL
    assert len(box.rules()) == 4 and "pillion" in box.run("nft list tables")
    heir = make.tool(box)
    assert heir("claim tailscale0 52")["removed"] == 0
    assert len(box.rules(4)) == 4 and len(box.rules(6)) == 4, "ours stand without a gap"
    heir("open tailscale0")
    want(heir)
    heir("apply")
    assert [rule[:2] for rule in box.rules()] == [(priority, "80") for priority in PRIORITIES]
    heir("teardown")
    assert box.rules(4) == [] and box.rules(6) == [] and box.run("nft list ruleset") == ""


def test_leftovers_with_another_mark_go(make, box):
    box.run("ip rule add pref 50 fwmark 0x80000/0xff0000 lookup 99")
    dead = make.tool(box)
    dead("claim tailscale0 52", "open tailscale0")
    want(dead)
    dead("apply")
    assert "fwmark 0x800000/0xff0000" in box.run("ip rule; ip -6 rule")
    assert dead.stop(signal.SIGKILL) == -signal.SIGKILL
    box.run("ip rule del pref 50")
    heir = make.tool(box)
    assert heir("claim tailscale0 52")["removed"] == 6
    heir("open tailscale0")
    want(heir)
    heir("apply")
    assert "fwmark 0x800000/0xff0000" not in box.run("ip rule; ip -6 rule")
    assert [rule[:2] for rule in box.rules()] == [(priority, "80") for priority in PRIORITIES]
    heir("teardown")
    assert box.rules(4) == [] and box.rules(6) == []


def test_a_living_pillion_is_refused(make, box, node):
    node("apply")
    other = make.tool(box)
    code, text = other.fails("claim tailscale0 52")
    assert code == EBUSY and "tailscale0" in text and "--tun" in text
    code, text = other.fails("claim other0 52")
    assert code == EBUSY and "--table" in text
    code, text = other.fails("open tailscale0")
    assert code == EBUSY and "--tun" in text
    # A table and a link of its own: both live, and each takes only its own with it.
    other(
        "claim other0 53",
        "open other0",
        "table 53",
        "address 100.64.5.1",
        "route 100.64.5.7",
    )
    other("apply")
    assert (5270, "80", "53") in box.rules() and (5270, "80", "52") in box.rules()
    other("teardown")
    assert [rule[0] for rule in box.rules()] == PRIORITIES
    assert "table inet pillion " in box.run("nft list ruleset")
    assert node("apply")["changes"] == 0


def test_ten_thousand_routes(box, node):
    node("reset", "address 100.64.0.1", "address fd7a:115c:a1e0::1")
    before = node("apply", "memory")["now"]
    node("routes 100.64.1.0/32 10000", "routes fd7a:115c:a1e0::1000/128 10000")
    report = node("apply")
    assert report["changes"] == 20000 and report["rounds"] == 1
    assert report["ms"] < 10000
    assert len(box.routes(4)) == 10000 and len(box.routes(6)) == 10000
    report = node("apply")
    assert report["changes"] == 0 and report["ms"] < 3000
    # Records are 18 bytes a prefix and 20 a change; a sanitizer keeps freed memory for a while.
    assert node("memory")["peak"] - before < 24 * 1024
    # An overflowed monitor says "look again", and goes on.
    assert "ours" in node.events()
    node.settle()
    node("reset", "address 100.64.0.1", "routes 100.64.1.0/32 5000")
    assert node("apply")["changes"] == 15000 + 1
    assert len(box.routes(4)) == 5000 and box.routes(6) == {}


def test_a_contested_link_is_dumped_again(box, node):
    """Another program adds addresses to our link, and deletes them, all the while."""
    node("apply")
    churn = "\n".join(
        f"address {verb} 10.1.{i}.1/32 dev tailscale0"
        for i in range(250)
        for verb in ("add", "del")
    )
    stop = threading.Event()

    def disturb():
        while not stop.is_set():
            # What we deleted first fails; -force goes on.
            subprocess.run(
                box.enter("ip", "-force", "-batch", "-"),
                input=churn,
                text=True,
                stderr=subprocess.DEVNULL,
            )

    rounds = []
    thread = threading.Thread(target=disturb)
    thread.start()
    try:
        deadline = time.monotonic() + 30
        while (len(rounds) < 30 or max(rounds) < 2) and time.monotonic() < deadline:
            wanted = 500 + len(rounds) % 7
            node("reset", "address 100.64.0.1", f"routes 100.64.1.0/32 {wanted}")
            answer = node.raw("apply")
            assert answer["ok"] or answer["code"] == EAGAIN, answer
            rounds.append(answer.get("rounds", 0))
    finally:
        stop.set()
        thread.join()
    assert max(rounds) > 1, "nothing changed under our hands: the test disturbs too little"
    node("apply")
    assert node("apply")["changes"] == 0
    assert box.addresses() == {"100.64.0.1/32"}


def test_without_ipv6_the_rest_stands(make, box):
    """As in Docker: disable_ipv6=1, and /proc/sys can't be written."""
    box.run("sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1")
    read_only = 'mount -o bind,ro /proc/sys /proc/sys && exec "$0"'
    tool = make.tool(box, within=("unshare", "--mount", "sh", "-c", read_only))
    tool("claim tailscale0 52", "open tailscale0")
    want(tool)
    report = tool("apply")
    assert len(report["warnings"]) == 1
    assert "sysctls: net.ipv6.conf.all.disable_ipv6=0" in report["warnings"][0]
    assert box.routes(4) == {"100.64.0.7": "80", "100.64.0.8": "80"}
    assert box.addresses() == {"100.64.0.1/32"}
    report = tool("apply")
    assert report["changes"] == 0 and len(report["warnings"]) == 1
    # It comes by itself once it is allowed.
    box.run("sysctl -qw net.ipv6.conf.all.disable_ipv6=0")
    assert tool("apply")["warnings"] == []
    assert box.addresses() == {"100.64.0.1/32", "fd7a:115c:a1e0::1/128"}
    assert box.routes(6) == {"fd7a:115c:a1e0::/48": "80"}


def test_without_nftables_the_rest_stands(make, box):
    tool = make.tool(box, "--without-nftables")
    tool("claim tailscale0 52", "open tailscale0", "monitor")
    want(tool)
    report = tool("apply")
    assert len(report["warnings"]) == 1 and "nf_tables" in report["warnings"][0]
    assert report["nftables_error"] == -93
    assert len(box.rules()) == 4 and len(box.routes()) == 2
    tool("teardown")
    assert box.rules() == []


OWN = {socket.AF_INET: "100.64.0.1", socket.AF_INET6: "fd7a:115c:a1e0::1"}


def own_connection(box, family):
    """Who gets it: an app at the served port, a service at the TUN's high port."""
    listeners = {}
    with contextlib.ExitStack() as stack:
        for name, address, port in (("app", "", 443), ("service", OWN[family], 40443)):
            one = listeners[name] = stack.enter_context(box.socket(family, socket.SOCK_STREAM))
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if name == "service":
                one.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"tailscale0")
            elif family == socket.AF_INET6:
                one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            one.bind((address, port))
            one.listen()
            one.settimeout(0)
        client = stack.enter_context(box.socket(family, socket.SOCK_STREAM))
        client.settimeout(5)
        client.connect((OWN[family], 443))
        got = []
        for name, one in listeners.items():
            with contextlib.suppress(BlockingIOError):
                one.accept()[0].close()
                got.append(name)
        return got


@pytest.mark.parametrize("family", OWN)
def test_own_connections_are_diverted(box, node, family):
    """To a listener that is bound to the TUN, while an app has the port."""
    node("apply")
    wait_for(lambda: not box.run("ip -6 addr show tentative"), 10, "addresses to be settled")
    assert "output" not in box.run("nft list table inet pillion"), "nothing is served"
    assert own_connection(box, family) == ["app"]
    node("divert 100.64.0.1:443 40443", "divert [fd7a:115c:a1e0::1]:443 40443")
    report = node("apply")
    assert report["changes"] == 1 and report["warnings"] == []
    chain = box.run("nft list chain inet pillion output")
    assert "type nat hook output priority -100" in chain
    assert "ip daddr 100.64.0.1 tcp dport 443 dnat ip to 100.64.0.1:40443" in chain
    own = "fd7a:115c:a1e0::1"
    assert f"ip6 daddr {own} tcp dport 443 dnat ip6 to [{own}]:40443" in chain
    assert own_connection(box, family) == ["service"]
    assert node("apply")["changes"] == 0
    want(node)
    node("divert 100.64.0.1:443 40444", "apply")
    chain = box.run("nft list chain inet pillion output")
    assert "100.64.0.1:40444" in chain and "40443" not in chain, "another port is another table"
    want(node)
    assert node("apply")["changes"] == 1
    assert "output" not in box.run("nft list table inet pillion")
    assert own_connection(box, family) == ["app"]


def test_a_removed_divert_is_seen_and_mended(box, node):
    node("divert 100.64.0.1:443 40443", "apply")
    for harm in ("flush chain inet pillion output", "delete table inet pillion"):
        node.settle()
        box.run(f"nft {harm}")
        node.wait_for("ours")
        assert node("apply")["changes"] == 1
        assert "dnat" in box.run("nft list chain inet pillion output")
    node("teardown")
    assert "pillion" not in box.run("nft list tables")


def test_as_many_diverts_as_there_may_be(box, node):
    """The longest rules, in one transaction."""
    for port in range(256):
        node(f"divert [fd7a:115c:a1e0::1]:{port + 1} {40000 + port}")
    assert node("apply")["warnings"] == []
    assert box.run("nft list chain inet pillion output").count("dnat") == 256
    assert node("apply")["changes"] == 0


def test_diverts_without_protection_or_nftables(make, box, node):
    """No rules, and a warning that says so; the rest stands."""
    node("divert 100.64.0.1:443 40443", "apply", "protect 0")
    warnings = node("apply")["warnings"]
    assert len(warnings) == 1 and "netfilter mode is off" in warnings[0]
    assert "pillion" not in box.run("nft list tables")
    other = make.namespace()
    tool = make.tool(other, "--without-nftables")
    tool("claim tailscale0 52", "open tailscale0")
    want(tool)
    warnings = tool("divert 100.64.0.1:443 40443", "apply")["warnings"]
    assert any("nft_nat" in warning for warning in warnings)
    assert len(other.routes()) == 2


class Lan:
    """
    neighbour ── veth ── box

        100.64.9.2/24         100.64.9.1/24   tailscale0: 100.64.0.1, peer 100.64.0.7
        192.168.5.2/24        192.168.5.1/24
        (forges 100.64.0.7, fd7a:115c:a1e0::7)
    """

    def __init__(self, make, box, cgnat=True):
        self.box, self.neighbour = box, make.namespace()
        box.run("ip link add eth0 type veth peer name lan0")
        box.run(f"ip link set lan0 netns {self.neighbour.name}")
        for namespace, link, host in ((box, "eth0", 1), (self.neighbour, "lan0", 2)):
            namespace.run(
                f"sysctl -qw net.ipv6.conf.{link}.accept_dad=0;"
                + (f"ip addr add 100.64.9.{host}/24 dev {link};" if cgnat else "")
                + f"ip addr add 192.168.5.{host}/24 dev {link};"
                f"ip addr add fd00:5::{host}/64 dev {link} nodad; ip link set {link} up"
            )
        # Else a packet that waits for a link address is overtaken by the one after it.
        for address in ("192.168.5.1", "fd00:5::1", *["100.64.9.1"] * cgnat):
            self.neighbour.run(f"ping -c1 -w10 {address}")
        self.neighbour.run("ip addr add 100.64.0.7/32 dev lo")
        self.neighbour.run("ip -6 addr add fd7a:115c:a1e0::7/128 dev lo nodad")
        self.app = {}
        for family in (socket.AF_INET, socket.AF_INET6):
            self.app[family] = box.socket(family, socket.SOCK_DGRAM)
            if family == socket.AF_INET6:
                self.app[family].setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            self.app[family].bind(("", 8080))
            self.app[family].settimeout(5)

    def has(self, *addresses):
        """The neighbour has, or forges, more addresses."""
        for address in addresses:
            self.neighbour.run(f"ip addr add {address} dev lo" + (" nodad" * (":" in address)))

    def answers(self, address, mark=0, kind=socket.SOCK_DGRAM):
        """Whether the owner of an address answers."""
        with self.neighbour.socket(socket.AF_INET, kind) as server:
            server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            server.bind((address, 53))
            server.settimeout(5)
            with self.box.socket(socket.AF_INET, kind) as client:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, mark)
                client.settimeout(5 if mark else 1)
                if kind == socket.SOCK_STREAM:
                    server.listen()
                    return client.connect_ex((address, 53)) == 0
                client.sendto(b"?", (address, 53))
                server.sendto(b"!", server.recvfrom(10)[1])
                with contextlib.suppress(TimeoutError):
                    return client.recv(10) == b"!"
                return False

    def arrives(self, source, to):
        """Whether a datagram gets in: it, and then one that surely does."""
        family = socket.AF_INET6 if ":" in to else socket.AF_INET
        sure = "fd00:5::2" if family == socket.AF_INET6 else "192.168.5.2"
        at_box = "fd00:5::1" if family == socket.AF_INET6 else "192.168.5.1"
        for address, payload, destination in (
            (source, b"asked", to),
            (sure, b"mark", at_box),
        ):
            with self.neighbour.socket(family, socket.SOCK_DGRAM) as sender:
                sender.bind((address, 0))
                sender.sendto(payload, (destination, 8080))
        got = [self.app[family].recv(100)]
        if got[0] != b"mark":
            got.append(self.app[family].recv(100))
        return b"asked" in got


def test_forged_sources_are_dropped_and_a_real_cgnat_lan_is_not(make, box, node):
    lan = Lan(make, box)
    node("protect 0", "apply")
    assert lan.arrives("100.64.0.7", "100.64.9.1"), "the forgery works where nothing guards"
    assert lan.arrives("fd7a:115c:a1e0::7", "fd00:5::1")
    node("protect 1", "apply")
    assert not lan.arrives("100.64.0.7", "100.64.9.1")
    assert not lan.arrives("fd7a:115c:a1e0::7", "fd00:5::1")
    assert lan.arrives("100.64.9.2", "100.64.9.1"), "the LAN lies in 100.64.0.0/10"
    assert lan.arrives("192.168.5.2", "192.168.5.1")
    assert lan.arrives("fd00:5::2", "fd00:5::1")
    counters = box.run("nft list table inet pillion")
    assert "counter packets 2" in counters


def test_a_range_is_dropped_as_a_whole_where_only_the_tailnet_is_in_it(make, box, node):
    """Addresses that no peer has: an app may trust the whole range."""
    lan = Lan(make, box, cgnat=False)
    box.run("ip route add default via 192.168.5.2; ip -6 route add default via fd00:5::2")
    lan.has("100.70.1.1/32", "100.100.2.136/32", "fd7a:115c:a1e0::99/128", "fd7a:115c:a1e0:5::1")
    node("ranges", "apply")
    assert node("apply")["changes"] == 0
    for forged in ("100.64.0.7", "100.70.1.1", "100.100.2.136"):
        assert not lan.arrives(forged, "192.168.5.1")
    assert not lan.arrives("fd7a:115c:a1e0::99", "fd00:5::1")
    assert lan.answers("100.100.2.136"), "a cloud's name server in the range"
    node.settle()
    # A route to a real network, and a real address of a pod.
    for command, undo in (
        ("ip route add 100.80.0.0/16 via 192.168.5.2", "ip route del 100.80.0.0/16"),
        ("ip addr add 100.70.9.9/32 dev eth0", "ip addr del 100.70.9.9/32 dev eth0"),
    ):
        box.run(command)
        node.wait_for("interfaces")
        node("ranges", "apply")
        assert lan.arrives("100.70.1.1", "192.168.5.1")
        assert not lan.arrives("100.64.0.7", "192.168.5.1"), "a peer's"
        assert not lan.arrives("fd7a:115c:a1e0::99", "fd00:5::1")
        node.settle()
        box.run(undo)
        node.wait_for("interfaces")
        node("ranges", "apply")
        assert not lan.arrives("100.70.1.1", "192.168.5.1")
        node.settle()


def test_a_server_inside_a_routed_prefix_is_heard_by_our_sockets(make, box, node):
    lan = Lan(make, box, cgnat=False)
    box.run("ip route add default via 192.168.5.2")
    lan.has("10.50.0.9/32")
    node("route 10.50.0.0/16", "apply")
    assert "tailscale0" in box.run("ip route get 10.50.0.9")
    for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
        assert lan.answers("10.50.0.9", 0x80000, kind)
    assert not lan.arrives("10.50.0.9", "192.168.5.1"), "by another socket it is forged"


def test_a_strict_source_filter_is_named(make, box, node):
    """As many distributions set it, also for their containers: it drops what our rule lets in."""
    lan = Lan(make, box, cgnat=False)
    box.run("ip route add default via 192.168.5.2; sysctl -qw net.ipv4.conf.eth0.rp_filter=1")
    lan.has("10.50.0.9/32")
    assert node("apply")["warnings"] == []
    warnings = node("route 10.50.0.0/16", "apply")["warnings"]
    assert len(warnings) == 1 and "net.ipv4.conf.all.rp_filter=2" in warnings[0]
    box.run("sysctl -qw net.ipv4.conf.all.rp_filter=2")
    assert node("apply")["warnings"] == []
    assert lan.answers("10.50.0.9", 0x80000, socket.SOCK_STREAM)


def test_with_an_exit_node_only_the_tailnets_ranges_are_guarded(make, box, node):
    lan = Lan(make, box)
    box.run("ip route add default via 192.168.5.2")
    # The LAN stays reachable as with allow-lan-access, so that the mark may be answered.
    box.run(
        "ip route add throw 192.168.5.0/24 table 52; ip -6 route add throw fd00:5::/64 table 52"
    )
    node("route 0.0.0.0/0", "route ::/0", "apply")
    assert "ip saddr 100.64.0.0/10" in box.run("nft list table inet pillion")
    assert not lan.arrives("100.64.0.7", "192.168.5.1")
    assert not lan.arrives("fd7a:115c:a1e0::7", "fd00:5::1")
    lan.neighbour.run("ip addr add 203.0.113.9/32 dev lo")
    assert lan.arrives("203.0.113.9", "192.168.5.1"), "a peer's endpoint on the internet"
    assert node("apply")["changes"] == 0
    # Marked sockets keep to the machine's own way out.
    assert node("interfaces")["default_v4"]["gateway"] == "192.168.5.2"
    assert "tailscale0" in box.run("ip route get 198.51.100.1")
    assert "eth0" in box.run("ip route get 198.51.100.1 mark 0x80000")


def test_marked_packets_never_enter_the_tunnel(box, node):
    node("route 0.0.0.0/0", "apply")
    done = subprocess.run(
        box.enter("ip", "route", "get", "100.64.0.7", "mark", "0x80000"),
        capture_output=True,
    )
    assert done.returncode != 0, "no way out: unreachable, rather than into the tunnel"
    assert "tailscale0" in box.run("ip route get 100.64.0.7")


def test_interfaces_and_their_changes(make, box, node):
    node("apply")
    assert node("interfaces")["default_v4"] is None and node("interfaces")["default_v6"] is None
    lan = Lan(make, box)
    node.settle()
    box.run("ip route add default via 192.168.5.2; ip -6 route add default via fd00:5::2")
    node.wait_for("interfaces")
    shown = node("interfaces")
    assert shown["default_v4"]["gateway"] == "192.168.5.2"
    assert shown["default_v6"]["gateway"] == "fd00:5::2"
    prefixes = {(one["name"], one["prefix"]) for one in shown["list"]}
    assert {
        ("eth0", "192.168.5.1/24"),
        ("eth0", "fd00:5::1/64"),
        ("lo", "127.0.0.1/8"),
        ("tailscale0", "100.64.0.1/32"),
    } <= prefixes
    node.settle()
    box.run("ip route replace default encap ip id 1 dst 192.168.5.9 via 192.168.5.3 dev eth0")
    hops = " ".join(f"nexthop encap ip id 1 dst 192.168.5.9 via 192.168.5.{i}" for i in (3, 4))
    box.run(f"ip route add 198.18.0.0/15 {hops}")
    node.wait_for("interfaces")
    assert node("interfaces")["default_v4"]["gateway"] == "192.168.5.3"
    node.settle()
    box.run("ip addr add 192.168.5.77/24 dev eth0")
    assert node.wait_for("interfaces") == {"interfaces"}
    node.settle()
    lan.neighbour.run("ip link set lan0 down")  # the carrier goes
    node.wait_for("interfaces")
    flags = {one["prefix"]: one["flags"] for one in node("interfaces")["list"]}
    assert flags["192.168.5.1/24"] & 1 == 0 and flags["127.0.0.1/8"] & 1 == 1
    node.settle()
    box.run("ip route del default", check=False)
    box.run("ip link del eth0")
    node.wait_for("interfaces")
    assert node("interfaces")["default_v4"] is None


def test_what_the_engine_asks_is_held_against_this_machine(make, box, node):
    Lan(make, box)
    box.run("ip route add default via 192.168.5.2")
    node("check 0")
    node("route 0.0.0.0/0")
    code, text = node.fails("check 0")
    assert code == EPERM and "--allow-exit-node" in text
    node("check 1")
    for route, why in (
        ("192.168.5.9", "eth0"),
        ("192.168.0.0/16", "own address"),
        ("127.0.0.1", "loopback"),
        ("100.64.9.1", "own address"),
    ):
        want(node)
        node(f"route {route}")
        code, text = node.fails("check 1")
        assert code == EPERM and why in text
    want(node)
    node("route 100.64.9.77", "check 0")


def test_no_right_to_change_the_network(make, box):
    tool = make.tool(box, within=("setpriv", "--bounding-set", "-net_admin"))
    code, text = tool.fails("open tailscale0")
    assert code == EPERM and "cap_add: [NET_ADMIN]" in text
    box.run("ip link add tailscale0 type veth peer name v1")
    tool("attach tailscale0", "address 100.64.0.1")
    code, text = tool.fails("apply")
    assert code == EPERM


def test_no_tun_device(make, box):
    """An empty /dev: made where we may, else the compose line that brings it."""
    empty = ("unshare", "--mount", "sh", "-c")
    cover = "mount -t tmpfs -o dev none /dev && exec "
    tool = make.tool(box, within=(*empty, cover + f'setpriv --bounding-set -mknod "{TOOL}"'))
    code, text = tool.fails("open tailscale0")
    assert code == ENOENT and "devices: - /dev/net/tun:/dev/net/tun" in text
    tool = make.tool(box, within=(*empty, cover + '"$0"'))
    tool("open tailscale0")


def test_a_name_that_is_taken_or_none(make, box):
    tool = make.tool(box)
    box.run("ip link add v0 type veth peer name v1")
    code, text = tool.fails("open v0")
    assert code == EINVAL and "--tun" in text
    code, text = tool.fails("open averyveryverylongname")
    assert code == EINVAL and "too long" in text
    assert tool("open ts%d")["name"] == "ts0"


def test_queues_share_one_link(make, box):
    tool = make.tool(box)
    tool("open tailscale0 4")
    link = box.json("ip -d -j link show dev tailscale0")[0]["linkinfo"]["info_data"]
    assert link["multi_queue"] is True and link["numqueues"] == 4
    tool("close")
    assert "tailscale0" not in box.run("ip link")
    tool("open tailscale0")
    assert box.json("ip -d -j link show dev tailscale0")[0]["num_tx_queues"] == 1
