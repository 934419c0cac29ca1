# SPDX-License-Identifier: BSD-3-Clause
"""What a coordination server may do wrong: the node says it once, goes on, and heals.

    control ◀── faults (a control_faults for each lane) ◀── lane 1 … N (pillion, an app each)
       ▲                                                        ║ ticks flow all the time
       └─────────────────────────────────────────────────── peer (pillion, an app)

Each case has a lane for itself while it runs, so that what they wait for they wait for at once.
"""

import json
import queue
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from lab import App, Control, Faults, Held, Lab, Pillion, wait_for
from lab.app import url
from lab.build import build_folder, is_sanitized
from lab.faults import frame, message, zstd
from lab.process import cpu_seconds
from lab.sanitizers import check_folder

LANES = 8
STANDS = 3  # seconds that a fault is looked at
BUSY = 0.3  # of a CPU: more than that is a loop without a wait
LINES = 12  # in the log, of one fault: it is tried again after 0.2, 0.4, 0.8 … s
# Seconds without a tick. Sanitizers stretch what packets have to wait for, a large map's parsing.
GAP = 6.0 if is_sanitized(build_folder()) else 1.5

CASES = {}


def case(name, *arguments):
    """Its function is run with a lane, and the arguments."""

    def add(function):
        CASES[name] = (function, arguments)
        return function

    return add


def cases(table):
    """The same for several: name: arguments."""

    def add(function):
        for name, arguments in table.items():
            CASES[name] = (function, arguments)
        return function

    return add


class Lane:
    """A node behind a server with faults, and a connection to its app that has to survive all."""

    def __init__(self, control, peer, faults_box, box, number):
        self.control = control
        self.peer = peer
        self.faults = Faults(faults_box, control, 8000 + number)
        self.node = Pillion(box, self.faults).join()
        self.name = box.name  # as control knows it
        self.app = App(box)
        self.renames = 0
        wait_for(self.reaches, 20, f"the peer and {box.name} to reach each other")
        self.held = Held(peer.box, self.node.addresses()[0], "ticks")
        self.held.wait_ticks(5, 10)
        self.begin()

    def begin(self):
        """Of a case: what is looked at is what comes from here on."""
        self.since = len(self.node.process.text())
        self.mark = len(self.held.lines())
        self.pids = self.node.processes()

    def log(self):
        return self.node.process.text()[self.since :]

    def says(self, pattern, timeout=15):
        self.node.process.wait_text(pattern, timeout, self.since)

    def reaches(self):
        """New connections, both ways."""
        for client, server in ((self.peer, self.node), (self.node, self.peer)):
            address = url(server.addresses()[0])
            assert client.box.curl(address) == f"this is {server.box.name}\n"
        return True

    def flows(self):
        """The old connection."""
        assert self.held.intact(), self.held.process.describe()
        assert self.held.longest_gap(self.mark) < GAP
        assert self.node.processes() == self.pids, self.node.process.describe()

    def stands(self, busy=BUSY):
        """The fault stands: the node is at rest, says little, and what it knew works."""
        began, before = time.monotonic(), cpu_seconds(self.pids)
        assert self.reaches()
        self.held.wait_ticks(int(STANDS / 0.05), STANDS + 10)
        assert cpu_seconds(self.pids) - before < busy * (time.monotonic() - began)
        assert len(self.log().splitlines()) <= LINES, self.log()
        assert self.node.running()
        self.flows()

    def live(self):
        """What control says now arrives, and nothing is wrong."""
        self.renames += 1
        name = f"{self.node.hostname}-{self.renames}"
        self.control.cli("nodes", "rename", self.name, name)
        self.name = name

        def arrived():
            status = self.node.status()
            return status["Self"]["DNSName"].startswith(f"{name}.") and not status["Health"]

        wait_for(arrived, 30, lambda: f"{name} to arrive: {self.node.process.describe()}")

    def heals(self):
        self.faults.clear()
        self.live()
        assert self.reaches()
        self.flows()

    def netmap(self):
        """What the real server would send it."""
        return self.control.cli("debug", "netmap", self.name)

    def delta(self, content):
        """A message that comes in the map session that is open."""
        self.faults.insert(message(content))

    def peer_address(self):
        return self.peer.addresses()[0]

    def peer_in_netmap(self):
        (found,) = (p for p in self.netmap()["Peers"] if p["Hostinfo"]["Hostname"] == "peer")
        return found


# Each map session begins with these, and again when it is tried again.

