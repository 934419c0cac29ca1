# SPDX-License-Identifier: BSD-3-Clause
"""Served ports beside the real thing: a stock peer on Headscale, and `tailscale serve` itself."""

import json
import re

import pytest
from lab import Tailscaled, wait_for
from lab.served import MIRROR_PORT, Served, headers, start_mirror

CONFIG = {
    "TCP": {"80": {"HTTP": True}, "443": {"HTTPS": True}},
    "Web": {
        "${TS_CERT_DOMAIN}:443": {"Handlers": {"/": {"Proxy": f"http://127.0.0.1:{MIRROR_PORT}"}}},
        "${TS_CERT_DOMAIN}:80": {
            "Handlers": {
                "/": {"Proxy": f"http://127.0.0.1:{MIRROR_PORT}"},
                "/base/": {"Proxy": f"http://127.0.0.1:{MIRROR_PORT}/deep"},
                "/app": {"Proxy": f"http://127.0.0.1:{MIRROR_PORT}/at"},
                "/a b": {"Proxy": f"http://127.0.0.1:{MIRROR_PORT}/blank"},
                "/über": {"Proxy": f"http://127.0.0.1:{MIRROR_PORT}/over"},
                "/text": {"Text": "hello"},
                "/moved": {"Redirect": "https://example.com${REQUEST_URI}"},
            }
        },
    },
}

# What a client sends: path and options of curl.
REQUESTS = {
    "plain": ["/a/b?c=d"],
    "escaped": ["/a%20b/%C3%BC?x=%2F"],
    "mount": ["/base/x/y"],
    "mount itself": ["/base"],
    "mount with a slash": ["/base/"],
    "near the mount": ["/basement"],
    "dots": ["/a/../base/x", "--path-as-is"],
    "text": ["/text"],
    "below the text": ["/text/more"],
    "redirect": ["/moved/here?q"],
    "post": ["/p", "--data-binary", "some body"],
    "chunked": ["/p", "--data-binary", "some body", "-H", "Transfer-Encoding: chunked"],
    "head": ["/h", "--head"],
    "delete": ["/d", "-X", "DELETE"],
    "forged": ["/f", "-H", "Tailscale-User-Login: root", "-H", "X-Forwarded-For: 1.1.1.1"],
    "hop by hop": ["/h", "-H", "Connection: X-A", "-H", "X-A: 1", "-H", "Keep-Alive: 3"],
    "another host": ["/", "-H", "Host: other.example.com"],
    "short host": ["/s", "-H", "Host: SHORT"],
    "no answer": ["/hangup"],
    "too early": ["/early", "--data-binary", "x"],
    "empty": ["/status/204"],
    "unchanged": ["/status/304"],
    "stream": ["/chunks/3"],
    "old": ["/o", "--http1.0"],
    "escaped mount": ["/%61pp/x"],
    "escaped mount itself": ["/%61pp"],
    "escaped slash after the mount": ["/app%2Fx"],
    "escaped slash below the mount": ["/app/x%2Fy"],
    "out of the mount": ["/app/../x", "--path-as-is"],
    "out of the mount, escaped": ["/app/%2e%2e/x", "--path-as-is"],
    "out of the mount, all escaped": ["/app%2F..%2Fx", "--path-as-is"],
    "dot in the mount": ["/./app/x", "--path-as-is"],
    "two slashes": ["//app", "--path-as-is"],
    "two slashes below": ["/app//x", "--path-as-is"],
    "zero": ["/app%00"],
    "zero below": ["/app/%00"],
    "slashes at the end": ["/app///", "--path-as-is"],
    "slash at the end": ["/app/"],
    "dots at the end": ["/app/x/..", "--path-as-is"],
    "bad escape": ["/app/%zz"],
    "half an escape": ["/app%2"],
    "space": ["/a%20b/c"],
    "space itself": ["/a%20b"],
    "plus": ["/a+b/c"],
    "umlaut": ["/%C3%BCber/x"],
    "umlaut in small letters": ["/%c3%bcber/x"],
    "umlaut as it is": ["/über/x"],
    "other umlaut": ["/%FCber/x"],
    "below in small letters": ["/app/%c3%bc"],
    "capital mount": ["/APP/x"],
    "escaped question mark": ["/app%3Fx"],
    "only a question mark": ["/app?"],
    "semicolon": ["/app;x/y"],
    "escaped percent": ["/%2561pp/x"],
    "backslash": ["/app%5C..%5Cx"],
    "root": ["/"],
    "stars": ["/app/*(a)!'$&,;=:@"],
    "brackets": ["/app/[x]", "-g"],
    "escaped mount itself, plain": ["/app"],
    "below the mount": ["/app/x"],
    "below the umlaut": ["/%C3%BCber/x"],
}
# Headers of an answer which need not be the same.
OWN = {"date", "connection", "server"}
# Where ours differs on purpose, all but the status and where it leads is left out: a 502 says why,
# a redirect has no page of its own, and a 304 keeps the app's headers.
STATUS_ONLY = {"no answer", "redirect", "unchanged", "bad escape", "half an escape"}
# Which request ours takes for the same: the official one finds the mount, and then says 404 since it can't cut it off.
MEANS = {
    "escaped mount": "below the mount",
    "escaped mount itself": "escaped mount itself, plain",
    "umlaut in small letters": "below the umlaut",
    "umlaut as it is": "below the umlaut",
}

