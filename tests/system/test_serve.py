# SPDX-License-Identifier: BSD-3-Clause
"""TS_SERVE_CONFIG: a node serves HTTPS, HTTP and TCP in front of its app."""

import errno
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import time
import urllib.parse
from pathlib import Path

import pytest
from lab import wait_for
from lab.app import PORT, App
from lab.build import ROOT, build_folder, is_sanitized
from lab.network import PYTHON
from lab.served import CONFIG, MIRROR, MIRROR_PORT, Served, headers, start_mirror

# The configurations that the pages show.
EXAMPLES = [
    block
    for page in ("README.md", "docs/serve.md")
    for block in re.findall(r"^```json\n(.*?)^```", (ROOT / page).read_text(), re.M | re.S)
]


@pytest.fixture
def served(world):
    made = Served(world, CONFIG)
    made.wait("http://NAME/", world.sidecar_app.page)
    return made


@pytest.fixture
def mirror(world):
    return start_mirror(world.sidecar.box)


def test_https_http_and_tcp_in_front_of_the_app(served):
    """All three, over IPv4 and IPv6; HTTPS by an authority that the client trusts."""
    page = served.world.sidecar_app.page
    for family in (0, 1):
        assert served.fetch("http://NAME/hello", family=family) == "hello"
        assert served.fetch("https://NAME/", family=family) == page
        assert served.fetch("http://NAME:5432/", family=family) == page


@pytest.mark.parametrize("example", range(len(EXAMPLES)))
def test_the_examples_of_the_pages(world, example):
    assert len(EXAMPLES) == 2
    made = Served(world, EXAMPLES[example])
    made.wait("https://NAME/", world.sidecar_app.page)
    if example == 1:
        assert made.fetch("https://NAME/hello") == "hello"


def test_a_neighbour_does_not_reach_a_service(served):
    """By the tailnet address, over the LAN: only the tunnel leads to a served port."""
    neighbour = served.world.lab.box("neighbour")
    neighbour.run("ip", "route", "add", served.addresses[0], "via", served.node.box.v4)
    assert "hello" not in served.fetch("http://NAME/hello", client=neighbour)


@pytest.mark.parametrize("held", [False, True])
def test_own_connections(served, held):
    """Of the app or a health check to its own name, whether the app has the port itself or not."""
    own = served.node.box
    if held:
        for port in (80, 443):
            App(own, port)
    page = served.world.sidecar_app.page
    for family in (0, 1):
        assert served.fetch("http://NAME/hello", family=family, client=own) == "hello"
        assert served.fetch("https://NAME/", family=family, client=own) == page
        assert served.fetch("http://NAME:5432/", family=family, client=own) == page
        assert served.fetch("http://NAME/hello", family=family) == "hello"
    served.node.kill_engine()
    assert served.fetch("http://NAME/hello", client=own) == "hello"


def test_a_connection_of_the_app_gets_no_served_port(served):
    """Else its answers went to the service. The app may still hold the port itself."""
    port, others = 50003, 7
    own, peer = served.node.box, served.world.laptop
    served.change(
        {**CONFIG, "TCP": {**CONFIG["TCP"], str(port): {"TCPForward": f"127.0.0.1:{PORT}"}}}
    )
    page = served.world.sidecar_app.page
    for family, address in enumerate(peer.addresses()):
        own.sysctl("net.ipv4.ip_local_port_range", f"{port - 3} {port + 4}")
        script = (
            "import socket\n"
            f"held = [socket.create_connection(({address!r}, {PORT}), 20) for _ in range({others})]\n"
            "print(sorted(s.getsockname()[1] for s in held))\n"
            f"try: socket.create_connection(({address!r}, {PORT}), 20)\n"
            "except OSError as e: print(e.strerror)\n"
        )
        ports, error = own.run(PYTHON, "-c", script).stdout.splitlines()
        assert json.loads(ports) == [p for p in range(port - 3, port + 5) if p != port]
        assert error == "Cannot assign requested address"
        own.sysctl("net.ipv4.ip_local_port_range", "32768 60999")
        assert served.fetch(f"http://NAME:{port}/", family=family) == page
    App(own, port)
    assert served.fetch(f"http://NAME:{port}/") == page


def diverts(node):
    """The ports whose own connections are diverted."""
    chain = node.box.run("nft", "list", "table", "inet", "pillion", check=False).stdout
    return {int(port) for port in re.findall(r"dport (\d+) dnat", chain)}


def test_own_connections_end_with_the_port(served):
    """The port goes, the node goes down, the sidecar ends."""
    own = served.node.box
    wait_for(lambda: diverts(served.node) == {80, 443, 5432}, 10, "the rules")
    App(own, 5432)
    served.write({**CONFIG, "TCP": {"80": {"HTTP": True}}})
    wait_for(lambda: diverts(served.node) == {80}, 20, "a rule to go")
    assert served.fetch("http://NAME:5432/", client=own) == f"this is {own.name}\n"
    served.node.cli("down")
    wait_for(lambda: diverts(served.node) == set(), 20, "all rules to go")
    served.node.cli("up")
    wait_for(lambda: diverts(served.node) == {80}, 20, "the rule again")
    assert served.fetch("http://NAME/hello", client=own) == "hello"
    served.node.stop()
    assert "pillion" not in own.run("nft", "list", "tables").stdout