WRONG_TYPES = {
    "Node": 7,
    "Peers": "many",
    "DERPMap": [],
    "PacketFilter": {"a": 1},
    "UserProfiles": -1,
    "DNSConfig": "none",
    "ControlTime": {},
}


@cases(
    {
        "not-zstd": (frame(b"\0" * 40), "zstd"),
        "half-a-zstd-frame": (frame(zstd(b'{"Node":{}}' * 50)[:-9]), "zstd"),
        "more-than-a-zstd-frame": (frame(zstd(b"{}", size=0) + b"more"), "zstd"),
        "a-bomb": (frame(zstd((b" ", 1 << 30))), "message of 1073741824 bytes"),
        "a-bomb-without-a-size": (frame(zstd((b" ", 1 << 28), size=0)), "inflates beyond"),
        "a-lie-about-the-size": (frame(zstd(b"{}", size=60 << 20)), "zstd"),
        "a-huge-frame": (frame(b"", 0xFFFFFFFF), "frame of 4294967295 bytes"),
        "an-odd-length": (frame(zstd(b"{}"), 7), "zstd"),
        "not-json": (message(b"<html>hello</html>"), "(?i)json"),
        "half-of-json": (message(b'{"Node":{"ID":1,"Na'), "(?i)json"),
        "an-array": (message(b"[1,2]"), "(?i)json|object"),
        "deeply-nested": (message(b'{"Peers":' + b"[" * 200_000), "(?i)json|nest|deep"),
        "wrong-types": (message(WRONG_TYPES), "(?i)Node|type"),
        "no-node": (message({"Peers": [{"ID": 5}], "Domain": "x"}), "no Node"),
        "an-empty-object": (message({}), "no Node"),
    }
)
def a_bad_map(lane, body, says):
    lane.faults.maps(body)
    lane.faults.cut()
    lane.says(says)
    lane.stands()
    lane.heals()


@cases(
    {
        "map-401": (401, {}, "HTTP 401"),
        "map-404": (404, {}, "HTTP 404"),
        "map-429": (429, {"Retry_After": "2"}, "HTTP 429.*next try in 2 s"),
        "map-500": (500, {}, "HTTP 500"),
        "map-503": (503, {"Retry_After": "1"}, "HTTP 503.*next try in 1 s"),
        "map-307": (307, {"Location": "/machine/map"}, "HTTP 307"),
        "map-ends-at-once": (200, {}, "ended the map session"),
    }
)
def no_map(lane, status, headers, says):
    lane.faults.answer("/machine/map", status, **headers)
    lane.faults.cut()
    lane.says(says)
    lane.stands()
    lane.heals()


@cases(
    {
        "register-401": (401, b"go away", {}, "HTTP 401: go away"),
        "register-429": (429, b"", {"Retry_After": "2"}, "HTTP 429.*next try in 2 s"),
        "register-500": (500, b"<h1>oops</h1>", {}, "HTTP 500: <h1>oops"),
        "register-503": (503, b"", {}, "HTTP 503"),
        "register-302": (302, b"", {"Location": "/machine/register"}, "HTTP 302"),
        "register-html": (200, b"<html></html>", {}, "(?i)json"),
        "register-wrong-types": (200, b'{"User":[],"Login":3,"AuthURL":{}}', {}, "(?i)regist"),
        "register-too-long": (200, b"[" * (2 << 20), {}, "longer than 1048576"),
    }
)
def no_registration(lane, status, body, headers, says):
    """A node that has to register again: control says that it doesn't know it."""
    lane.faults.answer("/machine/register", status, body, **headers)
    lane.faults.answer("/machine/map", 404)
    lane.faults.cut()
    lane.says(says)
    lane.stands()
    lane.heals()


OTHER_KEY = json.dumps({"publicKey": "mkey:" + "9" * 64}).encode()


@cases(
    {
        "key-html": (200, b"<html>Welcome to the hotel</html>", {}, "not JSON"),
        "key-of-another": (200, OTHER_KEY, {}, "(?i)key|handshake"),
        "key-of-low-order": (200, OTHER_KEY.replace(b"9", b"0"), {}, "(?i)key"),
        "key-500": (500, b"", {}, "HTTP 500"),
        "key-302": (302, b"", {"Location": "/key"}, "HTTP 302"),
        "key-too-long": (200, b"{" * (1 << 18), {}, "(?i)long|large|bytes"),
    }
)
def no_key(lane, status, body, headers, says):
    """A server with a new key, so that it is asked for it again."""
    lane.faults.answer("/key", status, body, **headers)
    lane.faults.rekey()
    lane.faults.cut()
    lane.says(says)
    lane.stands()
    lane.heals()


