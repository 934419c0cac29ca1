# SPDX-License-Identifier: BSD-3-Clause
"""The authority of `pillion control` for names of nodes, and what a policy says of Funnel."""

import json
import re
import stat
import subprocess
from http import HTTPStatus

import pytest
from lab.loopback_control import joined
from lab.waiting import wait_for
from test_control_features import rpc

DOMAIN = "t.test"
NAME = f"control-join.{DOMAIN}"
PATH = "/machine/pillion/certificate"
CAPABILITY = "pillion/cap/certificate"
FUNNEL_PORTS = "https://tailscale.com/cap/funnel-ports?ports="


def openssl(*arguments, text=None):
    done = subprocess.run(
        ["openssl", *map(str, arguments)], input=text, capture_output=True, text=True, timeout=20
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


class Request:
    """A key and a certificate request."""

    def __init__(self, folder, *names, key=("ec", "-pkeyopt", "ec_paramgen_curve:P-256")):
        self.key = folder / f"key{len(list(folder.iterdir()))}.pem"
        extension = ["-addext", f"subjectAltName={','.join(names)}"] if names else []
        self.csr = openssl(
            *["req", "-new", "-newkey", *key, "-nodes", "-keyout", self.key, "-subj", "/CN=x"],
            *extension,
        )


@pytest.fixture
def domain(server):
    """The server, below its own domain."""
    server.stop()
    server.start(f"--base-domain={DOMAIN}")
    return server


def sign(node, csr, **more):
    return rpc(node, "POST", PATH, {"Version": 138, "NodeKey": "$NODEKEY", "CSR": csr, **more})


def later(node, csr):
    """As sign(), when the pause between two certificates is over."""
    answers = []

    def ask():
        answers.append(sign(node, csr))
        return answers[-1][0] != HTTPStatus.TOO_MANY_REQUESTS

    wait_for(ask, 20, "the pause to end")
    return answers[-1]


def test_a_node_gets_a_certificate_for_its_name(domain, nodes, tmp_path):
    node = joined(nodes(domain.cli("keys", "create")["key"]))
    assert CAPABILITY in domain.cli("debug", "netmap", "control-join")["Node"]["CapMap"]
    request = Request(tmp_path, f"DNS:{NAME}")
    status, body = sign(node, request.csr)
    assert status == HTTPStatus.OK, body
    chain = json.loads(body)["Chain"]
    assert chain.count("BEGIN CERTIFICATE") == 2
    leaf, authority = tmp_path / "leaf.pem", tmp_path / "ca.pem"
    leaf.write_text(chain)
    authority.write_text(domain.cli("ca")["certificate"])
    assert "OK" in openssl(
        *["verify", "-x509_strict", "-purpose", "sslserver", "-verify_hostname", NAME],
        *["-CAfile", authority, leaf],
    )
    # It is for the key of the request, and for a month.
    assert openssl("x509", "-in", leaf, "-noout", "-pubkey") == openssl(
        "pkey", "-in", request.key, "-pubout"
    )
    text = openssl("x509", "-in", leaf, "-noout", "-text")
    assert f"DNS:{NAME}\n" in text and "CA:FALSE" in text
    openssl("x509", "-in", leaf, "-noout", "-checkend", 28 * 86400)
    # One node can't have the server sign all the time.
    assert sign(node, request.csr)[0] == HTTPStatus.TOO_MANY_REQUESTS
    assert f"signed a certificate node=1 name={NAME}" in domain.log.read_text()


def test_the_authority_may_sign_names_of_the_domain_alone(domain, tmp_path):
    """Its certificate says so, and OpenSSL refuses what it would sign beyond."""
    folder = domain.state
    key, certificate = (folder / f"nodes-ca.{DOMAIN}.{end}" for end in ("key", "pem"))
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    text = openssl("x509", "-in", certificate, "-noout", "-text")
    assert re.search(r"Name Constraints: critical\s+Permitted:\s+DNS:t\.test\s+Excluded:", text)
    assert "CA:TRUE, pathlen:0" in text
    other = Request(tmp_path, "DNS:evil.example")
    extensions, request, leaf = (tmp_path / name for name in ("ext", "csr", "evil.pem"))
    extensions.write_text("subjectAltName=DNS:evil.example\n")
    request.write_text(other.csr)
    openssl(
        *["x509", "-req", "-in", request, "-CA", certificate, "-CAkey", key, "-out", leaf],
        *["-extfile", extensions, "-days", "1"],
    )
    done = subprocess.run(
        ["openssl", "verify", "-CAfile", certificate, leaf], capture_output=True, text=True
    )
    assert done.returncode != 0 and "permitted subtree violation" in done.stderr + done.stdout


def test_what_is_not_signed(domain, nodes, tmp_path):
    key = domain.cli("keys", "create", "--reusable")["key"]
    node, other = joined(nodes(key)), joined(nodes(key))
    good = Request(tmp_path, f"DNS:{NAME}")
    bits = ("rsa:1024",)
    bad = HTTPStatus.BAD_REQUEST
    for csr, words in (
        ("", "CSR"),
        ("nonsense", "not a certificate request"),
        (Request(tmp_path, f"DNS:control-join-1.{DOMAIN}").csr, f"only a certificate for {NAME}"),
        (Request(tmp_path, f"DNS:{NAME}", f"DNS:*.{DOMAIN}").csr, f"only a certificate for {NAME}"),
        (Request(tmp_path, "IP:127.0.0.1").csr, f"only a certificate for {NAME}"),
        (Request(tmp_path, f"DNS:{NAME}", key=bits).csr, "not a certificate request"),
    ):
        status, text = sign(node, csr)
        assert status == bad and words in text, (csr, text)
    # A request that another key signed.
    lines = good.csr.splitlines()
    mine = Request(tmp_path, f"DNS:{NAME}").csr.splitlines()
    forged = "\n".join([*lines[:-3], *mine[-3:]]) + "\n"
    assert sign(node, forged)[0] == bad
    # Another's node key is of no use on this machine.
    assert sign(node, good.csr, NodeKey=other.registered())[0] == HTTPStatus.NOT_FOUND
    assert rpc(node, "GET", PATH)[0] == HTTPStatus.METHOD_NOT_ALLOWED
    # A name is not needed, and a name in other letters is the same.
    assert sign(node, Request(tmp_path).csr)[0] == HTTPStatus.OK
    assert later(node, Request(tmp_path, f"DNS:{NAME.upper()}").csr)[0] == HTTPStatus.OK


def test_the_authority_stays(domain, nodes):
    """A restart keeps it, another domain has another one, and a broken file is reported."""
    before = domain.cli("ca")
    assert before["domain"] == DOMAIN
    domain.stop()
    domain.start()
    assert domain.cli("ca") == before
    domain.stop()
    domain.start("--base-domain=other.test")
    assert domain.cli("ca")["sha256"] != before["sha256"]
    domain.stop()
    domain.start(f"--base-domain={DOMAIN}")
    assert domain.cli("ca") == before
    domain.stop()
    (domain.state / f"nodes-ca.{DOMAIN}.key").write_text("")
    domain.begin()
    assert domain.process.wait(20) == 1
    assert "nodes-ca.t.test.key can't be used together" in domain.log.read_text()


def test_a_policy_lets_nodes_funnel(domain, nodes):
    """The attribute brings what clients look for: 'https' and the ports."""
    joined(nodes(domain.cli("keys", "create")["key"]))

    def capabilities():
        return domain.cli("debug", "netmap", "control-join")["Node"]["CapMap"]

    assert "funnel" not in capabilities() and "https" not in capabilities()
    domain.cli("policy", "set", "-", stdin=json.dumps(_policy("funnel")))
    assert {"funnel", "https", f"{FUNNEL_PORTS}443,8443,10000"} <= set(capabilities())
    # Ports of the operator's own take the place of these.
    domain.cli("policy", "set", "-", stdin=json.dumps(_policy("funnel", f"{FUNNEL_PORTS}443")))
    assert {"funnel", f"{FUNNEL_PORTS}443"} <= set(capabilities())
    assert f"{FUNNEL_PORTS}443,8443,10000" not in capabilities()


def _policy(*attributes):
    return {
        "grants": [{"src": ["*"], "dst": ["*"], "ip": ["*"]}],
        "nodeAttrs": [{"target": ["*"], "attr": list(attributes)}],
    }
