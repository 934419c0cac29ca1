# SPDX-License-Identifier: BSD-3-Clause
"""Certificates by ACME: Pebble is the authority, BIND has the zone."""

import contextlib
import json
import os
import re
import signal
import subprocess
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from lab import Tailscaled, wait_for
from lab.build import build_folder
from lab.cert_site import CONFIG, NAME, ZONE, Site
from lab.certs import EAB_ID, EAB_KEY, KEY_NAME, SECRET, Front
from lab.network import PYTHON
from lab.peers import peer
from lab.served import Served
from lab.waiting import Timeout


@pytest.fixture
def site(lab):
    return Site(lab)


def test_dns_01_by_an_update_of_the_zone(site):
    """The order, the record, the certificate, the record's end; five restarts cost no other one."""
    pebble = site.pebble(environment={"PEBBLE_WFE_NONCEREJECT": "30"})
    site.serve({**pebble.environment(), **site.names.environment()})
    site.wait_certificate()
    wait_for(lambda: not site.names.lookup(f"_acme-challenge.{NAME}"), 20, "the record to go")
    folder = site.node.state / "certs"
    stored = {path.name: path.stat().st_mode & 0o777 for path in folder.iterdir()}
    assert stored == dict.fromkeys(("acme-account.key.pem", f"{NAME}.crt", f"{NAME}.key"), 384)
    for _ in range(5):
        site.restart()
        site.wait_certificate()
    assert pebble.issued() == 1


def test_http_01_at_the_served_port_80(site):
    pebble = site.pebble()
    site.serve({**pebble.environment(), "TS_ACME_CHALLENGE": "http-01"})
    site.wait_certificate()
    path = "/.well-known/acme-challenge/x"
    assert site.served.fetch(f"http://NAME{path}") == "plain"


def test_tls_alpn_01_at_the_served_port_443(site):
    pebble = site.pebble()
    site.serve({**pebble.environment(), "TS_ACME_CHALLENGE": "tls-alpn-01"})
    site.wait_certificate()
    # Without an order under way there is nothing to see.
    ask = ["openssl", "s_client", "-connect", f"{site.served.addresses[0]}:443"]
    done = site.world.laptop.box.run(
        *ask, "-servername", NAME, "-alpn", "acme-tls/1", stdin="", check=False
    )
    assert "no application protocol" in done.stderr


def test_the_command_cert(site, tmp_path):
    """Ours and the official one: the same files, words and exit codes; --ca has no key."""
    pebble = site.pebble()
    site.serve({**pebble.environment(), **site.names.environment()})
    node = site.node
    files = [node.box.folder / name for name in ("app.crt", "app.key")]
    flags = [f"--cert-file={files[0]}", f"--key-file={files[1]}"]
    official = peer("tailscale")
    for command in (
        [build_folder() / "pillion", "cert", f"--socket={node.socket}"],
        [official, f"--socket={node.socket}", "cert"],
    ):
        done = node.box.run(*command, *flags, NAME)
        assert done.stdout == f"Wrote public cert to {files[0]}\nWrote private key to {files[1]}\n"
        assert [path.stat().st_mode & 0o777 for path in files] == [0o644, 0o600]
        again = node.box.run(*command, *flags, "--min-validity=24h", NAME)
        assert again.stdout == (
            f"Public cert unchanged at {files[0]}\nPrivate key unchanged at {files[1]}\n"
        )
        assert x509.load_pem_x509_certificate(
            files[0].read_bytes()
        ).public_key().public_numbers() == (
            serialization.load_pem_private_key(files[1].read_bytes(), None)
            .public_key()
            .public_numbers()
        )
        other = node.box.run(*command, "other.example.com", check=False)
        assert other.returncode != 0 and "invalid domain" in other.stderr
        for path in files:
            path.unlink()
    assert pebble.issued() == 1
    # Longer than the authority's certificates live: no order, which could not help.
    long = node.box.run(
        *[build_folder() / "pillion", "cert", f"--socket={node.socket}", *flags],
        *["--min-validity=9000h", NAME],
        check=False,
    )
    assert long.returncode == 1 and "valid for that long" in long.stderr
    assert pebble.issued() == 1
    authority = node.pillion("cert", "--ca").stdout
    assert "PRIVATE" not in authority
    assert x509.load_pem_x509_certificate(authority.encode())
    state = json.loads(node.pillion("status", "--json").stdout)["Certificate"]
    assert (state["Domain"], state["Source"]) == (NAME, "acme")
    assert len(state["SHA256"]) == len(state["AuthoritySHA256"]) == 64