def test_a_deleted_link_is_served_again(served):
    """Another program deletes the TUN: a listener bound to it would never hear of a packet again."""
    served.node.box.run("ip", "link", "del", "tailscale0")
    served.wait("http://NAME/hello", "hello", 40)
    served.wait("https://NAME/", served.world.sidecar_app.page)
    assert served.fetch("http://NAME/hello", client=served.node.box) == "hello"


def test_own_connections_without_netfilter(served):
    """No rules, and health says what is missing; peers are served."""
    own = served.node.box

    def set_mode(mode):
        wanted = json.dumps({"NetfilterMode": mode, "NetfilterModeSet": True})
        own.run(
            *["curl", "-sSf", "--unix-socket", served.node.socket, "-X", "PATCH", "-d", wanted],
            "http://local-tailscaled.sock/localapi/v0/prefs",
        )

    def is_missing():
        return any("its own served ports" in line for line in served.node.status()["Health"] or [])

    assert not is_missing()
    set_mode(0)
    wait_for(is_missing, 20, "health")
    assert diverts(served.node) == set()
    assert served.fetch("http://NAME/hello") == "hello"
    served.write({})
    wait_for(lambda: not is_missing(), 20, "nothing to divert")
    served.write(CONFIG)
    wait_for(is_missing, 20, "health again")
    set_mode(2)
    wait_for(lambda: not is_missing(), 20, "health to be well")
    assert served.fetch("http://NAME/hello", client=own) == "hello"


def test_what_the_app_sees(served, mirror):
    """The request as it came, the peer's name and address; what a client claims of itself goes."""
    forged = [
        "--http1.1",
        *["-H", "Tailscale-User-Login: root@example.com", "-H", "tailscale_user_login: root"],
        *["-H", "X-Forwarded-For: 8.8.8.8", "-H", "Forwarded: for=8.8.8.8"],
        *["-H", "X-Forwarded-Proto: gopher", "-H", "Connection: X-Mine", "-H", "X-Mine: 1"],
    ]
    seen = served.seen("https://NAME/mirror/a%20b?c=d", *forged)
    assert (seen["method"], seen["target"]) == ("GET", "/a%20b?c=d")
    got = headers(seen)
    assert got["host"] == served.name
    assert got["x-forwarded-for"] == served.world.laptop.addresses()[0]
    assert got["x-forwarded-host"] == served.name
    assert got["x-forwarded-proto"] == "https"
    assert "root" not in json.dumps(seen["headers"])
    assert "8.8.8.8" not in json.dumps(seen["headers"])
    assert "x-mine" not in got
    whois = json.loads(served.node.cli("whois", "--json", got["x-forwarded-for"]).stdout)
    assert got.get("tailscale-user-login") == whois["UserProfile"]["LoginName"]


def test_an_owner_who_changes(served, mirror):
    """No request after the change has the name of the owner before it."""
    control, laptop = served.world.headscale, served.world.laptop
    own = laptop.addresses()[0]
    control.set_policy(
        {"tagOwners": {"tag:ci": []}, "acls": [{"action": "accept", "src": ["*"], "dst": ["*:*"]}]}
    )
    served.wait("http://NAME/hello", "hello")
    for tags, named in (("tag:ci", False), ("", True), ("tag:ci", False)):
        before = headers(served.seen("https://NAME/mirror/x"))
        assert ("tailscale-user-login" in before) == (not named)
        control.cli("nodes", "tag", "laptop", tags)

        def is_known(named=named):
            peers = served.node.status()["Peer"].values()
            return any(own in p["TailscaleIPs"] and bool(p.get("Tags")) != named for p in peers)

        wait_for(is_known, 10, "the node to know of it")
        after = headers(served.seen("https://NAME/mirror/x"))
        assert ("tailscale-user-login" in after) == named


def test_mounts_redirects_and_texts(served, mirror):
    assert served.seen("https://NAME/base/x?y")["target"] == "/deep/x?y"
    assert served.seen("https://NAME/base")["target"] == "/deep/"
    assert served.fetch("https://NAME/basement") == served.world.sidecar_app.page
    where = served.fetch(
        "https://NAME/old/page?x=1", "-o", "/dev/null", "-w", "%{http_code} %{redirect_url}"
    )
    assert where == f"301 https://{served.name}/new/old/page?x=1"
    assert "404" in served.fetch(
        "http://NAME/", "-H", "Host: other.example.com", "-o", "/dev/null", "-w", "%{http_code}"
    )


