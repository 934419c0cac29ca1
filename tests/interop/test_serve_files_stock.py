# SPDX-License-Identifier: BSD-3-Clause
"""Files through `tailscale serve PATH` and through ours: the same folder, the same answers."""

import os
import subprocess
import urllib.parse

from lab import Tailscaled, wait_for
from lab.served import Served

# Headers of an answer that are compared.
COMPARED = (
    *("content-type", "content-length", "content-range", "accept-ranges", "last-modified"),
    *("location", "x-content-type-options"),
)

FILES = {
    "page.html": b"<p>page",
    "style.css": b"a {}",
    "script.js": b"1",
    "data.json": b"{}",
    "picture.png": b"\x89PNG\r\n\x1a\n....",
    "picture.svg": b"<svg/>",
    "font.woff2": b"wOF2....",
    "text": b"plain text\n",
    "binary": bytes(range(256)),
    "markup": b"  <!DOCTYPE html>\n",
    "xml": b"<?xml version='1.0'?>",
    "unknown.xyz": b"\x00\x01",
    "archive.tar.gz": b"\x1f\x8b\x08....",
    "name with blank & <tag>.txt": b"x",
    "a:b?c#d": b"x",
    "sub/index.html": b"index",
    "sub/other": b"other",
    "list/one": b"1",
    "list/two/three": b"3",
    "empty": b"",
}
DATE = 1_700_000_000
SAME = "Tue, 14 Nov 2023 22:13:20 GMT"
BEFORE = "Tue, 14 Nov 2023 22:13:19 GMT"

# Path and options of curl.
REQUESTS = [
    *([f"/{urllib.parse.quote(name)}"] for name in FILES if not name.endswith("index.html")),
    *(["/"], ["/sub/"], ["/list/"], ["/list"], ["/sub"], ["/sub?q=1"], ["/list/two/"]),
    *(["/index.html"], ["/none"], ["/none/"], ["/text/"], ["/text/more"], ["/list/none"]),
    *(["/text", "--head"], ["/list/", "--head"], ["/none", "--head"], ["/sub/", "--head"]),
    *(
        ["/binary", "-H", f"Range: bytes={ranges}"]
        for ranges in (
            *("0-9", "250-", "-6", "-1000", "0-1000", "256-", "1000-2000", "5-4", "x", "0-", "-0"),
            *(" 0 - 1 ", "0-255,0-0", ",0-1,", "0-1,300-"),
        )
    ),
    ["/binary", "-H", "Range: items=0-1"],
    ["/empty", "-H", "Range: bytes=0-1"],
    ["/binary", "--head", "-H", "Range: bytes=0-9"],
    *(
        ["/text", "-H", header]
        for header in (
            *(f"If-Modified-Since: {SAME}", f"If-Modified-Since: {BEFORE}"),
            *("If-Modified-Since: x", 'If-None-Match: "x"', "If-None-Match: *", 'If-Match: "x"'),
            *("If-Match: *", f"If-Unmodified-Since: {BEFORE}", f"If-Unmodified-Since: {SAME}"),
        )
    ),
    ["/text", "-H", "Range: bytes=0-1", "-H", f"If-Range: {SAME}"],
    ["/text", "-H", "Range: bytes=0-1", "-H", f"If-Range: {BEFORE}"],
    ["/text", "-H", "Range: bytes=0-1", "-H", 'If-Range: "x"'],
    ["/list/", "-H", f"If-Modified-Since: {SAME}"],
    ["/list/../text", "--path-as-is"],
    ["/%2e%2e/%2e%2e/text", "--path-as-is"],
    ["/list%2fone"],
]


def ask(world, name, address, path, *options):
    """(status, headers, body), the address of a redirect resolved."""
    command = [
        *["curl", "-sS", "-i", "--max-time", "20", "--connect-to", f"{name}::{address}:"],
        *[*options, f"http://{name}{path}"],
    ]
    done = subprocess.run(world.laptop.box.enter(*command), capture_output=True, check=False)
    head, _, body = done.stdout.partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    fields = {line.split(":")[0].lower(): line.partition(": ")[2] for line in lines[1:]}
    answer = {key: fields[key] for key in COMPARED if key in fields}
    if "location" in answer:
        answer["location"] = urllib.parse.urljoin(f"http://{name}{path}", answer["location"])
    return lines[0].split(" ")[1:2] or done.stderr, answer, body


def test_the_same_as_the_official_one(world, lab, pillion_only):
    folder = world.sidecar.box.folder / "www"
    for name, content in FILES.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    for path in (folder, *folder.rglob("*")):
        os.utime(path, (DATE, DATE))
    config = {
        "TCP": {"80": {"HTTP": True}},
        "Web": {"${TS_CERT_DOMAIN}:80": {"Handlers": {"/": {"Path": str(folder)}}}},
    }
    served = Served(world, config, {"TS_SERVE_ROOT": str(folder)})
    served.wait("http://NAME/text", "plain text\n", 30)
    other = Tailscaled(lab.box("official"), world.headscale).join()
    other.cli("serve", "--bg", "--yes", "--http=80", str(folder))
    name = other.status()["Self"]["DNSName"].rstrip(".")
    official = other.addresses()[0]
    wait_for(
        lambda: ask(world, name, official, "/text")[2] == b"plain text\n",
        30,
        lambda: f"the official one to serve; {ask(world, name, official, '/text')}",
    )
    differences = []
    for request in REQUESTS:
        ours = ask(world, served.name, served.addresses[0], *request)
        theirs = ask(world, name, official, *request)
        for answer in (ours[1], theirs[1]):
            if "location" in answer:
                answer["location"] = urllib.parse.urlsplit(answer["location"])[2:]
        if ours != theirs:
            differences.append(f"{request}:\n  ours   {ours}\n  theirs {theirs}")
    assert not differences, "\n".join(differences)