@case("another-server-key")
def another_server_key(lane):
    lane.faults.rekey()
    lane.faults.cut()
    lane.live()
    lane.flows()


@cases(
    {
        "ts2021-500": (500, {}, "500"),
        "ts2021-302": (302, {"Location": "/ts2021"}, "302"),
        "ts2021-200": (200, {}, "200"),
    }
)
def no_upgrade(lane, status, headers, says):
    lane.faults.answer("/ts2021", status, b"<html></html>", **headers)
    lane.faults.cut()
    lane.says(says)
    lane.stands()
    lane.heals()


@cases(
    {
        "noise-garbage": (b"\xff" * 64, "TS2021"),
        "noise-not-proved": (b"\x02\x00\x30" + b"\x09" * 48, "prove"),
        "noise-refused": (b"\x03\x00\x05no\x1b[m", r"refused the handshake: no\\x1b\[m"),
        "noise-refused-at-length": (b"\x03\xff\xff" + b"a" * 9000, "TS2021"),
    }
)
def bad_noise(lane, body, says):
    lane.faults.upgrade(body)
    lane.faults.cut()
    lane.says(says)
    lane.stands()
    lane.heals()


@case("an-early-payload-without-end")
def long_early_payload(lane):
    lane.faults.early(b"\xff\xff\xffTS\x7f\xff\xff\xff" + b"{" * 5000)
    lane.faults.cut()
    lane.says("early payload is too long")
    lane.stands()
    lane.heals()


@case("not-http2")
def not_http2(lane):
    lane.faults.early(b"SSH-2.0-OpenSSH_9.2\r\n" * 20)
    lane.faults.cut()
    lane.says("HTTP/2")
    lane.stands()
    lane.heals()


# Faults that end the session that is open; it is opened again at once.


@cases(
    {
        "a-forged-record": (b"\x04\x00\x20" + b"\x55" * 32, "authentic"),
        "half-a-record": (b"\x04\x0f\xf0" + b"\x55" * 99, "record|closed|connection"),
    }
)
def broken_noise(lane, body, says):
    lane.faults.raw(body)
    lane.faults.cut()
    lane.says(says)
    lane.live()
    assert lane.reaches()
    lane.flows()


@case("cut-inside-of-a-frame")
def cut_inside_of_a_frame(lane):
    lane.faults.insert(message({"Domain": "never"})[:-5])
    lane.faults.cut()
    lane.says("closed|ended|going away")
    lane.live()
    lane.flows()


# What is well-formed and yet wrong.


@case("unknown-fields")
def unknown_fields(lane):
    """A server of the future: unknown members are ignored, at every depth."""
    strange = {"Sorrow": [{"Depth": {"a": [1, None, "x"]}}], "Étrange": 1e300, "": True}
    netmap = lane.netmap()
    peers = [peer | strange for peer in netmap["Peers"]]
    netmap |= {"Node": netmap["Node"] | strange, "Peers": peers, **strange}
    lane.faults.maps(message(netmap))
    lane.faults.cut()
    lane.stands()
    assert not lane.node.status()["Health"]
    lane.heals()


@case("peers-with-our-key")
def peers_with_our_key(lane):
    """Peers that are ourselves by key, by address, or by everything."""
    own = lane.netmap()["Node"]
    lane.delta({"PeersChanged": [own]})
    lane.delta({"PeersChanged": [own | {"ID": 9001, "StableID": "n9001"}]})
    other = {"ID": 9002, "StableID": "n9002", "Key": "nodekey:" + "7" * 64}
    lane.delta({"PeersChanged": [own | other]})
    lane.stands()
    lane.faults.cut()
    lane.heals()


@case("peers-twice")
def peers_twice(lane):
    """The same ID twice, and two IDs with one key and one address: the known peer is reached."""
    peer = lane.peer_in_netmap()
    lane.delta({"PeersChanged": [peer, peer]})
    lane.stands()
    lane.delta({"PeersRemoved": [peer["ID"], peer["ID"], 424242]})
    lane.delta({"PeersChanged": [peer]})
    lane.live()
    assert lane.reaches()
    # As it is the other end that holds it, the old connection has outlived this too.
    lane.flows()