def test_a_certificate_without_a_served_port(site):
    """The process is started for it, and ends again when nobody asks."""
    pebble = site.pebble()
    site.node.start(site.control.auth_key(), {**pebble.environment(), **site.names.environment()})
    site.node.wait_running()
    folder = site.node.box.folder
    done = site.node.pillion("cert", "--key-file=-", "--cert-file=", NAME)
    assert "BEGIN EC PRIVATE KEY" in done.stdout
    site.node.pillion("cert", f"--cert-file={folder}/a.crt", NAME)
    assert pebble.issued() == 1
    assert "BEGIN CERTIFICATE" in (folder / "a.crt").read_text()


def test_set_dns_through_the_control_server(site):
    """The DNS hook of `pillion control` writes to BIND."""
    hook = site.control.box.folder / "hook"
    hook.write_text(
        f"#!/bin/sh\nprintf 'server {site.names.box.v4}\\nupdate add %s 60 TXT %s\\nsend\\n'"
        f' "$2" "$3" | nsupdate -y hmac-sha256:{KEY_NAME}:{SECRET}\n'
    )
    hook.chmod(0o755)
    site.control.stop()
    site.control.start(f"--base-domain={ZONE}", f"--dns-hook={hook}")
    pebble = site.pebble()
    site.serve(pebble.environment())
    site.wait_certificate()
    assert pebble.issued() == 1
    assert site.names.lookup(f"_acme-challenge.{NAME}")


def test_an_external_account(site):
    keys = {"externalAccountBindingRequired": True, "externalAccountMACKeys": {EAB_ID: EAB_KEY}}
    pebble = site.pebble(keys)
    more = {**pebble.environment(), **site.names.environment()}
    site.serve(more)
    site.wait_problem("TS_ACME_EAB_KID")
    secret = site.node.box.folder / "eab"
    secret.write_text(EAB_KEY + "\n")
    site.environment |= {"TS_ACME_EAB_KID": EAB_ID, "TS_ACME_EAB_HMAC": f"file:{secret}"}
    site.restart()
    site.wait_certificate()


def test_a_wrong_tsig_key(site):
    """The reason is in health; the right key, in the watched file, ends it."""
    pebble = site.pebble()
    key = site.node.box.folder / "tsig"
    key.write_text(f"{KEY_NAME}:d3Jvbmc=\n")
    site.serve(
        {
            **pebble.environment(),
            **site.names.environment(),
            "TS_ACME_DNS_KEY": f"file:{key}",
        }
    )
    site.wait_problem("the key's secret is wrong")
    key.write_text(f'key "{KEY_NAME}" {{\n algorithm hmac-sha256;\n secret "{SECRET}";\n}};\n')
    site.wait_certificate()
    assert pebble.issued() == 1
    environment = Path(f"/proc/{site.node.process.pid}/environ").read_bytes()
    assert SECRET.encode() not in environment


def test_secrets_leave_the_environment(site):
    pebble = site.pebble()
    site.serve({**pebble.environment(), **site.names.environment()})
    site.wait_certificate()
    environment = Path(f"/proc/{site.node.process.pid}/environ").read_bytes()
    assert b"TS_ACME_DNS_KEY=" in environment and SECRET.encode() not in environment


def test_renewal_without_a_gap(site):
    """At the time that the authority suggests; each request meanwhile is answered, and trusted."""
    pebble = site.pebble({"profiles": {"default": {"description": "short", "validityPeriod": 30}}})
    site.serve({**pebble.environment(), **site.names.environment()})
    site.wait_certificate()
    first = pebble.issued()
    address = site.served.addresses[0]
    fetch = ["curl", "-sS", "--cacert", pebble.root, "--connect-to", f"{NAME}::{address}:"]

    def renewed():
        done = site.world.laptop.box.run(*fetch, f"https://{NAME}/", check=False)
        if done.stdout != "hello":
            raise Timeout(done.stderr)
        return pebble.issued() >= first + 2

    wait_for(renewed, 120, site.node.process.describe)
    assert "renewalInfo" in pebble.process.text()


def test_a_directory_that_is_down_and_comes_back(site):
    pebble = site.pebble()
    pebble.process.kill()
    site.serve({**pebble.environment(), **site.names.environment()})
    site.wait_problem("no certificate by ACME")
    pebble.start()
    site.wait_certificate()
    wait_for(lambda: "ACME" not in site.health(), 10, "health to be well")


BUSY = """
import http.server, ssl, sys
class Busy(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(429)
        self.send_header("Retry-After", "7200")
        body = b'{"type":"urn:ietf:params:acme:error:rateLimited","detail":"slow down"}'
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
server = http.server.HTTPServer(("0.0.0.0", 14000), Busy)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[1], sys.argv[2])
server.socket = context.wrap_socket(server.socket, server_side=True)
print("serving", flush=True)
server.serve_forever()
"""