@pytest.mark.parametrize("size", [0, 1, 100_000, 5_000_000])
@pytest.mark.parametrize("chunked", [False, True])
def test_bodies_arrive_whole(served, mirror, tmp_path, size, chunked):
    body = os.urandom(size)
    (tmp_path / "body").write_bytes(body)
    options = ["-H", "Transfer-Encoding: chunked"] if chunked else []
    seen = served.seen("https://NAME/mirror/", "--data-binary", f"@{tmp_path}/body", *options)
    assert seen["length"] == size
    assert seen["sha256"] == hashlib.sha256(body).hexdigest()


def test_answers_of_every_kind(served, mirror):
    code = ["-o", "/dev/null", "-w", "%{http_code} %{size_download}"]
    assert served.fetch("https://NAME/mirror/chunks/10").count("data: ") == 10
    assert served.fetch("https://NAME/mirror/bytes/3000000", *code) == "200 3000000"
    assert served.fetch("https://NAME/mirror/x", "--head", *code) == "200 0"
    assert served.fetch("https://NAME/mirror/status/204", *code) == "204 0"
    assert served.fetch("https://NAME/mirror/status/304", *code) == "304 0"
    assert served.fetch("https://NAME/mirror/hangup", *code).startswith("502")
    assert (
        served.fetch("https://NAME/mirror/early", "--data-binary", "x" * 10000, *code) == "413 10"
    )


def test_an_upgrade_passes_bytes_both_ways(served, mirror):
    script = (
        "import socket, sys\n"
        f"s = socket.create_connection(({served.addresses[0]!r}, 80))\n"
        f"s.sendall(b'GET /up HTTP/1.1\\r\\nHost: {served.name}\\r\\n'\n"
        "          b'Connection: Upgrade\\r\\nUpgrade: shout\\r\\n\\r\\nhello')\n"
        "f = s.makefile('rb')\n"
        "print(f.readline().decode().strip())\n"
        "while f.readline() not in (b'\\r\\n', b''):\n"
        "    pass\n"
        "print(f.read(5).decode())\n"
        "s.sendall(b'again')\n"
        "print(f.read(5).decode())\n"
    )
    config = json.loads(json.dumps(CONFIG))
    config["Web"]["${TS_CERT_DOMAIN}:80"]["Handlers"]["/up"] = {
        "Proxy": f"http://127.0.0.1:{MIRROR_PORT}/upgrade"
    }
    config["Web"]["${TS_CERT_DOMAIN}:80"]["Handlers"]["/hello"] = {"Text": "changed"}
    served.write(config)
    served.wait("http://NAME/hello", "changed")
    done = served.world.laptop.box.run(PYTHON, "-c", script)
    assert done.stdout.split("\n")[:3] == ["HTTP/1.1 101 Switching Protocols", "HELLO", "AGAIN"]


def test_a_broken_file_changes_nothing(served):
    """The last good one stays, status and log say where the fault is, and the mended one is taken."""
    served.write('{"TCP": {"80": {"HTTP": true},}}')
    served.node.process.wait_text("TS_SERVE_CONFIG is not used: line 1, column", 20)
    assert served.fetch("http://NAME/hello") == "hello"
    assert any("line 1" in line for line in served.node.status()["Health"])
    assert served.node.process.running()
    served.write({"TCP": {"80": {"HTTPS": True, "HTTP": True}}})
    served.node.process.wait_text("TCP.80: a port serves exactly one of", 20)
    served.write(
        {
            "TCP": {"80": {"HTTP": True}},
            "Web": {"${TS_CERT_DOMAIN}:80": {"Handlers": {"/": {"Text": "new"}}}},
        }
    )
    served.wait("http://NAME/", "new")
    assert not any("line 1" in line for line in served.node.status()["Health"])
    done = served.fetch("http://NAME:5432/", "-o", "/dev/null", "-w", "%{http_code}")
    assert done.startswith("000"), "the port is not served any more"
    served.write("")
    served.node.process.wait_text("TS_SERVE_CONFIG is not used: line 1", 20)
    served.file.unlink()
    served.node.process.wait_text("it can't be read: No such file", 20)
    assert served.fetch("http://NAME/") == "new"


def test_services_are_replaced_in_place(served):
    """SIGKILL: the next process serves the same listeners; no connection is refused meanwhile."""
    os.kill(served.services_pid(), signal.SIGKILL)
    for _ in range(10):
        assert "refused" not in served.fetch("http://NAME/hello").lower()
    served.wait("http://NAME/hello", "hello")
    served.wait("https://NAME/", served.world.sidecar_app.page)


def test_a_new_engine_serves_on(served):
    served.node.kill_engine()
    served.wait("http://NAME/hello", "hello", 30)
    served.wait("https://NAME/", served.world.sidecar_app.page, 30)


