# SPDX-License-Identifier: BSD-3-Clause
"""Requests that client, proxy and app might cut apart differently.

Each is sent by HTTP/1.1 with a second request behind it that the client has no right to make for
others. The app may see what our parser found, and nothing of the second one as a request of its own.
"""

import json

import pytest
from lab.served import MIRROR_PORT, Served, start_mirror

CONFIG = {
    "TCP": {"80": {"HTTP": True}},
    "Web": {
        "${TS_CERT_DOMAIN}:80": {
            "Handlers": {
                "/": {"Proxy": f"http://127.0.0.1:{MIRROR_PORT}"},
                "/hello": {"Text": "hello"},
            }
        }
    },
}

HIDDEN = "GET /hidden HTTP/1.1\r\nHost: NAME\r\nTailscale-User-Login: root\r\n\r\n"
CHUNKS = "5\r\nhello\r\n0\r\n\r\n"

# (head lines behind the Host header, what follows the head)
REFUSED = {
    "both lengths": ("Content-Length: 5\r\nTransfer-Encoding: chunked", CHUNKS),
    "both, the other way": ("Transfer-Encoding: chunked\r\nContent-Length: 5", CHUNKS),
    "two lengths": ("Content-Length: 5\r\nContent-Length: 0", "hello"),
    "the same length twice": ("Content-Length: 5\r\nContent-Length: 5", "hello"),
    "a list of lengths": ("Content-Length: 5, 5", "hello"),
    "a signed length": ("Content-Length: +5", "hello"),
    "a negative length": ("Content-Length: -1", ""),
    "a hexadecimal length": ("Content-Length: 0x5", "hello"),
    "an empty length": ("Content-Length:", ""),
    "a length with a fraction": ("Content-Length: 5.0", "hello"),
    "a long length": ("Content-Length: 99999999999999999999", ""),
    "space before the colon": ("Content-Length : 5", "hello"),
    "tab before the colon": ("Transfer-Encoding\t: chunked", CHUNKS),
    "folded": ("Transfer-Encoding:\r\n chunked", CHUNKS),
    "folded with a tab": ("X-A: 1\r\n\tTransfer-Encoding: chunked", CHUNKS),
    "first line folded": (" X: 1", ""),
    "coding unknown": ("Transfer-Encoding: xchunked", CHUNKS),
    "coding in quotes": ('Transfer-Encoding: "chunked"', CHUNKS),
    "coding twice": ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", CHUNKS),
    "coding and identity": ("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity", CHUNKS),
    "list of codings": ("Transfer-Encoding: gzip, chunked", CHUNKS),
    "identity": ("Transfer-Encoding: identity\r\nContent-Length: 5", "hello"),
    "vertical tab": ("Transfer-Encoding:\x0bchunked", CHUNKS),
    "bare line feed": ("X-A: 1\nTransfer-Encoding: chunked", CHUNKS),
    "bare carriage return": ("X-A: 1\rTransfer-Encoding: chunked", CHUNKS),
    "zero byte": ("X-A: 1\0", ""),
    "name with a space": ("X A: 1", ""),
    "no colon": ("X-A", ""),
    "no name": (": 1", ""),
    "second host": ("Host: other.example.com", ""),
    "chunk size signed": ("Transfer-Encoding: chunked", "+5\r\nhello\r\n0\r\n\r\n"),
    "chunk size with prefix": ("Transfer-Encoding: chunked", "0x5\r\nhello\r\n0\r\n\r\n"),
    "chunk size too long": (
        "Transfer-Encoding: chunked",
        "0000000000000000005\r\nhello\r\n0\r\n\r\n",
    ),
    "chunk size overflows": ("Transfer-Encoding: chunked", "ffffffffffffffff0\r\nhello\r\n"),
    "chunk too long": ("Transfer-Encoding: chunked", "5\r\nhello!\r\n0\r\n\r\n"),
    "chunk ends with a line feed": ("Transfer-Encoding: chunked", "5\r\nhello\n0\r\n\r\n"),
    "size ends with a line feed": ("Transfer-Encoding: chunked", "5\nhello\r\n0\r\n\r\n"),
    "line feed in an extension": ("Transfer-Encoding: chunked", "5;\nhello\r\n0\r\n\r\n"),
    "space in a chunk size": ("Transfer-Encoding: chunked", "5 \r\nhello\r\n0\r\n\r\n"),
    "trailer without a colon": ("Transfer-Encoding: chunked", "5\r\nhello\r\n0\r\nX\r\n\r\n"),
    "trailer folded": ("Transfer-Encoding: chunked", "5\r\nhello\r\n0\r\nX: 1\r\n y\r\n\r\n"),
}
# The first line, with NAME for the host.
LINES = {
    "other authority": "GET http://other.example.com/x HTTP/1.1",
    "other port": "GET http://NAME:8080/x HTTP/1.1",
    "user in the authority": "GET http://NAME@other.example.com/x HTTP/1.1",
    "no target": "GET HTTP/1.1",
    "two spaces": "GET  /x HTTP/1.1",
    "tab": "GET\t/x\tHTTP/1.1",
    "space in the target": "GET /x y HTTP/1.1",
    "version": "GET /x HTTP/1.2",
    "version 2": "GET /x HTTP/2.0",
    "long version": "GET /x HTTP/1.10",
    "version in small letters": "GET /x http/1.1",
    "version 0.9": "GET /x",
    "method": "G@T /x HTTP/1.1",
    "connect": "CONNECT NAME:80 HTTP/1.1",
    "asterisk": "OPTIONS * HTTP/1.1",
    "relative": "GET x HTTP/1.1",
    "leading line": "\r\nGET /x HTTP/1.1",
    "leading space": " GET /x HTTP/1.1",
}
# What is odd but clear: (head lines, what follows, length of the body that the app gets)
CLEAR = {
    "extension": ("Transfer-Encoding: chunked", "5;a=b\r\nhello\r\n0;c\r\n\r\n", 5),
    "capital letters": ("TRANSFER-ENCODING: CHUNKED", CHUNKS, 5),
    "trailers": (
        "Transfer-Encoding: chunked\r\nTrailer: X-Sum",
        "5\r\nhello\r\n0\r\nX-Sum: 1\r\nContent-Length: 9\r\nTailscale-User-Login: root\r\n\r\n",
        5,
    ),
    "leading zeros": ("Transfer-Encoding: chunked", "005\r\nhello\r\n0\r\n\r\n", 5),
    "length named by Connection": ("Content-Length: 5\r\nConnection: Content-Length", "hello", 5),
    "coding named by Connection": (
        "Transfer-Encoding: chunked\r\nConnection: Transfer-Encoding",
        CHUNKS,
        5,
    ),
    "get with a body": ("Content-Length: 5", "hello", 5),
}