@case("hostile-routes")
def hostile_routes(lane):
    """A peer that claims what isn't a tailnet's: this machine's network, loopback, control."""
    peer = lane.peer_in_netmap()
    stolen = ["10.77.0.0/24", "127.0.0.0/8", "fd77::/64", "fe80::/10", "::1/128"]
    lane.node.cli("set", "--accept-routes")
    lane.delta({"PeersChanged": [peer | {"AllowedIPs": peer["Addresses"] + stolen}]})
    lane.says("route was left out: 10.77.0.0/24 .*and 4 more routes")
    assert any("and 4 more routes" in line for line in lane.node.status()["Health"])
    lane.stands()
    for family, claimed in (("-4", ("10.77.", "127.")), ("-6", ("fd77:", "fe80:", "::1"))):
        routes = lane.node.box.run("ip", family, "route", "show", "table", "52").stdout
        assert not any(line.startswith(claimed) for line in routes.splitlines())
    lane.node.cli("set", "--accept-routes=false")
    lane.faults.cut()
    lane.heals()


@case("addresses-that-are-routes")
def addresses_that_are_routes(lane):
    """A peer whose addresses are the internet, in halves or in parts: the user accepted no route."""
    peer = lane.peer_in_netmap()
    for stolen in (
        ["0.0.0.0/1", "128.0.0.0/1", "::/1", "8000::/1"],
        [f"{first}.0.0.0/8" for first in range(1, 224)] + ["2000::/3"],
        ["8.8.8.8/32", "10.96.0.10/32", "2001:4860:4860::8888/128"],
        ["fd7a:115c:a1e0:b1a:0:1:a00:0/112", "100.96.0.0/16"],
    ):
        everything = peer["Addresses"] + stolen
        lane.delta({"PeersChanged": [peer | {"Addresses": everything, "AllowedIPs": everything}]})
        lane.stands()
        routed = {
            line.split()[0]
            for family in ("-4", "-6")
            for line in lane.node.box.run(
                "ip", family, "route", "show", "table", "52"
            ).stdout.splitlines()
        }
        own = {address.removesuffix("/32") for address in peer["Addresses"] if "." in address}
        assert (
            own
            <= routed
            <= own
            | {"fd7a:115c:a1e0::/48"}
            | {route for route in routed if route.startswith("100.") and "/" not in route}
        )
    lane.faults.cut()
    lane.heals()


@case("rules-of-another-program")
def rules_of_another_program(lane):
    """Another VPN's rule takes IPv6 packets before ours: health names it, and forgets it."""
    box = lane.node.box
    box.run("ip", "-6", "route", "add", "default", "dev", "lo", "table", "51820")
    rule = ("to", "fd7a:115c:a1e0::/48", "lookup", "51820", "priority", "101")
    box.run("ip", "-6", "rule", "add", *rule)
    wait_for(
        lambda: any("rule 101 (lookup 51820)" in line for line in lane.node.status()["Health"]),
        15,
        "health to name the rule",
    )
    lane.stands()
    box.run("ip", "-6", "rule", "del", *rule)
    lane.heals()


@case("deltas-by-the-thousand")
def deltas_by_the_thousand(lane):
    """For seconds, as fast as they are read: what comes after them comes, and traffic flows."""
    peer = lane.peer_in_netmap()
    flood = b"".join(
        message({"PeersChangedPatch": [{"NodeID": peer["ID"], "Online": online, "Cap": cap}]})
        for cap, online in enumerate([True, False] * 500, 100)
    )
    for _ in range(5):
        lane.faults.insert(flood, 2)
        assert lane.reaches()
    lane.delta({"PeersChangedPatch": [{"NodeID": peer["ID"], "Online": True}]})
    lane.live()
    assert lane.reaches()
    lane.flows()


@case("keep-alives-alone")
def keep_alives_alone(lane):
    """A session of nothing but keep-alives is no netmap, but what was known is kept."""
    lane.faults.maps(message({"KeepAlive": True}) * 3 + frame(b"") * 3)
    lane.faults.cut()
    lane.stands()
    lane.heals()


@case("silence")
def silence(lane):
    """What control says is late: traffic flows, and in the end it comes."""
    lane.faults.silence()
    lane.stands()
    lane.heals()


@cases({"a-slow-map": ("/machine/map",), "a-slow-key": ("/key",), "a-slow-upgrade": ("/ts2021",)})
def slow(lane, path):
    lane.faults.hold(path)
    lane.faults.rekey()
    lane.faults.cut()
    lane.stands()
    lane.heals()


