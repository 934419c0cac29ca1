# SPDX-License-Identifier: BSD-3-Clause
"""Seven nodes on a coordination server, and the netmap that each of them gets under a policy.

Both servers run on 127.0.0.1, with nodes that have no tunnel. Netmaps are brought into one
form, so that those of two servers with the same meaning are equal.
"""

import contextlib
import ipaddress
import json
import urllib.error
import urllib.request
from functools import partial

from lab.headscale import LoopbackHeadscale, relays
from lab.loopback_control import JoinedNode, LoopbackControl, joined
from lab.waiting import wait_for

# In the order in which they join: so the first is 100.64.0.1.
NODES = {
    "laptop": "alice",
    "phone": "alice",
    "desk": "bob",
    "web": "tag:server",
    "db": "tag:db",
    "router": "tag:router",
    "exit": "tag:exit",
}
ROUTES = {
    "router": ("192.168.2.0/24", "10.33.0.0/16"),
    "exit": ("0.0.0.0/0", "::/0"),
}
TAGS = ("server", "db", "router", "exit", "dns", "ci", "iac", "other")
OPEN = {
    "tagOwners": {f"tag:{tag}": [] for tag in TAGS},
    "acls": [{"action": "accept", "src": ["*"], "dst": ["*:*"]}],
}
DEFAULT_PROTOCOLS = (1, 6, 17, 58)

RELAY = """
regions:
  999:
    regionid: 999
    regioncode: none
    regionname: none
    nodes: [{name: a, regionid: 999, hostname: relay.test, ipv4: 192.0.2.1}]
"""


class Headscale(LoopbackHeadscale):
    """`headscale serve`, with the policy in its database."""

    def __init__(self, folder):
        (folder / "derp.yaml").write_text(RELAY)
        super().__init__(
            folder,
            users=("alice", "bob"),
            derp=relays(folder / "derp.yaml"),
            policy={"mode": "database"},
            tuning={"node_store_batch_timeout": "5ms", "batch_change_delay": "5ms"},
        )
        self.ca = None
        self.api_key = self.cli("apikeys", "create")

    def key(self, owner):
        if owner.startswith("tag:"):
            return self.auth_key("--tags", owner, user="alice")
        return self.auth_key(user=owner)

    def approve(self, number, routes):
        done = self.run(
            *["nodes", "approve-routes", "--identifier", str(number), "--routes", ",".join(routes)]
        )
        assert done.returncode == 0, done.stderr

    def set_policy(self, text):
        """None, or why it was refused."""
        request = urllib.request.Request(
            self.url + "/api/v1/policy",
            json.dumps({"policy": text}).encode(),
            {"Authorization": f"Bearer {self.api_key}"},
            method="PUT",
        )
        try:
            with urllib.request.urlopen(request, timeout=30):
                return None
        except urllib.error.HTTPError as refusal:
            return refusal.read().decode()


class Pillion(LoopbackControl):
    """`pillion-server control serve`."""

    def __init__(self, folder):
        super().__init__(folder)
        self.start()

    def key(self, owner):
        whose = ["--tags", owner] if owner.startswith("tag:") else ["--user", owner]
        return self.cli("keys", "create", *whose)["key"]

    def approve(self, number, routes):
        assert self.cli("nodes", "approve-routes", f"100.64.0.{number}", ",".join(routes))

    def set_policy(self, text):
        done = self.run("policy", "set", "-", stdin=text)
        return None if done.returncode == 0 else done.stderr


