# SPDX-License-Identifier: BSD-3-Clause
"""docs/funnel.md as it stands: the compose file of the VPS, the serve configuration, the policy.

client ──▶ vps (pillion, pillion ingress) ──tailnet──▶ web (pillion) ──▶ its app
"""

import json
import re
import subprocess

import pytest
import yaml
from lab import App, Control, Pillion, wait_for
from lab.app import PORT
from lab.build import ROOT, build_folder
from lab.funnel import METRICS, Vps, fetch

PAGE = (ROOT / "docs/funnel.md").read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", PAGE, re.M | re.S)
COMPOSE = yaml.safe_load(next(text for kind, text in BLOCKS if kind == "yaml"))["services"]
SERVE, POLICY = (json.loads(text) for kind, text in BLOCKS if kind == "json")
DOMAIN = "tail.example.com"


class ComposedVps(Vps):
    """The two services of the compose file, in one box; paths and the server are the lab's."""

    def __init__(self, box, control, *flags, tags=("tag:ingress",)):
        self.variables = dict(COMPOSE["pillion"]["environment"])
        for name in ("TS_AUTHKEY", "TS_LOGIN_SERVER", "TS_STATE_DIR", "TS_SOCKET"):
            assert self.variables.pop(name)
        assert COMPOSE["pillion"]["hostname"] == "ingress"
        super().__init__(box, control, *flags, tags=tags, environment=self.variables)

    def start(self):
        words = COMPOSE["ingress"]["entrypoint"]
        assert words[:2] == ["pillion", "ingress"]
        words = [word.replace("/socket/tailscaled.sock", str(self.node.socket)) for word in words]
        since = len(self.process.text()) if self.process else 0
        self.process = self.box.start(
            *[build_folder() / "pillion", *words[1:]],
            *[f"--metrics=127.0.0.1:{METRICS}", *self.flags],
            log="ingress",
            capabilities="net_bind_service",
        )
        self.process.wait_text(r"serves: at=\[::\]:80", 15, since)


class Site:
    def __init__(self, lab, policy=None):
        self.control = Control(lab.box("control"))
        self.control.stop()
        self.control.start(f"--base-domain={DOMAIN}")
        if policy:
            self.control.set_policy(policy)
        self.lab = lab
        self.client = lab.box("client")
        self.authority = self.client.folder / "ca.pem"
        self.authority.write_text(self.control.cli("ca")["certificate"])
        self.vps = ComposedVps(lab.box("ingress"), self.control)

    def web(self, name="web", tags=("tag:web",), **environment):
        """A node with the serve configuration of the page, in front of its app."""
        node = Pillion(self.lab.box(name), self.control)
        app = App(node.box)
        file = node.box.folder / "serve.json"
        text = json.dumps(SERVE)
        assert f"127.0.0.1:{PORT}" in text
        file.write_text(text)
        node.start(self.control.auth_key(tags=tags), {"TS_SERVE_CONFIG": str(file), **environment})
        node.wait_running()
        node.app = app
        return node

    def page(self, name="web", *options):
        return fetch(self.client, self.vps, f"https://{name}.{DOMAIN}/", self.authority, *options)

    def wait_page(self, node):
        """With a certificate by the authority of the server: the node's own serves until then."""
        wait_for(
            lambda: self.page(node.hostname) == node.app.page,
            40,
            lambda: "\n".join(
                [
                    self.page(node.hostname),
                    self.vps.process.describe(),
                    node.process.describe(),
                ]
            ),
        )


def test_the_recipe(lab):
    """Without a policy: the node names the ingress. Clients trust the authority of the server."""
    site = Site(lab)
    one = site.web("web", TS_INGRESS_FROM="ingress")
    two = site.web("shop", TS_INGRESS_FROM="ingress")
    site.vps.wait_names(2)
    site.wait_page(one)
    site.wait_page(two)
    assert "unrecognized name" in site.page("nobody")
    moved = fetch(site.client, site.vps, f"http://web.{DOMAIN}/a", site.authority, "-i")
    assert f"Location: https://web.{DOMAIN}/a" in moved
    # A node that goes away: an answer at once, and a line that names it.
    two.kill()
    assert "internal error" in site.page("shop")
    assert f"the node of shop.{DOMAIN} can't be reached" in site.vps.process.text()
    # The ingress again, and its node again: nothing has to be done elsewhere.
    assert site.vps.process.stop(20)[0] == 0
    site.vps.start()
    site.vps.wait_names(2)
    assert site.page() == one.app.page
    site.vps.node.stop()
    site.vps.node.start(None, site.vps.variables)
    site.vps.node.wait_running()
    site.wait_page(one)


def test_the_policy(lab):
    """The server grants the ingress; a node without the tag is not funnelled to."""
    site = Site(lab, POLICY)
    node = site.web()
    site.vps.wait_names(1)
    site.wait_page(node)
    site.control.set_policy({**POLICY, "grants": POLICY["grants"][1:]})
    wait_for(lambda: "unrecognized name" in site.page(), 20, "the grant to end")


def hostinfo(site, name="web"):
    """What the node of the VPS is told of another one."""
    command = ["curl", "-sS", "--unix-socket", site.vps.node.socket]
    url = "http://local-tailscaled.sock/localapi/v0/netmap"
    peers = json.loads(site.vps.box.run(*command, url).stdout)["Peers"]
    (found,) = (peer["Hostinfo"] for peer in peers if peer["Name"].startswith(f"{name}."))
    return found


def test_an_ingress_that_is_trusted_by_its_tag(lab):
    """`TS_INGRESS_FROM=tag:ingress`; a node that names another tag refuses it."""
    site = Site(lab)
    node = site.web("web", TS_INGRESS_FROM="tag:ingress")
    site.web("shop", TS_INGRESS_FROM="tag:other,ingress2")
    site.vps.wait_names(2)
    site.wait_page(node)
    assert "unrecognized name" in site.page("shop")
    # The flags of Hostinfo, by way of the server.
    assert hostinfo(site)["IngressEnabled"] is True
    assert hostinfo(site)["Services"]
    text = json.dumps(SERVE)
    file = node.box.folder / "serve.json"
    file.write_text(text.replace(':443": true', ':443": false'))
    wait_for(lambda: hostinfo(site).get("WireIngress"), 20, lambda: str(hostinfo(site)))
    assert not hostinfo(site).get("IngressEnabled")
    site.vps.wait_names(1)
    assert "unrecognized name" in site.page()
    file.write_text(json.dumps({k: v for k, v in SERVE.items() if k != "AllowFunnel"}))
    wait_for(lambda: not hostinfo(site).get("WireIngress"), 20, lambda: str(hostinfo(site)))


def test_the_ingress_has_no_rights(lab):
    """As in the compose file, where it may not change its user."""
    site = Site(lab)
    status = site.vps.box.run("cat", f"/proc/{site.vps.process.pid}/status").stdout
    for wanted in (r"CapEff:\s+0+$", r"CapBnd:\s+0*400$", r"NoNewPrivs:\s+1", r"Seccomp:\s+2"):
        assert re.search(wanted, status, re.MULTILINE), status


@pytest.mark.parametrize("flag", re.findall(r"`(--[a-z-]+=[^` ]+)`", PAGE))
def test_flags_of_the_page(flag):
    """Each flag that the page names with a value is taken."""
    done = subprocess.run(
        [build_folder() / "pillion-server", "ingress", flag, "--help"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "usage: pillion ingress" in done.stdout, done.stderr