@case("an-expired-key")
def an_expired_key(lane):
    """The netmap says that our key has expired; then, that an operator has extended it.

    No packet passes meanwhile; the connection goes on where it stood. The server behind the faults
    knows of no expiry, so it must not hear that the PeerAPI went: it would answer with a good node.
    """
    own = lane.netmap()["Node"]
    lane.faults.hold("/machine/map")
    lane.delta({"Node": own | {"KeyExpiry": "2020-01-01T00:00:00Z"}})
    lane.says("the node key has expired: log in again")
    lane.node.wait_state("NeedsLogin")
    lane.delta({"Node": own | {"KeyExpiry": "2100-01-01T00:00:00Z"}})
    lane.node.wait_running()
    lane.faults.clear()
    lane.held.wait_ticks(20, 30)
    lane.begin()
    lane.live()
    assert lane.reaches()
    lane.flows()


@case("maps-that-end")
def maps_that_end(lane):
    """Each session has a good map and then ends: it is begun again, but not without a pause."""
    netmap = message(lane.netmap())
    lane.faults.answer("/machine/map", 200, netmap)
    lane.faults.cut()
    lane.says("ended the map session")
    lane.stands()
    assert 2 <= lane.faults.asked("/machine/map") <= LINES
    lane.heals()


@case("pings-and-questions")
def pings_and_questions(lane):
    """Requests to the node itself, by the hundred, to nowhere."""
    for number in range(100):
        lane.delta({"PingRequest": {"URL": f"http://127.0.0.1:1/{number}", "Types": "disco"}})
        lane.delta({"PingRequest": {"URL": f"http://127.0.0.1:1/{number}", "URLIsNoise": False}})
        lane.delta({"PingRequest": {"Types": "c2n", "URL": "/c2n", "Payload": "/w=="}})
    lane.live()
    assert lane.reaches()
    lane.flows()


@case("pings-to-what-is-not-control")
def pings_to_what_is_not_control(lane):
    """URLs that name a service of the node's own machine: nothing is sent there."""
    inside = lane.node.box.start("nc", "-l", "-v", "-k", "-n", "127.0.0.1", "8081", log="inside")
    inside.wait_text("[Ll]istening", 10)
    url = "http://127.0.0.1:8081/latest/meta-data"
    lane.delta({"PingRequest": {"URL": url}})
    lane.delta({"PingRequest": {"URL": f"{url}/2", "Types": "disco", "IP": "100.64.0.9"}})
    lane.delta({"PingRequest": {"URL": f"{url}/3", "Types": "TSMP", "IP": lane.peer_address()}})
    lane.live()
    assert "onnect" not in inside.text(), inside.text()
    inside.stop()


# All of it


class Lanes:
    """Runs cases in threads, as many at once as there are lanes."""

    def __init__(self, lab):
        self.lab = lab
        self.control = Control(lab.box("control"))
        self.peer = Pillion(lab.box("peer"), self.control).join()
        App(self.peer.box)
        faults = lab.box("faults")
        boxes = [lab.box(f"lane{number}") for number in range(LANES)]
        self.pool = ThreadPoolExecutor(LANES)
        self.free = queue.Queue()
        for lane in self.pool.map(
            lambda n: Lane(self.control, self.peer, faults, boxes[n], n), range(LANES)
        ):
            self.free.put(lane)

    def run(self, function, arguments):
        lane = self.free.get()
        try:
            lane.begin()
            function(lane, *arguments)
        except BaseException as error:
            error.add_note(f"The node's log of this case:\n{lane.log()[-4000:]}")
            lane.faults.clear()
            raise
        finally:
            self.free.put(lane)


# One lab for all of them, so one test process.
pytestmark = pytest.mark.xdist_group("control_faults")


@pytest.fixture(scope="module")
def outcomes(request, tmp_path_factory):
    """A future of each case that was asked for."""
    chosen = [
        item.callspec.params["name"]
        for item in request.session.items
        if item.fspath == request.fspath
    ]
    with Lab(tmp_path_factory.mktemp("lab"), hermetic=True) as lab:
        lanes = Lanes(lab)
        yield {name: lanes.pool.submit(lanes.run, *CASES[name]) for name in chosen}
        lanes.pool.shutdown(cancel_futures=True)
        if is_sanitized(build_folder()):
            lab.stop_built()
    check_folder(lab.folder)


@pytest.mark.parametrize("name", CASES)
def test_it_goes_on_and_heals(outcomes, name):
    outcomes[name].result(180)
