# SPDX-License-Identifier: BSD-3-Clause
"""A tailnet moves from `pillion control` to Headscale by one changed URL; names stay.

control (pillion control) ─┬─ switch ─┬─ sidecar (pillion, its app)
other (Headscale)  ────────┘          └─ laptop (tailscaled)
"""

import pytest
from lab import App, Control, Headscale, Pillion, Tailscaled, wait_for
from lab.app import url


@pytest.fixture
def roots(lab):
    """What trusts both servers."""
    return {"SSL_CERT_FILE": str(lab.folder / "roots.pem")}


def test_nodes_move_to_headscale(lab, roots):
    control, other = Control(lab.box("control")), Headscale(lab.box("other"))
    certificates = [made.authority.certificate.read_text() for made in (control, other)]
    (lab.folder / "roots.pem").write_text("".join(certificates))
    laptop = Tailscaled(lab.box("laptop"), control)
    laptop.start(control.auth_key(), roots)
    sidecar = Pillion(lab.box("sidecar"), control)
    sidecar.start(control.auth_key(), roots)
    for node in (laptop, sidecar):
        node.wait_running()
    laptop.wait_knows(sidecar)
    app = App(sidecar.box)

    sidecar.stop()
    for node in (laptop, sidecar):
        node.headscale = other
    sidecar.start(other.auth_key(), roots)
    # Reusable: a stock node that has to register again may use the key twice.
    laptop.up(other.auth_key(reusable=True), "--force-reauth")
    for node in (laptop, sidecar):
        node.wait_running()
    laptop.wait_knows(sidecar)
    assert sorted(other.nodes()) == ["laptop", "sidecar"]
    page = wait_for(
        lambda: laptop.box.curl(url(sidecar.addresses()[0])), 30, "the laptop to fetch by the new"
    )
    assert page == app.page
