# SPDX-License-Identifier: BSD-3-Clause
"""ACME by a public port (--acme-listen): the authority looks at the machine's own address."""

import subprocess

import pytest
from lab.build import build_folder
from lab.cert_site import NAME, Site
from lab.waiting import wait_for

SLOW = {"PEBBLE_VA_NOSLEEP": "0", "PEBBLE_VA_SLEEPTIME": "6", "PEBBLE_WFE_NONCEREJECT": "0"}


@pytest.fixture
def site(lab):
    return Site(lab, public=True)


def handshake(site, *options):
    """What a stranger sees at the public port."""
    return site.world.laptop.box.run(
        *["openssl", "s_client", "-connect", f"{site.node.box.v4}:443", *options],
        stdin="",
        check=False,
    ).stdout


def test_tls_alpn_01(site):
    """By port alone; the served port 443 of the tailnet works beside it, and strangers see nothing."""
    pebble = site.pebble(environment=SLOW)
    site.serve({**pebble.environment(), "TS_ACME_LISTEN": "0.0.0.0:443"})

    def ready():
        for options in ([], ["-servername", NAME], ["-servername", NAME, "-alpn", "h2"]):
            assert "BEGIN CERTIFICATE" not in handshake(site, *options)
        other = handshake(site, "-servername", "x.example", "-alpn", "acme-tls/1")
        assert "BEGIN CERTIFICATE" not in other
        return "Pebble" in site.issuer()

    wait_for(ready, 60, site.node.process.describe)
    site.wait_certificate()
    assert pebble.issued() == 1
    # After the order: closed at once, for the authority too.
    assert "BEGIN CERT" not in handshake(site, "-servername", NAME, "-alpn", "acme-tls/1")


def test_http_01(site):
    """404 for all else; nothing of the served port 80 is reached."""
    pebble = site.pebble(environment=SLOW)
    site.serve({**pebble.environment(), "TS_ACME_LISTEN": f"{site.node.box.v4}:80"})
    fetch = ["curl", "-s", "--max-time", "5", "-o", "/dev/null", "-w", "%{http_code}"]

    def code(path, *options):
        url = f"http://{site.node.box.v4}{path}"
        return site.world.laptop.box.run(*fetch, *options, url, check=False).stdout

    paths = ["/", "/.well-known/acme-challenge/", "/.well-known/acme-challenge/../../"]

    def ready():
        for path in paths:
            assert code(path, "--path-as-is", "-H", f"Host: {NAME}") in ("404", "000")
        return "Pebble" in site.issuer()

    wait_for(ready, 60, site.node.process.describe)
    site.wait_certificate()
    assert [code(path) for path in paths] == ["404"] * 3
    assert code("/", "-X", "POST", "-d", "x") == "404"
    assert site.served.fetch("http://NAME/") == "plain"
    # Strangers who say nothing, and more than there is room for.
    script = (
        "import socket\n"
        f"held = [socket.create_connection(({site.node.box.v4!r}, 80)) for _ in range(400)]\n"
        "for s in held: s.sendall(b'GET / HT')\n"
        "held[0].settimeout(30)\n"
        "print(held[0].recv(9))\n"
    )
    done = site.world.laptop.box.run("python3", "-c", script, check=False)
    assert "b''" in done.stdout or "reset" in done.stderr, done
    assert code("/") == "404"


def test_without_a_served_port(site):
    """`cert` alone needs no HTTPS in the tailnet."""
    pebble = site.pebble(environment=SLOW)
    more = {**pebble.environment(), "TS_ACME_LISTEN": "[::]:443"}
    site.node.start(site.control.auth_key(), more)
    site.node.wait_running()
    # No process, no port.
    assert handshake(site, "-servername", NAME) == "" or "CONNECTED" not in handshake(site)
    site.node.pillion("cert", f"--cert-file={site.node.box.folder}/a.crt", NAME)
    assert "BEGIN CERTIFICATE" in (site.node.box.folder / "a.crt").read_text()
    assert pebble.issued() == 1


def test_services_killed(site):
    """The listener is the supervisor's: the next process shows proofs at it."""
    pebble = site.pebble(environment=SLOW)
    pebble.process.kill()
    site.serve({**pebble.environment(), "TS_ACME_LISTEN": "0.0.0.0:443"})
    site.wait_problem("no certificate by ACME")
    for _ in range(3):
        pid = site.served.services_pid()
        subprocess.run(["kill", "-9", str(pid)], check=True)
        wait_for(lambda old=pid: site.served.services_pid() != old, 10, "another process")
    pebble.start()
    site.wait_certificate()


def test_a_taken_port(site):
    """The end, with a reason and a remedy."""
    holder = site.node.box.start("nc", "-lk", "0.0.0.0", "443", log="nc")
    wait_for(holder.running, 5, "nc")
    pillion = build_folder() / "pillion"
    folder = site.node.box.folder
    done = site.node.box.run(
        *[pillion, "daemon", f"--statedir={folder}", f"--socket={folder}/s"],
        "--acme-listen=0.0.0.0:443",
        check=False,
    )
    assert done.returncode == 1 and "port 443 of --acme-listen" in done.stderr
    for flags, text in (
        (["--acme-listen=x"], "is no address and port"),
        (["--acme-listen=0.0.0.0:8443"], "which challenge is meant"),
        (["--acme-listen=0.0.0.0:443", "--acme-challenge=off"], "is for the challenges"),
    ):
        done = site.node.box.run(
            pillion, "daemon", f"--statedir={folder}", f"--socket={folder}/s", *flags, check=False
        )
        assert done.returncode == 2 and text in done.stderr, done