# What HTTP/2 has no words for.
HTTP1_ONLY = {"hop by hop", "old"}


@pytest.fixture
def served(world, pillion_only):
    made = Served(world, CONFIG)
    start_mirror(world.sidecar.box)
    made.wait("http://NAME/text", "hello", 30)
    return made


def test_a_stock_peer_gets_the_page_by_https(served):
    """On a server that knows nothing of certificates."""
    seen = served.seen("https://NAME/x")
    assert headers(seen)["x-forwarded-proto"] == "https"
    assert headers(seen)["x-forwarded-for"] == served.world.laptop.addresses()[0]


def ask(served, name, address, request, *more):
    """(status, headers of the answer, what the app saw or the body), with names made alike."""
    path, *options = REQUESTS[request]
    short = name.split(".")[0]
    options = [option.replace("SHORT", short) for option in options]
    done = served.world.laptop.box.run(
        *["curl", "-sS", "-i", "--max-time", "20", "--connect-to", f"{name}::{address}:"],
        *[*options, *more, f"http://{name}{path}"],
        check=False,
    )
    head, _, body = done.stdout.partition("\n\n")
    lines = head.split("\n")
    status = lines[0].split(" ")[1] if " " in lines[0] else done.stderr
    answer = sorted(line.lower() for line in lines[1:] if line.split(":")[0].lower() not in OWN)
    if request in STATUS_ONLY:
        return status, [line for line in answer if line.startswith("location")], ""
    body = re.sub(re.escape(short), "NODE", body)
    if request == "head":
        answer = [line for line in answer if not line.startswith("content-length")]
    try:
        seen = json.loads(body)
    except ValueError:
        return status, answer, body
    # The official one asks for gzip where the client did not, and unpacks it.
    seen["headers"] = sorted(
        [name.lower(), value] for name, value in seen["headers"] if name != "Accept-Encoding"
    )
    answer = [line for line in answer if not line.startswith("content-length")]
    return status, answer, seen


def test_the_same_as_the_official_one(served, lab):
    """Each request through `tailscale serve` and through ours: the same seen, the same answered."""
    world = served.world
    other = Tailscaled(lab.box("official"), world.headscale).join()
    start_mirror(other.box)
    name = other.status()["Self"]["DNSName"].rstrip(".")
    for mount, target in (
        ("/", f"http://127.0.0.1:{MIRROR_PORT}"),
        ("/base/", f"http://127.0.0.1:{MIRROR_PORT}/deep"),
        ("/app", f"http://127.0.0.1:{MIRROR_PORT}/at"),
        ("/a b", f"http://127.0.0.1:{MIRROR_PORT}/blank"),
        ("/über", f"http://127.0.0.1:{MIRROR_PORT}/over"),
        ("/text", "text:hello"),
    ):
        other.cli("serve", "--bg", "--yes", "--http=80", f"--set-path={mount}", target)
    config = json.loads(other.cli("serve", "status", "--json").stdout)
    config["Web"][f"{name}:80"]["Handlers"]["/moved"] = {
        "Redirect": "https://example.com${REQUEST_URI}"
    }
    other.box.run(
        *["curl", "-sS", "--fail", "--unix-socket", other.socket, "-d", json.dumps(config)],
        "http://local-tailscaled.sock/localapi/v0/serve-config",
    )
    official, ours_at = other.addresses()[0], served.addresses[0]
    wait_for(
        lambda: ask(served, name, official, "text")[2] == "hello",
        30,
        lambda: f"the official one to serve; {ask(served, name, official, 'text')}",
    )
    differences = []
    for request in REQUESTS:
        ours = ask(served, served.name, ours_at, request)
        theirs = ask(served, name, official, MEANS.get(request, request))
        if ours != theirs:
            differences.append(f"{request}:\n  ours   {ours}\n  theirs {theirs}")
        # The official one takes no HTTP/2 here; an app is to see no difference between the two.
        by_http2 = ask(served, served.name, ours_at, request, "--http2-prior-knowledge")
        unframed = [line for line in theirs[1] if not line.startswith("transfer-encoding")]
        if request not in HTTP1_ONLY and by_http2 != (theirs[0], unframed, theirs[2]):
            differences.append(f"{request}:\n  HTTP/2 {by_http2}\n  theirs {theirs}")
    assert not differences, "\n".join(differences)