class Tailnet:
    """The joined nodes; netmaps() returns the netmap of each under the policy of put()."""

    def __init__(self, server, folder):
        self.server = server
        self.nodes = {}
        self.count = 0
        assert server.set_policy(json.dumps(OPEN)) is None
        for number, (name, owner) in enumerate(NODES.items(), 1):
            node = joined(JoinedNode(server, server.key(owner), folder))
            self.nodes[name] = node
            node.say(f"hostname {name}")
            if name in ROUTES:
                node.say("route " + " ".join(ROUTES[name]))
                wait_for(partial(self.offers, number, ROUTES[name]), 20, node.text)
                server.approve(number, ROUTES[name])

    def offers(self, number, routes):
        """Whether the server has heard that a node offers to route them."""
        return any(
            f"100.64.0.{number}/32" in one["Addresses"]
            and set(routes) <= set(one["Hostinfo"].get("RoutableIPs") or [])
            for one in self.map("laptop").get("Peers") or []
        )

    def map(self, name):
        node = self.nodes[name]
        since = len(node.text())
        node.say("map")

        def answer():
            lines = node.text()[since:].splitlines(keepends=True)
            return next((x for x in lines if " map {" in x and x.endswith("\n")), None)

        return json.loads(wait_for(answer, 10, node.text, 0.002).split(" map ", 1)[1])

    def put(self, text):
        """None, or why the server refuses the policy."""
        self.count += 1
        self.marker = f"corpus-{self.count}"
        self.has_ssh = '"ssh"' in text
        return self.server.set_policy(mark(text, self.marker))

    def netmaps(self):
        """{node: its netmap in the one form}, once each node has the current policy."""
        found = {
            name: one_form(wait_for(partial(self.marked, name), 30, self.nodes[name].text))
            for name in NODES
        }
        # Without the section Headscale sends no rules, and its nodes keep the last ones.
        return found if self.has_ssh else {n: one | {"ssh": []} for n, one in found.items()}

    def marked(self, name):
        found = self.map(name)
        return found if self.marker in (found["Node"].get("CapMap") or {}) else None

    def close(self):
        for node in self.nodes.values():
            node.close()
        self.server.end()


def mark(text, marker):
    """The policy with an attribute for every node, which marks the netmaps of this policy."""
    end = text.rindex("}")
    attribute = f'{{"target": ["*"], "attr": ["{marker}"]}}'
    if '"nodeAttrs": [' in text:
        return text.replace('"nodeAttrs": [', f'"nodeAttrs": [{attribute}, ', 1)
    comma = "" if text[:end].rstrip().endswith((",", "{")) else ","
    return f'{text[:end]}{comma} "nodeAttrs": [{attribute}]}}'


# One form


def one_form(found):
    peers = {}
    for one in found.get("Peers") or []:
        number = next(a for a in one["Addresses"] if "." in a).split("/")[0].rsplit(".", 1)[1]
        peers[list(NODES)[int(number) - 1]] = sorted(
            set(one.get("AllowedIPs") or []) - set(one["Addresses"])
        )
    served = served_by(found)
    rules, capabilities = [], {}
    for rule in all_rules(found):
        sources = merged(part for text in rule.get("SrcIPs") or [] for part in intervals(text))
        for where in rule.get("DstPorts") or []:
            ports = where["Ports"]["First"], where["Ports"]["Last"]
            for net in clipped(intervals(where["IP"]), served):
                for protocol in rule.get("IPProto") or DEFAULT_PROTOCOLS:
                    rules.append(((protocol, *net), ports, sources))
        for grant in rule.get("CapGrant") or []:
            names = dict.fromkeys(grant.get("Caps") or []) | (grant.get("CapMap") or {})
            for name, values in names.items():
                for prefix in grant["Dsts"]:
                    key = (name, json.dumps(values or []), prefix)
                    capabilities[key] = merged((*capabilities.get(key, ()), *sources))
    return {
        "peers": peers,
        "filter": spread(rules),
        "capabilities": {key: value for key, value in capabilities.items() if value},
        "ssh": ssh_rules(found.get("SSHPolicy")),
    }


