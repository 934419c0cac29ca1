# SPDX-License-Identifier: BSD-3-Clause
"""Funnel of stock nodes: by `pillion ingress`, and `pillion control` in the place of Tailscale's.

client ──▶ vps (pillion ingress) ──PeerAPI──▶ one, two (tailscaled): `tailscale funnel` ──▶ app
"""

import pytest
from lab import Acme, App, Control, Tailscaled, wait_for
from lab.app import PORT
from lab.funnel import DOMAIN, POLICY, Vps, fetch, start_tls_app


@pytest.fixture
def control(lab):
    """Acts as Tailscale's own server: certificate domains, set-dns, Funnel."""
    made = Control(lab.box("control"))
    made.acme = Acme(lab.box("acme"), made.authority)
    made.stop()
    made.start(f"--dns-hook={made.acme.set_record}", f"--base-domain={DOMAIN}")
    made.set_policy(POLICY)
    return made


def stock(lab, control, name):
    node = Tailscaled(lab.box(name), control)
    node.start(
        control.auth_key(tags=("tag:web",)), {"TS_DEBUG_ACME_DIRECTORY_URL": control.acme.directory}
    )
    node.wait_running()
    return node


def test_two_stock_nodes_funnel_tcp(lab, control):
    """`tailscale funnel --tcp` is content with our server, and each name leads to its node."""
    vps = Vps(lab.box("vps"), control)
    client = lab.box("client")
    nodes = [stock(lab, control, name) for name in ("one", "two")]
    for node in nodes:
        start_tls_app(node.box, f"{node.hostname}.{DOMAIN}", control.authority)
        node.cli("funnel", "--bg", "--tcp=443", "tcp://127.0.0.1:9443")
    vps.wait_names(2)
    for node in nodes:
        name = f"{node.hostname}.{DOMAIN}"
        page = fetch(client, vps, f"https://{name}/", control.authority.certificate)
        assert page == f"this is {name}\n", vps.process.describe()
    # One stops: its name is gone, the other's is not.
    nodes[0].cli("funnel", "reset")
    vps.wait_names(1)
    text = fetch(client, vps, f"https://one.{DOMAIN}/", control.authority.certificate)
    assert "unrecognized name" in text
    text = fetch(client, vps, f"https://two.{DOMAIN}/", control.authority.certificate)
    assert text == f"this is two.{DOMAIN}\n"
    # Its machine goes: the client hears that at once, and the log names the node.
    nodes[1].kill()
    text = fetch(client, vps, f"https://two.{DOMAIN}/", control.authority.certificate)
    assert "internal error" in text, text
    assert f"the node of two.{DOMAIN} can't be reached" in vps.process.text()


def test_a_stock_node_funnels_https(lab, control):
    """Its certificate by ACME and our set-dns; the page reached from outside of the tailnet."""
    vps = Vps(lab.box("vps"), control)
    client = lab.box("client")
    one = stock(lab, control, "one")
    App(one.box)
    one.cli("funnel", "--bg", str(PORT))
    name = f"one.{DOMAIN}"
    vps.wait_names(1)
    root = control.acme.root()
    page = wait_for(
        lambda: (got := fetch(client, vps, f"https://{name}/", root)) == "this is one\n" and got,
        90,
        lambda: fetch(client, vps, f"https://{name}/", root) + vps.process.describe(),
    )
    assert page == "this is one\n"
    assert name in control.acme.records.read_text()


def test_without_the_grant_the_node_refuses(lab, control):
    control.set_policy({**POLICY, "grants": [{"src": ["*"], "dst": ["*"], "ip": ["*"]}]})
    vps = Vps(lab.box("vps"), control)
    one = stock(lab, control, "one")
    start_tls_app(one.box, f"one.{DOMAIN}", control.authority)
    one.cli("funnel", "--bg", "--tcp=443", "tcp://127.0.0.1:9443")
    vps.wait_names(1)
    url = f"https://one.{DOMAIN}/"
    assert "unrecognized name" in fetch(lab.box("client"), vps, url, control.authority.certificate)
    assert f"the node of one.{DOMAIN} refused" in vps.process.text()
    assert "HTTP 403" in vps.process.text()