def test_the_app_restarts_without_a_lost_request(served, mirror):
    """A request that comes while nothing listens waits for the app."""
    mirror.kill()
    began = time.monotonic()
    waiting = served.world.laptop.box.start(*served.command("https://NAME/mirror/x"), log="waiting")
    time.sleep(1)
    again = served.world.sidecar.box.start(PYTHON, MIRROR, MIRROR_PORT, log="mirror-2")
    again.wait_text("^serving", 10)
    waiting.wait_text('"target": "/x"', 15)
    assert time.monotonic() - began > 1


def test_an_app_that_is_not_there(served):
    text = served.fetch("https://NAME/mirror/x")
    assert "502" in text
    assert f"nothing listens at http://127.0.0.1:{MIRROR_PORT}" in text


def test_no_services_without_a_port(world):
    """The process exists only while something is served."""
    served = Served(world, {})
    with pytest.raises(AssertionError, match="no services"):
        served.services_pid()
    served.write(CONFIG)
    served.wait("http://NAME/hello", "hello")
    served.write({})
    wait_for(lambda: "hello" not in served.fetch("http://NAME/hello"), 20, "the port to close")


def raw(text, how=""):
    """The path of the mirror's answer with these bytes."""
    return "/mirror/raw/" + urllib.parse.quote(text, safe="") + how


def status_of(pid):
    text = Path(f"/proc/{pid}/status").read_text()
    return dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)


@pytest.mark.parametrize(("capabilities", "user"), [(None, "65533"), ("net_admin", "0")])
def test_the_services_process_is_confined(world, capabilities, user):
    """Under its own user where the supervisor may change users; without any right in both modes."""
    world.sidecar.capabilities = capabilities or world.sidecar.capabilities
    served = Served(world, CONFIG)
    served.wait("https://NAME/", world.sidecar_app.page)
    pid = served.services_pid()
    for task in Path(f"/proc/{pid}/task").iterdir():
        status = status_of(task.name)
        for name in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
            assert int(status[name], 16) == 0, name
        assert (status["Seccomp"], status["NoNewPrivs"]) == ("2", "1")
        assert status["Uid"].split() == [user] * 4


def test_a_body_is_never_a_request(served, mirror):
    """A client can't have Content-Length removed, which would make its body the next request."""
    hidden = "GET /mirror/hidden HTTP/1.1\r\nHost: x\r\nTailscale-User-Login: root\r\n\r\n"
    got = served.say(
        f"POST /mirror/a HTTP/1.1\r\nHost: {served.name}\r\nConnection: Content-Length, close\r\n"
        f"Content-Length: {len(hidden)}\r\n\r\n{hidden}".encode(),
        port=443,
        tls=True,
    )
    assert got.count("HTTP/1.1 200") == 1, got
    assert f'"length": {len(hidden)}' in got


def test_a_request_without_host(served, mirror):
    """HTTP/1.0 needs none: TLS has named the host."""
    pid = served.services_pid()
    for path in ("/old", "/mirror/x"):
        got = served.say(f"GET {path} HTTP/1.0\r\n\r\n".encode(), port=443, tls=True)
        assert served.name in got
    assert served.services_pid() == pid


def test_strange_answers_of_the_app(served, mirror):
    """None of them ends the services, or becomes the answer to another request."""
    pid = served.services_pid()
    endless = raw("HTTP/1.1 200 OK\r\n\r\nto the end", "?close")
    two = raw("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\naHTTP/1.1 200 OK\r\n")
    for _ in range(3):
        for path, answer in ((endless, "to the end"), (two, "a")):
            assert served.fetch(f"https://NAME{path}") == answer
            assert served.seen("https://NAME/mirror/next")["target"] == "/next"
    wrong = raw("HTTP/1.1 100 Continue\r\n\r\nnonsense\r\n\r\n")
    assert "invalid answer" in served.fetch(f"https://NAME{wrong}")
    unasked = raw("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n")
    body = f"POST {unasked} HTTP/1.1\r\nHost: {served.name}\r\nContent-Length: 5\r\n\r\na"
    got = served.say(body.encode(), b"bcde", port=443, tls=True, pause=1)
    assert "unasked" in got
    # Asked for by the client, but never by the app's side of it: HTTP is no protocol to switch to.
    to_http = raw("HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n")
    asks = f"GET {to_http} HTTP/1.1\r\nHost: {served.name}\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"
    assert served.say(asks.encode(), port=443, tls=True).startswith("HTTP/1.1 502")
    assert served.services_pid() == pid


def test_the_app_does_not_answer_tls(served):
    """A connection that is open but silent ends after a while, with a page."""
    served.node.box.start(
        *[PYTHON, "-c"],
        "import socket, time\ns = socket.create_server(('127.0.0.1', 8443))\nprint('up', flush=True)\n"
        "time.sleep(600)",
        log="silent",
    ).wait_text("^up", 10)
    config = json.loads(json.dumps(CONFIG))
    config["Web"]["${TS_CERT_DOMAIN}:443"]["Handlers"]["/silent"] = {
        "Proxy": "https+insecure://127.0.0.1:8443"
    }
    config["Web"]["${TS_CERT_DOMAIN}:443"]["Handlers"]["/trusted"] = {
        "Proxy": "https://127.0.0.1:8443"
    }
    served.change(config)
    pid = served.services_pid()
    assert "timed out" in served.fetch("https://NAME/trusted", "--max-time", "3")
    assert "502" in served.fetch("https://NAME/silent", "--max-time", "60")
    assert served.services_pid() == pid