@pytest.fixture
def served(world):
    made = Served(world, CONFIG)
    made.mirror = start_mirror(world.sidecar.box)
    made.wait("http://NAME/hello", "hello")
    return made


def said(served, first, lines, body):
    """All bytes that come back for the request and the hidden one behind it."""
    lines = f"{lines}\r\n" if lines else ""
    text = f"{first}\r\nHost: NAME\r\n{lines}\r\n{body}{HIDDEN}"
    return served.say(text.replace("NAME", served.name).encode("latin-1"))


def test_refused(served):
    """A 400, then the end: what is behind it is never a request, here or at the app."""
    pid = served.services_pid()
    wrong = []
    cases = {name: ("POST /first HTTP/1.1", *rest) for name, rest in REFUSED.items()}
    cases |= {name: (line, "", "") for name, line in LINES.items()}
    for name, (first, lines, body) in cases.items():
        got = said(served, first, lines, body)
        begun = lines == "Transfer-Encoding: chunked" and body != ""
        late = name in ("connect", "asterisk", "relative") or "authority" in name or "port" in name
        if (
            "root" in got
            or (not late and '"target"' in got)
            or not begun
            and not got.startswith(("HTTP/1.1 400", "HTTP/1.1 431"))
        ):
            wrong.append((name, got))
    assert not wrong, "\n".join(map(repr, wrong))
    assert json.loads(served.fetch("http://NAME/next"))["target"] == "/next"
    assert served.services_pid() == pid


def test_odd_but_clear(served):
    """The app gets exactly this body, and the hidden request comes as ours, with its names changed."""
    for name, (lines, body, length) in CLEAR.items():
        got = said(served, "POST /first HTTP/1.1", lines, body)
        at = got.find('{"method"')
        assert at > 0, (name, got)
        seen = json.JSONDecoder().raw_decode(got[at:])[0]
        assert seen["target"] == "/first", (name, got)
        assert seen["length"] == length, (name, got)
        assert "root" not in got, (name, got)
