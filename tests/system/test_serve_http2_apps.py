# SPDX-License-Identifier: BSD-3-Clause
"""Apps that speak HTTP/2: gRPC with both ends real, and a plain server."""

import json
import os
import subprocess
import sys

import pytest
from lab.build import ROOT
from lab.network import PYTHON
from lab.process import descendants
from lab.served import Served

RPC = ROOT / "tests/lab/rpc.py"
RPC_PORT, TLS_PORT, PLAIN_PORT, PLAIN_TLS_PORT = 50051, 50052, 8082, 8445

CONFIG = {
    "TCP": {str(port): {"HTTPS": True} for port in (443, 8443, 10000)} | {"80": {"HTTP": True}},
    "Web": {
        # As the official one: gRPC of an HTTP/2 client goes to a plain app by HTTP/2.
        "${TS_CERT_DOMAIN}:443": {
            "Handlers": {
                "/": {"Proxy": f"http://127.0.0.1:{RPC_PORT}"},
                "/h2c/": {"Proxy": f"h2c://127.0.0.1:{PLAIN_PORT}"},
                "/tls/": {"Proxy": f"https+insecure://127.0.0.1:{PLAIN_TLS_PORT}"},
            }
        },
        "${TS_CERT_DOMAIN}:8443": {"Handlers": {"/": {"Proxy": f"h2c://127.0.0.1:{RPC_PORT}"}}},
        "${TS_CERT_DOMAIN}:10000": {
            "Handlers": {"/": {"Proxy": f"https+insecure://127.0.0.1:{TLS_PORT}"}}
        },
        "${TS_CERT_DOMAIN}:80": {
            "Handlers": {
                "/": {"Proxy": f"http://127.0.0.1:{RPC_PORT}"},
                "/hello": {"Text": "hello"},
            }
        },
    },
}


@pytest.fixture
def pair(tmp_path):
    """Certificate and key of an app that nobody has to trust."""
    names = [str(tmp_path / "certificate.pem"), str(tmp_path / "key.pem")]
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
        + ["-nodes", "-days", "9", "-subj", "/CN=app", "-out", names[0], "-keyout", names[1]],
        check=True,
        capture_output=True,
    )
    return names


@pytest.fixture
def served(world):
    made = Served(world, CONFIG)
    made.wait("http://NAME/hello", "hello")
    return made


def start_rpc(served, port, *pair):
    app = served.node.box.start(sys.executable, RPC, "serve", port, *pair, log=f"rpc-{port}")
    app.wait_text("^serving", 20)
    return app


