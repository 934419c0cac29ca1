# SPDX-License-Identifier: BSD-3-Clause
"""Real clients and apps at the two ends of a served port: curl and nginx."""

import hashlib
import os
import re

import pytest
from lab import wait_for
from lab.served import MIRROR_PORT, Served

SIZE = 20_000_000


@pytest.fixture
def served(world):
    """nginx with a file, and a folder that takes uploads."""
    box = world.sidecar.box
    root = box.folder / "root"
    root.mkdir()
    root.chmod(0o777)
    (root / "file").write_bytes(os.urandom(SIZE))
    configuration = box.folder / "app.conf"
    configuration.write_text(
        f"daemon off; user root; error_log stderr; pid {box.folder}/app.pid;\n"
        "events {}\n"
        "http { access_log off; client_max_body_size 0;\n"
        f"  server {{ listen 127.0.0.1:{MIRROR_PORT}; root {root};\n"
        "    location /up/ { dav_methods PUT DELETE; create_full_put_path on; } } }\n"
    )
    box.start("nginx", "-c", configuration, log="nginx")
    wait_for(
        lambda: box.run("nc", "-z", "127.0.0.1", MIRROR_PORT, check=False).returncode == 0,
        15,
        "nginx",
    )
    handlers = {"Handlers": {"/": {"Proxy": f"http://127.0.0.1:{MIRROR_PORT}"}}}
    config = {
        "TCP": {"80": {"HTTP": True}, "443": {"HTTPS": True}},
        "Web": {"${TS_CERT_DOMAIN}:80": handlers, "${TS_CERT_DOMAIN}:443": handlers},
    }
    made = Served(world, config)
    for scheme in ("http", "https"):
        status = [f"{scheme}://NAME/file", "-o", "/dev/null", "-w", "%{http_code}"]
        wait_for(lambda status=status: made.fetch(*status) == "200", 30, "the page")
    return made


def digest(file):
    return hashlib.sha256(file.read_bytes()).hexdigest()


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_ranges_and_a_resumed_download(served, scheme, tmp_path):
    """curl asks for a range, is cut off in the middle of a download, and goes on where it was."""
    whole = served.node.box.folder / "root/file"
    part, rest = tmp_path / "part", tmp_path / "rest"
    told = served.fetch(
        f"{scheme}://NAME/file", "-r", "1000-1999", "-o", part, "-D", "-", "-w", "%{http_code}"
    )
    assert told.endswith("206") and re.search(f"(?i)content-range: bytes 1000-1999/{SIZE}", told)
    assert part.read_bytes() == whole.read_bytes()[1000:2000]
    served.fetch(f"{scheme}://NAME/file", "-o", rest, "--limit-rate", "1M", "--max-time", "1")
    assert 0 < rest.stat().st_size < SIZE
    told = served.fetch(f"{scheme}://NAME/file", "-C", "-", "-o", rest, "-w", "%{http_code}")
    assert told == "206"
    assert digest(rest) == digest(whole)


def test_an_unchanged_file(served):
    """By its ETag, and by its time."""
    head = served.fetch("http://NAME/file", "-I")
    tag = re.search(r"(?i)^etag: (\S+)", head, re.M)[1]
    status = ["-o", "/dev/null", "-w", "%{http_code}"]
    assert served.fetch("http://NAME/file", "-H", f"If-None-Match: {tag}", *status) == "304"
    assert served.fetch("http://NAME/file", "-H", 'If-None-Match: "other"', *status) == "200"


@pytest.mark.parametrize("options", [[], ["-H", "Transfer-Encoding: chunked"]])
def test_an_upload(served, options, tmp_path):
    """With its length, which curl announces by Expect: 100-continue, and in chunks."""
    sent = tmp_path / "sent"
    sent.write_bytes(os.urandom(SIZE))
    status = served.fetch("https://NAME/up/file", "-T", sent, "-w", "%{http_code}", *options)
    assert status.endswith("201"), status
    assert digest(served.node.box.folder / "root/up/file") == digest(sent)