def served_by(found):
    """What a packet that arrives can be for: own addresses, and outside the tailnet routes."""
    own = [part for text in found["Node"]["Addresses"] for part in intervals(text)]
    routes = [
        part
        for text in found["Node"]["Hostinfo"].get("RoutableIPs") or []
        for part in intervals(text)
    ]
    for text in ("100.64.0.0/10", "fd7a:115c:a1e0::/48"):
        ((version, first, last),) = intervals(text)
        routes = [
            (v, low, high)
            for v, begin, end in routes
            for low, high in (
                ((begin, min(end, first - 1)), (max(begin, last + 1), end))
                if v == version
                else ((begin, end),)
            )
            if low <= high
        ]
    return merged(own + routes)


def clipped(some, served):
    for version, first, last in some:
        for v, begin, end in served:
            if v == version and max(first, begin) <= min(last, end):
                yield version, max(first, begin), min(last, end)


def spread(rules):
    """Rules (protocol and addresses, ports, sources) as what holds for each address and port.

    Where neighbours are under the same rules they are one, however the rules were written.
    """
    out = []
    for protocol, version in sorted({rule[0][:2] for rule in rules}):
        some = [
            (net[2], net[3], ports, sources)
            for net, ports, sources in rules
            if net[:2] == (protocol, version) and sources
        ]
        for first, last in cells([(rule[0], rule[1]) for rule in some]):
            here = [rule[2:] for rule in some if rule[0] <= first and last <= rule[1]]
            ports = []
            for low, high in cells([rule[0] for rule in here]):
                sources = merged(
                    part
                    for rule in here
                    if rule[0][0] <= low and high <= rule[0][1]
                    for part in rule[1]
                )
                if ports and ports[-1][1] == low - 1 and ports[-1][2] == sources:
                    low = ports.pop()[0]
                if sources:
                    ports.append((low, high, sources))
            before = out[-1] if out else None
            if before and before[:2] == (protocol, version) and before[3:] == (first - 1, ports):
                first = out.pop()[2]
            if ports:
                out.append((protocol, version, first, last, ports))
    return out


def cells(ranges):
    """The parts that the ends of ranges make."""
    ends = sorted({first for first, _ in ranges} | {last + 1 for _, last in ranges})
    return [(first, after - 1) for first, after in zip(ends, ends[1:], strict=False)]


def all_rules(found):
    rules = list(found.get("PacketFilter") or [])
    for some in (found.get("PacketFilters") or {}).values():
        rules += some or []
    return rules


def intervals(text):
    """The addresses that it means, as (version, first, last)."""
    if text == "*":
        return intervals("0.0.0.0/0") + intervals("::/0")
    if "-" in text:
        first, last = (ipaddress.ip_address(end) for end in text.split("-"))
        return [(first.version, int(first), int(last))]
    net = ipaddress.ip_network(text)
    return [(net.version, int(net[0]), int(net[-1]))]


def merged(some):
    """As few intervals as possible."""
    out = []
    for version, first, last in sorted(set(some)):
        if out and out[-1][0] == version and first <= out[-1][2] + 1:
            out[-1] = (version, out[-1][1], max(last, out[-1][2]))
        else:
            out.append((version, first, last))
    return tuple(out)


def ssh_rules(policy):
    """The SSH rules in order: sources, users, and whether they need a check."""
    rules = []
    for rule in (policy or {}).get("rules") or []:
        addresses = frozenset(
            who["nodeIP"] for who in rule.get("principals") or [] if who.get("nodeIP")
        )
        users = tuple(sorted((rule.get("sshUsers") or {}).items()))
        checked = bool(rule["action"].get("holdAndDelegate"))
        if addresses:
            rules.append((addresses, users, checked))
    return rules


@contextlib.contextmanager
def tailnets(folder):
    """Headscale's and ours."""
    made = []
    try:
        for kind in (Headscale, Pillion):
            (folder / kind.__name__).mkdir()
            made.append(Tailnet(kind(folder / kind.__name__), folder / kind.__name__))
        yield made
    finally:
        for one in made:
            one.close()