def test_an_authority_that_is_removed_is_not_trusted(world, tmp_path):
    """An https:// target is verified by TS_CA_FILE as it is now."""
    pair = ["-keyout", tmp_path / "key", "-out", tmp_path / "certificate"]
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
        + ["-nodes", "-days", "9", "-subj", "/CN=app", "-addext", "subjectAltName=IP:127.0.0.1"]
        + pair,
        check=True,
        capture_output=True,
    )
    trusted = tmp_path / "trusted.pem"
    authorities = [world.headscale.authority.certificate, tmp_path / "certificate"]
    trusted.write_bytes(b"".join(Path(file).read_bytes() for file in authorities))
    world.sidecar.box.start(
        *[PYTHON, "-c"],
        "import http.server, ssl\n"
        "s = http.server.HTTPServer(('127.0.0.1', 8443), http.server.SimpleHTTPRequestHandler)\n"
        "c = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)\n"
        f"c.load_cert_chain({str(tmp_path / 'certificate')!r}, {str(tmp_path / 'key')!r})\n"
        "s.socket = c.wrap_socket(s.socket, server_side=True)\n"
        "print('up', flush=True)\ns.serve_forever()",
        log="https",
    ).wait_text("^up", 10)
    web = {"Handlers": {"/": {"Proxy": "https://127.0.0.1:8443"}}}
    config = {"TCP": {"80": {"HTTP": True}}, "Web": {"${TS_CERT_DOMAIN}:80": web}}
    served = Served(world, config, {"TS_CA_FILE": str(trusted)})
    status = ["-o", "/dev/null", "-w", "%{http_code}"]
    wait_for(lambda: served.fetch("http://NAME/", *status) == "200", 20, "the app's page")
    trusted.unlink()
    wait_for(lambda: served.fetch("http://NAME/", *status) == "502", 20, "no trust any more")