def rpc(served, port, *command, tls=True):
    """The lines that the client prints."""
    authority = served.take_authority() if tls else "-"
    what, *more = command
    done = served.world.laptop.box.run(
        *[sys.executable, RPC, what, f"{served.addresses[0]}:{port}", served.name, authority],
        *more,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return {line.pop("call", ""): line for line in map(json.loads, done.stdout.splitlines())}


@pytest.mark.parametrize("port", [443, 8443, 10000, 80])
def test_grpc(served, pair, port):
    """Unary, streams in each direction and in both, errors of trailers only, metadata."""
    if port == 10000:
        start_rpc(served, TLS_PORT, *pair)
    else:
        start_rpc(served, RPC_PORT)
    said = rpc(served, port, "call", tls=port != 80)
    assert said["unary"]["answer"] == "hello"
    seen = said["unary"]["seen"]
    assert seen["x-mine"] == "1"
    assert seen["x-forwarded-for"] == served.world.laptop.addresses()[0]
    assert seen.get("tailscale-user-login") != "root"
    assert said["big"]["same"]
    assert said["down"] == {"count": 3000, "size": 3_000_000}
    assert said["up"] == {"total": 3_000_000}
    assert said["both"]["answers"] == ["0", "1", "2", "3", "4"]
    assert said["fail"] == {"code": "NOT_FOUND", "details": "there is no such thing: ä"}
    assert said["missing"]["code"] == "UNIMPLEMENTED"


def test_many_calls_share_connections(served):
    start_rpc(served, RPC_PORT)
    pid = served.services_pid()
    assert rpc(served, 443, "load", "1000")[""] == {"calls": 1000, "wrong": 0}
    sockets = served.node.box.run("ss", "-Htn", "state", "established", f"dport = :{RPC_PORT}")
    # Calls that come at once, before there is a connection, may make one each.
    assert 1 <= len(sockets.stdout.splitlines()) <= 20, sockets.stdout
    assert served.services_pid() == pid


def test_the_app_restarts_under_calls(served):
    """A call that comes while nothing listens waits; a connection that ended is not used again."""
    app = start_rpc(served, RPC_PORT)
    assert rpc(served, 443, "load", "10")[""]["wrong"] == 0
    app.kill()
    client = served.world.laptop.box.start(
        *[sys.executable, RPC, "load", f"{served.addresses[0]}:443", served.name],
        *[served.take_authority(), "10"],
        log="calls",
    )
    again = served.node.box.start(sys.executable, RPC, "serve", RPC_PORT, log="rpc-again")
    again.wait_text("^serving", 20)
    client.wait_text('"wrong": 0', 20)


def test_an_app_that_ends_connections(served):
    """GOAWAY every now and then, as gRPC servers do for balance: no call is lost."""
    app = served.node.box.start(
        *["env", "RPC_AGE=300", sys.executable, RPC, "serve", RPC_PORT], log="aging"
    )
    app.wait_text("^serving", 20)
    assert rpc(served, 443, "steady", "6")[""]["calls"] > 50


def start_plain(served, folder, *options, port=PLAIN_PORT, log="nghttpd"):
    (folder / "page").write_text("a page\n")
    app = served.node.box.start(
        "nghttpd", "-v", "-a", "127.0.0.1", f"--htdocs={folder}", *options, log=log
    )
    app.wait_text("listen", 10)
    return app


def test_a_plain_app_by_http2(served, tmp_path, pair):
    """Bodies, statuses and trailers, for clients of both versions, with prior knowledge and ALPN."""
    start_plain(
        served, tmp_path, "--no-tls", "--echo-upload", "--trailer=x-sum: 7", PLAIN_PORT, log="h2c"
    )
    start_plain(served, tmp_path, "--echo-upload", PLAIN_TLS_PORT, *reversed(pair), log="h2")
    body = os.urandom(3_000_000)
    (tmp_path / "body").write_bytes(body)
    for mount in ("h2c", "tls"):
        for how in ("--http1.1", "--http2"):
            url = f"https://NAME/{mount}"
            assert served.fetch(f"{url}/page", how) == "a page\n", (mount, how)
            status = ["-o", "/dev/null", "-w", "%{http_code} %{size_download}"]
            assert served.fetch(f"{url}/none", how, *status).startswith("404"), (mount, how)
            assert served.fetch(f"{url}/page", how, "--head", *status) == "200 0"
            for options in (["--data-binary", f"@{tmp_path}/body"], ["-T", tmp_path / "body"]):
                back = tmp_path / "back"
                options = [*options, "-H", "Expect:", "-o", back]
                assert served.fetch(f"{url}/echo", how, *options) == "", (mount, how)
                assert back.read_bytes() == body, (mount, how, back.stat().st_size)
    # Trailers reach clients of both versions.
    text = served.say(
        f"GET /h2c/page HTTP/1.1\r\nHost: {served.name}\r\nConnection: close\r\n\r\n".encode(),
        port=443,
        tls=True,
    )
    assert text.endswith("\n0\nx-sum: 7\n\n"), text
    done = served.world.laptop.box.run(
        *["nghttp", "-v", f"https://{served.addresses[0]}/h2c/page"],
        *["-H", f":authority: {served.name}"],
        check=False,
    )
    assert "x-sum: 7" in done.stdout, done.stdout + done.stderr


def test_an_app_that_speaks_no_http2(served):
    """It listens, but answers by HTTP/1.1 or not at all: a page says so."""
    served.node.box.start(
        *[PYTHON, "-c"],
        "import http.server\n"
        f"s = http.server.HTTPServer(('127.0.0.1', {PLAIN_PORT}), http.server.BaseHTTPRequestHandler)\n"
        "print('up', flush=True); s.serve_forever()",
        log="http1",
    ).wait_text("^up", 10)
    pid = served.services_pid()
    assert "502" in served.fetch("https://NAME/h2c/x")
    assert served.services_pid() == pid
    assert descendants(served.node.process.pid)


REFUSES = """
import socket, sys, threading

def refuse(client):
    client.sendall(bytes([0, 0, 0, 4, 0, 0, 0, 0, 0]))
    stream = client.makefile("rb")
    stream.read(24)  # the preface
    while len(head := stream.read(9)) == 9:
        stream.read(int.from_bytes(head[:3], "big"))
        if head[3] == 1:  # HEADERS
            print("refused", flush=True)
            client.sendall(bytes([0, 0, 4, 3, 0]) + head[5:] + bytes([0, 0, 0, 7]))

server = socket.create_server(("127.0.0.1", int(sys.argv[1])))
print("serving", flush=True)
while True:
    client, _ = server.accept()
    threading.Thread(target=refuse, args=[client], daemon=True).start()
"""


def test_an_app_that_refuses_each_request(served):
    """REFUSED_STREAM each time: after a few tries the client gets an error, and the app has peace."""
    app = served.node.box.start(PYTHON, "-c", REFUSES, 8098, log="refuses")
    app.wait_text("^serving", 10)
    config = json.loads(json.dumps(CONFIG))
    config["Web"]["${TS_CERT_DOMAIN}:80"]["Handlers"]["/refuses"] = {
        "Proxy": "h2c://127.0.0.1:8098"
    }
    served.change(config)
    assert "502" in served.fetch("http://NAME/refuses", "-i", "--max-time", "5")
    assert app.text().count("refused") == 4