def test_a_rate_limit_is_respected(site):
    box = site.world.laptop.box
    files = site.control.authority.issue(f"{box.name}.lab", box.v4, box.v6)
    busy = box.start(PYTHON, "-c", BUSY, *files, log="busy")
    busy.wait_text("^serving", 10)
    more = {"TS_ACME_DIRECTORY_URL": f"https://{box.name}.lab:14000/dir"}
    site.serve({**more, **site.names.environment()})
    site.wait_problem("slow down (rateLimited)")
    (pause,) = re.findall(r"The next try is in (\d+) s", site.node.process.text())
    assert 7200 <= int(pause) < 8000
    # A command does not hurry it.
    done = site.node.box.run(
        build_folder() / "pillion", "cert", f"--socket={site.node.socket}", NAME, check=False
    )
    assert done.returncode == 1 and "The next try is in 7" in done.stderr
    assert busy.text().count("GET /dir") == 1


def test_services_killed_in_the_middle_of_an_order(site):
    pebble = site.pebble()
    site.serve({**pebble.environment(), **site.names.environment()})
    wait_for(lambda: site.names.lookup(f"_acme-challenge.{NAME}"), 30, "the record")
    os.kill(site.served.services_pid(), signal.SIGKILL)
    site.wait_certificate(120)  # the interrupted order counts as one that failed
    site.restart()
    site.wait_certificate()
    assert pebble.issued() == 1


def test_a_full_disk(site):
    """The certificate serves; it is stored when there is room, and not ordered again."""
    pebble = site.pebble()
    state = site.node.state
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", state], check=True)
    try:
        site.node.start(site.control.auth_key(), {})
        site.node.wait_running()
        site.node.stop()
        with contextlib.suppress(OSError), (state / "filler").open("wb", buffering=0) as filler:
            while True:
                filler.write(b"x" * 4096)
        site.served = Served.__new__(Served)
        file = site.node.box.folder / "serve.json"
        file.write_text(json.dumps(CONFIG))
        site.environment = {
            "TS_SERVE_CONFIG": str(file),
            **pebble.environment(),
            **site.names.environment(),
        }
        site.node.start(None, site.environment)
        site.node.wait_running()
        site.served.addresses = site.node.addresses()
        site.wait_certificate()
        assert "not stored" in site.node.process.text()
        (state / "filler").unlink()
        wait_for((state / "certs" / f"{NAME}.crt").exists, 90, "the certificate to be stored")
        site.restart()
        site.wait_certificate()
        assert pebble.issued() == 1
        site.node.stop()
    finally:
        subprocess.run(["umount", "-l", state], check=True)


def test_a_volume_of_the_official_node(site):
    """It is adopted and given back: three nodes, one certificate."""
    hook = site.control.box.folder / "hook"
    hook.write_text(
        f"#!/bin/sh\nprintf 'server {site.names.box.v4}\\nupdate add %s 60 TXT %s\\nsend\\n'"
        f' "$2" "$3" | nsupdate -y hmac-sha256:{KEY_NAME}:{SECRET}\n'
    )
    hook.chmod(0o755)
    site.control.stop()
    site.control.start(f"--base-domain={ZONE}", f"--dns-hook={hook}")
    pebble = site.pebble()
    front = Front(pebble)
    trusted = site.node.box.folder / "trusted.pem"
    authorities = (site.control.authority.certificate, pebble.root)
    trusted.write_text("".join(path.read_text() for path in authorities))
    more = {"TS_DEBUG_ACME_DIRECTORY_URL": front.directory, "SSL_CERT_FILE": str(trusted)}
    official = Tailscaled(site.node.box, site.control)
    files = [site.node.box.folder / name for name in ("c", "k")]

    def get():
        official.cli("cert", f"--cert-file={files[0]}", f"--key-file={files[1]}", NAME)
        return files[0].read_text()

    official.start(site.control.auth_key(), more)
    official.wait_running()
    first = get()
    official.stop()
    site.node.start(None, more)
    site.node.wait_running()
    ours = site.node.pillion("cert", "--cert-file=-", "--key-file=", NAME).stdout
    assert ours == first
    site.node.stop()
    official.start(None, more)
    official.wait_running()
    assert get() == first
    assert pebble.issued() == 1


def test_the_authority_of_the_control_server(site):
    """Without ACME, where policy lets control sign; stored as any other."""
    allow = [{"action": "accept", "src": ["*"], "dst": ["*:*"]}]
    grant = [{"target": ["*"], "attr": ["pillion/cap/certificate"]}]
    site.control.set_policy({"acls": allow, "nodeAttrs": grant})
    site.serve({})
    stored = site.node.state / "certs" / f"{NAME}.crt"
    wait_for(stored.exists, 30, site.node.process.describe)
    authority = site.control.box.folder / "control" / f"nodes-ca.{ZONE}.pem"
    address = site.served.addresses[0]
    fetch = ["curl", "-sS", "--cacert", authority, "--connect-to", f"{NAME}::{address}:"]
    done = site.world.laptop.box.run(*fetch, f"https://{NAME}/")
    assert done.stdout == "hello"
    status = json.loads(site.node.pillion("status", "--json").stdout)
    assert status["Certificate"]["Source"] == "control"