def test_a_target_keeps_its_place_in_no_other_configuration(served, mirror):
    """What was begun under an older configuration never reaches a target of the newer one."""
    closed, web = "127.0.0.1:9", "${TS_CERT_DOMAIN}:80"
    tls = {"TCPForward": closed, "TerminateTLS": "${TS_CERT_DOMAIN}"}
    old = {
        "TCP": {"80": {"HTTP": True}, "9443": tls},
        "Web": {web: {"Handlers": {"/": {"Proxy": f"http://{closed}"}}}},
    }
    new = {
        "TCP": {"80": {"HTTP": True}},
        "Web": {web: {"Handlers": {"/": {"Proxy": f"http://127.0.0.1:{MIRROR_PORT}"}}}},
    }
    served.take_authority()
    served.change(old)
    pid = served.services_pid()
    waiting = served.world.laptop.box.start(*served.command("http://NAME/x"), log="waiting")
    handshake = (
        "import socket, ssl, sys\n"
        f"s = socket.create_connection(({served.addresses[0]!r}, 9443))\n"
        "print('open', flush=True); sys.stdin.readline()\n"
        f"c = ssl.create_default_context(cafile={str(served.authority)!r})\n"
        f"s = c.wrap_socket(s, server_hostname={served.name!r})\n"
        "s.sendall(b'GET / HTTP/1.0\\r\\n\\r\\n'); print('got', s.recv(100), flush=True)\n"
    )
    late = subprocess.Popen(
        served.world.laptop.box.enter(PYTHON, "-c", handshake),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert late.stdout.readline() == "open\n"
    served.change(new)
    assert "target" not in late.communicate("\n", timeout=20)[0]
    waiting.wait_text("502|configuration", 20)
    assert served.seen("http://NAME/x")["target"] == "/x"
    assert served.services_pid() == pid


def test_few_descriptors(world, monkeypatch):
    """More connections than there are descriptors for: no busy loop, and requests go on."""
    box = world.sidecar.box
    plain = box.container_command
    monkeypatch.setattr(
        box,
        "container_command",
        lambda arguments, *more: plain(["prlimit", "--nofile=160:160", *arguments], *more),
    )
    served = Served(world, CONFIG)
    served.wait("http://NAME/hello", "hello")
    pid = served.services_pid()
    crowd = served.world.laptop.box.start(
        *[PYTHON, "-c"],
        "import socket, time\n"
        f"all = [socket.create_connection(({served.addresses[0]!r}, 80)) for _ in range(200)]\n"
        "print('open', flush=True); time.sleep(5)",
        log="crowd",
    )
    crowd.wait_text("^open", 20)
    before = sum(map(int, Path(f"/proc/{pid}/stat").read_text().split()[13:15]))
    time.sleep(2)
    used = sum(map(int, Path(f"/proc/{pid}/stat").read_text().split()[13:15])) - before
    assert used < 50, f"{used} ticks of processor time in 2 s"
    served.wait("http://NAME/hello", "hello", 30)
    assert served.services_pid() == pid


def test_one_peer_leaves_room(world, monkeypatch):
    """One peer takes most connections at the most, and its idle ones make room for its new ones."""
    box = world.sidecar.box
    plain = box.container_command
    monkeypatch.setattr(
        box,
        "container_command",
        lambda arguments, *more: plain(["prlimit", "--nofile=160:160", *arguments], *more),
    )
    served = Served(world, CONFIG)
    served.wait("http://NAME/hello", "hello")

    def crowd(port, log):
        script = (
            "import socket, sys, time\n"
            "all = []\n"
            "for i in range(60):\n"
            f"    s = socket.create_connection(({served.addresses[0]!r}, {port}))\n"
            f"    s.sendall(b'GET / HTTP/1.1\\r\\nHost: {served.name}\\r\\n\\r\\n')\n"
            "    all.append(s)\n"
            f"for s in all if {port} == 80 else []:\n"  # idle, once they have their answer
            "    s.settimeout(10)\n"
            "    try: s.recv(1)\n"
            "    except ConnectionError: pass\n"
            "print('open', flush=True); time.sleep(60)\n"
        )
        process = world.laptop.box.start(PYTHON, "-c", script, log=log)
        process.wait_text("^open", 20)
        return process

    bridges = crowd(5432, "bridges")
    for _ in range(3):
        assert served.fetch("http://NAME/hello", client=box) == "hello"
    bridges.kill()
    served.wait("http://NAME/hello", "hello")
    idle = crowd(80, "idle")
    for _ in range(3):
        assert served.fetch("http://NAME/hello") == "hello"
        assert served.fetch("http://NAME/hello", client=box) == "hello"
    idle.kill()


ECHO = (
    "import hashlib, socket, sys\n"
    "s = socket.create_server(('127.0.0.1', 7000))\n"
    "print('ready', flush=True)\n"
    "while True:\n"
    "    c = s.accept()[0]\n"
    "    seen = hashlib.sha256()\n"
    "    while got := c.recv(1 << 20):\n"
    "        seen.update(got)\n"
    "    c.sendall(b'y' * int(sys.argv[1]) + seen.hexdigest().encode())\n"
    "    c.close()\n"
)
SEND = (
    "import hashlib, socket, sys, time\n"
    "s = socket.create_connection((sys.argv[1], 7000))\n"
    "piece, sent = bytes(range(256)) * 4096, hashlib.sha256()\n"
    "for i in range(int(sys.argv[2])):\n"
    "    s.sendall(piece); sent.update(piece)\n"
    "s.shutdown(socket.SHUT_WR)\n"
    "time.sleep(float(sys.argv[3]))\n"
    "got = b''.join(iter(lambda: s.recv(1 << 20), b''))\n"
    "print(len(got) - 64, got[-64:].decode() == sent.hexdigest(), got[:-64].strip(b'y') == b'')\n"
)


def test_tcp_in_bulk(world):
    """Much in both directions, one after another, by splice; half-closed, and the same bytes."""
    box = world.sidecar.box
    config = json.loads(json.dumps(CONFIG))
    config["TCP"]["7000"] = {"TCPForward": "127.0.0.1:7000"}
    served = Served(world, config)
    served.wait("http://NAME/hello", "hello")
    box.start(PYTHON, "-c", ECHO, "40000000", log="echo").wait_text("^ready", 10)
    pid = served.services_pid()

    def pipes():
        links = [os.readlink(fd) for fd in Path(f"/proc/{pid}/fd").iterdir()]
        return sum(1 for link in links if link.startswith("pipe:"))

    def transfer(pause):
        arguments = [PYTHON, "-c", SEND, served.addresses[0], "64", pause]
        assert world.laptop.box.run(*arguments).stdout == "40000000 True True\n"

    before = pipes()
    transfer("0")
    transfer("1")
    assert pipes() == before + 2, "nothing was spliced"
    assert served.services_pid() == pid


def test_a_target_that_leads_back(served):
    """To this node's own served port, by address and by name: a page that says so, and no storm."""
    for target in (f"http://{served.addresses[0]}", f"http://[{served.addresses[1]}]:80"):
        config = json.loads(json.dumps(CONFIG))
        config["Web"]["${TS_CERT_DOMAIN}:80"]["Handlers"]["/"] = {"Proxy": target}
        config["TCP"]["5432"] = {"TCPForward": f"{served.addresses[0]}:5432"}
        served.change(config)
        page = served.fetch("http://NAME/")
        assert "502" in page and "leads back to a port that this node serves itself" in page
        assert "curl: (" in served.fetch("http://NAME:5432/")


def test_readers_that_take_nothing(served, mirror):
    """Neither pipelined requests nor answers that nobody reads fill the memory."""
    pid = served.services_pid()
    one = f"GET /mirror/bytes/4000000 HTTP/1.1\r\nHost: {served.name}\r\n\r\n"
    hello = f"GET /hello HTTP/1.1\r\nHost: {served.name}\r\n\r\n"
    script = (
        "import socket, time\nall = []\n"
        "for i in range(60):\n"
        f"    s = socket.create_connection(({served.addresses[0]!r}, 80))\n"
        "    s.settimeout(0.5)\n"
        "    all.append(s)\n"
        "    try:\n"
        f"        s.sendall([{one.replace('/mirror', '')!r}, {hello!r} * 40000][i % 2].encode())\n"
        "    except (TimeoutError, ConnectionError):\n"
        "        pass\n"
        "print('full', flush=True); time.sleep(60)\n"
    )
    config = json.loads(json.dumps(CONFIG))
    config["Web"]["${TS_CERT_DOMAIN}:80"]["Handlers"]["/bytes"] = {
        "Proxy": f"http://127.0.0.1:{MIRROR_PORT}/bytes"
    }
    served.change(config)
    before = int(status_of(pid)["VmRSS"].split()[0])
    served.world.laptop.box.start(PYTHON, "-c", script, log="greedy").wait_text("^full", 60)
    time.sleep(1)
    grown = int(status_of(pid)["VmRSS"].split()[0]) - before
    assert grown < (600_000 if is_sanitized(build_folder()) else 30_000), (
        f"{grown} KB for 60 connections"
    )
    assert served.fetch("http://NAME/hello") == "hello"


def test_the_authority_signs_names_of_the_tailnet_only(served, tmp_path):
    """Whoever steals its key gets a certificate for no other name, and for no address."""
    stored = served.node.state / "pillion-authority.pem"
    authority = served.take_authority()

    def verify(name):
        kind = "IP" if name[0] in "1f" else "DNS"
        (tmp_path / "names").write_text(f"subjectAltName={kind}:{name}\n")
        make = ["openssl", "req", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=x"]
        subprocess.run(
            [*make, "-keyout", tmp_path / "key", "-out", tmp_path / "csr"],
            check=True,
            capture_output=True,
        )
        sign = ["openssl", "x509", "-req", "-CA", stored, "-CAkey", stored, "-CAcreateserial"]
        subprocess.run(
            [*sign, "-in", "csr", "-out", "pem", "-extfile", "names", "-CAserial", "serial"],
            check=True,
            cwd=tmp_path,
            capture_output=True,
        )
        done = subprocess.run(
            ["openssl", "verify", "-CAfile", authority, tmp_path / "pem"],
            check=False,
            text=True,
            capture_output=True,
        )
        return done.stdout + done.stderr

    assert "OK" in verify(f"other.{served.name.partition('.')[2]}")
    for name in ("www.example.com", "10.0.0.1", "fd00::1"):
        assert re.search("permitted subtree|excluded subtree", verify(name)), name


def test_bodies_wait_for_slow_ends(served, mirror, tmp_path):
    """A reader that is slow, and an app that is: the bytes wait with their sender, not here."""
    pid = served.services_pid()
    before = int(status_of(pid)["VmRSS"].split()[0])
    box = served.world.laptop.box
    read = ["--limit-rate", "1M", "-o", "/dev/null"]
    box.start(*served.command("https://NAME/mirror/bytes/300000000", *read), log="reader")
    os.truncate(os.open(tmp_path / "zeros", os.O_WRONLY | os.O_CREAT), 300_000_000)
    send = ["-T", tmp_path / "zeros", "-o", "/dev/null", "-w", "%{http_code}"]
    sender = box.start(*served.command("https://NAME/mirror/slow", *send), log="sender")
    time.sleep(3)
    grown = int(status_of(pid)["VmRSS"].split()[0]) - before
    assert grown < (100_000 if is_sanitized(build_folder()) else 8_000), f"{grown} KB"
    sender.wait_text("200", 40)


def test_changes_under_load(served, mirror):
    """While one configuration after another comes, no request fails."""
    config = json.loads(json.dumps(CONFIG))
    handlers = config["Web"]["${TS_CERT_DOMAIN}:80"]["Handlers"]
    handlers["/x"] = {"Proxy": f"http://127.0.0.1:{MIRROR_PORT}"}
    served.change(config)
    script = (
        "import http.client, threading, time\n"
        "counts = {}\n"
        "def load(keep):\n"
        "    c = None\n"
        "    while time.monotonic() < ends:\n"
        f"        c = c or http.client.HTTPConnection({served.addresses[0]!r}, 80, timeout=15)\n"
        "        try:\n"
        f"            c.request('GET', '/x', headers={{'Host': {served.name!r}}})\n"
        "            a = c.getresponse(); a.read(); what = a.status\n"
        "        except Exception as e:\n"
        "            what = repr(e); c = None\n"
        "        counts[what] = counts.get(what, 0) + 1\n"
        "        if not keep and c:\n"
        "            c.close(); c = None\n"
        "print('begun', flush=True)\n"
        "ends = time.monotonic() + 8\n"
        "all = [threading.Thread(target=load, args=(i % 2,)) for i in range(8)]\n"
        "[t.start() for t in all]; [t.join() for t in all]\n"
        "print('counts', counts, flush=True)\n"
    )
    client = served.world.laptop.box.start(PYTHON, "-c", script, log="load")
    client.wait_text("^begun", 10)
    for number in range(200):
        # Other targets come and go before it, so that its number changes.
        more = {f"/{i}": {"Proxy": f"http://127.0.0.1:{9 + i}"} for i in range(number % 5)}
        config["Web"]["${TS_CERT_DOMAIN}:80"]["Handlers"] = {**more, **handlers}
        served.write(config)
        time.sleep(0.03)
    client.wait_text("^counts", 30)
    line = re.search("^counts {(.*)}", client.text(), re.M)[1]
    assert re.fullmatch(r"200: \d+", line), line


def test_a_captured_services_process(world, monkeypatch, tmp_path):
    """It reaches the targets of the configuration in force, and nothing else of the supervisor."""
    for name, source in (
        ("pillion", build_folder() / "pillion"),
        ("pillion-engine", build_folder() / "pillion-engine"),
        ("pillion-services", build_folder() / "tests/tools/captured_services"),
    ):
        shutil.copy(source, tmp_path / name)
    tmp_path.chmod(0o755)
    box = world.sidecar.box
    plain = box.container_command
    monkeypatch.setattr(
        box,
        "container_command",
        lambda arguments, *more: plain([tmp_path / "pillion", *arguments[1:]], *more),
    )
    certs = world.sidecar.state / "certs"
    certs.mkdir()
    target = world.sidecar.box.folder / "elsewhere"
    target.write_text("untouched")
    for name in ("link.crt", "link.key"):
        (certs / name).symlink_to(target)
    served = Served(world, CONFIG)
    engine = served.node.engine_pid()
    log = served.node.process
    log.wait_text("captured: refused", 60)
    said = dict(re.findall(r"captured: (\w+) (-?\d+)", log.text()))
    assert (said["own"], said["address"]) == ("0", f"-{errno.ERANGE}")
    assert said["older"] == said["newer"] == said["target"] == f"-{errno.ESTALE}"
    log.wait_text("captured: stored", 30)
    said = dict(re.findall(r"captured: (\w+) (-?\d+)", log.text()))
    assert (said["link"], said["missing"]) == (f"-{errno.ELOOP}", f"-{errno.ENOENT}")
    assert (said["huge"], said["unsealed"]) == (f"-{errno.EMSGSIZE}", f"-{errno.EPERM}")
    # A store replaces the link, and writes nothing through it.
    assert said["through"] == "0" and target.read_text() == "untouched"
    assert not (certs / "link.key").is_symlink()
    assert int(said["stored"]) == 40
    assert all(re.fullmatch(r"(flood\d+|link)\.(key|crt)", path.name) for path in certs.iterdir())
    tried = re.findall(r"captured: try (\w+) (\w+)", log.wait_text("try root", 10) and log.text())
    assert len(tried) >= 14
    assert {how for _, how in tried} == {"refused"}, tried
    log.wait_text("the services process is killed: it sent an invalid message", 10)
    assert served.node.engine_pid() == engine
    assert served.node.status()["BackendState"] == "Running"


def test_the_stop_with_connections_open(served, mirror):
    """In every phase: TLS that has not begun, an idle one, a call, a body, an answer."""
    box, host = served.world.laptop.box, served.name
    text = (
        "import socket, time\n"
        f"at = {served.addresses[0]!r}\n"
        f"web = [socket.create_connection((at, 80)) for _ in range(3)]\n"
        "tls = socket.create_connection((at, 443))\n"
        "tcp = socket.create_connection((at, 5432))\n"
        f"web[1].sendall(b'GET /hello HTTP/1.1\\r\\nHost: {host}\\r\\n\\r\\nGET /he')\n"
        f"web[2].sendall(b'POST / HTTP/1.1\\r\\nHost: {host}\\r\\nContent-Length: 9\\r\\n\\r\\na')\n"
        "print('open', flush=True); time.sleep(60)\n"
    )
    slow = ["--limit-rate", "100K", "-o", "/dev/null"]
    box.start(*served.command("https://NAME/mirror/bytes/90000000", *slow), log="reader")
    box.start(PYTHON, "-c", text, log="open").wait_text("^open", 10)
    time.sleep(1)
    mirror.kill()
    box.start(*served.command("https://NAME/mirror/call"), log="call")
    time.sleep(1)
    served.node.stop()
    assert "the services process died" not in served.node.process.text()
    assert "left behind" not in served.node.process.text()
