# SPDX-License-Identifier: BSD-3-Clause
"""Stock tailscaled and pillion in one tailnet of our own coordination server.

    control (pillion control) ─┬─ switch ─┬─ one (tailscaled)   two (tailscaled)
    relay (stock derper)  ─────┘          └─ sidecar (pillion), each with an app

The other interop tests run against it too: pytest tests/interop --control=pillion.
"""

import contextlib

import pytest
from lab import App, Control, Derper, Pillion, Tailscaled, wait_for
from lab.app import url
from lab.peers import peer


@pytest.fixture
def control(lab):
    return Control(lab.box("control"), Derper(lab.box("relay")))


def stock(lab, control, name):
    return Tailscaled(lab.box(name), control).join()


def fetches(client, server, timeout=20):
    page = wait_for(
        lambda: client.box.curl(url(server.addresses()[0]), timeout=5),
        timeout,
        f"{client.hostname} to fetch from {server.hostname}",
    )
    return page == f"this is {server.box.name}\n"


def refused(client, server):
    """No connection; the peer itself may be unknown by now."""
    with contextlib.suppress(AssertionError):
        return not client.box.curl(url(server.addresses()[0]), timeout=3)
    return True


def test_stock_and_pillion_reach_each_other(lab, control):
    one, two = stock(lab, control, "one"), stock(lab, control, "two")
    sidecar = Pillion(lab.box("sidecar"), control).join()
    nodes = [one, two, sidecar]
    for node in nodes:
        App(node.box)
    for client in nodes:
        for server in nodes:
            if client is not server:
                client.wait_knows(server)
                assert fetches(client, server)
    # By the relay, then directly.
    lab.close_udp(one.box, two.box)
    one.wait_path(two, "relay")
    lab.open(one.box, two.box)
    one.wait_path(two, "direct")


def test_a_policy_takes_hold_at_once(lab, control):
    """Stock and pillion nodes lose and regain access by the policy, while they are connected."""
    one = stock(lab, control, "one")
    sidecar = Pillion(lab.box("sidecar"), control)
    sidecar.start(control.auth_key(tags=("tag:web",)))
    sidecar.wait_running()
    for node in (one, sidecar):
        App(node.box)
    assert fetches(one, sidecar)
    assert fetches(sidecar, one)
    accept = {"action": "accept", "src": ["autogroup:member"], "dst": ["tag:web:8080"]}
    control.set_policy({"tagOwners": {"tag:web": ["lab@"]}, "acls": [accept]})
    wait_for(lambda: refused(sidecar, one), 20, "the sidecar to lose the laptop's app")
    assert fetches(one, sidecar)
    control.set_policy({"tagOwners": {"tag:web": ["lab@"]}, "acls": []})
    wait_for(lambda: not one.knows(sidecar), 20, "the peers to be gone")
    control.set_policy({"acls": [{"action": "accept", "src": ["*"], "dst": ["*:*"]}]})
    assert fetches(one, sidecar)
    assert fetches(sidecar, one)
    # One that does not hold its own tests is refused, and the last one stays.
    wrong = {
        "tagOwners": {"tag:web": []},
        "acls": [],
        "tests": [{"src": "lab@", "accept": ["tag:web:80"]}],
    }
    with pytest.raises(AssertionError):
        control.set_policy(wrong)
    assert fetches(one, sidecar)


def test_expiry_and_deletion(lab, control):
    one, two = stock(lab, control, "one"), stock(lab, control, "two")
    one.wait_knows(two)
    control.expire("two")
    two.wait_state("NeedsLogin")
    two.up(control.auth_key(), "--force-reauth")
    two.wait_running()
    assert sorted(control.nodes()) == ["one", "two"]
    one.wait_knows(two)
    control.delete("two")
    wait_for(lambda: not one.knows(two), 10, "one to lose two")
    # A stock node that was deleted goes on asking until somebody logs it in again.
    two.up(control.auth_key(), "--force-reauth")
    one.wait_knows(two)


def test_login_by_url(lab, control):
    """`tailscale up` without a key: the operator lets it in, and the command ends."""
    node = Tailscaled(lab.box("one"), control)
    node.start()
    up = node.box.start(
        *[peer("tailscale"), f"--socket={node.socket}"],
        *["up", f"--login-server={control.url}", "--accept-dns=false"],
        log="up",
        environment={"SSL_CERT_FILE": str(control.authority.certificate)},
    )
    login = up.wait_text(r"/register/([0-9a-f]{32})", 20).group(1)
    control.cli("nodes", "approve", login, "--user", "alice")
    node.wait_running()
    (made,) = control.nodes().values()
    assert made["user"] == "alice"


def test_the_server_dies_and_comes_back(lab, control):
    """kill -9: traffic goes on, and both nodes get the changes after the restart."""
    one = stock(lab, control, "one")
    sidecar = Pillion(lab.box("sidecar"), control).join()
    for node in (one, sidecar):
        App(node.box)
    assert fetches(one, sidecar)
    control.stop()
    assert fetches(one, sidecar)
    assert fetches(sidecar, one)
    control.start()
    two = stock(lab, control, "two")
    one.wait_knows(two, 60)
    sidecar.wait_knows(two, 60)
