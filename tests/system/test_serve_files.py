# SPDX-License-Identifier: BSD-3-Clause
"""Path handlers: files and folders, as http.FileServer of the official daemon serves them."""

import email.utils
import hashlib
import json
import os
import re
import socket
import subprocess
from pathlib import Path

import pytest
from lab import wait_for
from lab.build import build_folder, is_sanitized
from lab.network import PYTHON
from lab.served import Served

SITE = "${TS_CERT_DOMAIN}:80"
BIG = 64 * 1024 * 1024


def config(**handlers):
    return {
        "TCP": {"80": {"HTTP": True}, "443": {"HTTPS": True}},
        "Web": {
            SITE: {"Handlers": {"/hello": {"Text": "hello"}, **handlers}},
            "${TS_CERT_DOMAIN}:443": {"Handlers": handlers},
        },
    }


class Files:
    """A served folder, and requests for it."""

    def __init__(self, world, environment=None, **handlers):
        self.folder = world.sidecar.box.folder / "www"
        self.folder.mkdir()
        self.outside = world.sidecar.box.folder / "outside"
        self.outside.mkdir()
        handlers = handlers or {"/": {"Path": str(self.folder)}}
        roots = {"TS_SERVE_ROOT": str(self.folder), **(environment or {})}
        self.served = Served(world, config(**handlers), roots)
        self.served.wait("http://NAME/hello", "hello")

    def write(self, name, content):
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    def get(self, path, *options, scheme="http"):
        """(status, headers with small names, body as bytes)"""
        command = self.served.command(f"{scheme}://NAME{path}", "-i", "--path-as-is", *options)
        done = subprocess.run(
            self.served.world.laptop.box.enter(*command), capture_output=True, check=False
        )
        assert done.stdout, done.stderr
        head, _, body = done.stdout.partition(b"\r\n\r\n")
        lines = head.decode().split("\r\n")
        fields = {line.split(": ")[0].lower(): line.partition(": ")[2] for line in lines[1:]}
        return int(lines[0].split()[1]), fields, body


@pytest.fixture
def files(world):
    return Files(world)


def test_a_file_and_its_head(files):
    path = files.write("a/page.html", "<p>hello")
    os.utime(path, (1_700_000_000, 1_700_000_000))
    for scheme in ("http", "https"):
        status, fields, body = files.get("/a/page.html", scheme=scheme)
        assert (status, body) == (200, b"<p>hello")
        assert fields["content-type"] == "text/html; charset=utf-8"
        assert fields["content-length"] == "8"
        assert fields["last-modified"] == "Tue, 14 Nov 2023 22:13:20 GMT"
        assert fields["accept-ranges"] == "bytes" and re.fullmatch(r'"[0-9a-f-]+"', fields["etag"])
    status, fields, body = files.get("/a/page.html", "--head")
    assert (status, fields["content-length"], body) == (200, "8", b"")
    assert files.get("/none")[0] == 404
    assert files.get("/a/page.html/more")[0] == 404
    status, fields, _ = files.get("/a/page.html", "-d", "x")
    assert (status, fields["allow"]) == (405, "GET, HEAD")


def test_folders(files):
    """Redirects, index.html, and the list of names."""
    files.write("plain/b & <c>.txt", "1")
    files.write("plain/a:1?#.txt", "1")
    files.write("plain/sub/x", "1")
    files.write("page/index.html", "index")
    assert files.get("/plain?q=1")[:2][1]["location"] == "/plain/?q=1"
    assert files.get("/page/index.html")[1]["location"] == "/page/"
    assert files.get("/page/")[2] == b"index"
    assert files.get("/page/index.html/")[0] == 301
    status, fields, body = files.get("/plain/")
    assert (status, fields["content-type"]) == (200, "text/html; charset=utf-8")
    assert "last-modified" in fields and "accept-ranges" not in fields
    links = re.findall(r'<a href="(.*?)">(.*?)</a>', body.decode())
    assert links == [
        ("./a:1%3F%23.txt", "a:1?#.txt"),
        ("b%20&%20%3Cc%3E.txt", "b &amp; &lt;c&gt;.txt"),
        ("sub/", "sub/"),
    ]
    for link, _ in links[:2]:
        assert files.get("/plain/" + link.removeprefix("./"))[2] == b"1"
    modified = fields["last-modified"]
    assert files.get("/plain/", "-H", f"If-Modified-Since: {modified}")[0] == 304
    assert files.get("//evil.example/%2e%2e/page")[1]["location"] == "/page/"


def test_ranges(files):
    content = bytes(range(256)) * 4
    files.write("f.bin", content)

    def part(ranges, *options):
        return files.get("/f.bin", "-H", f"Range: bytes={ranges}", *options)

    status, fields, body = part("10-19")
    assert (status, body) == (206, content[10:20])
    assert fields["content-range"] == "bytes 10-19/1024" and fields["content-length"] == "10"
    assert part("-5")[2] == content[-5:]
    assert part("1000-")[2] == content[1000:]
    assert part("1020-5000")[2] == content[1020:]
    status, fields, _ = part("1024-")
    assert (status, fields["content-range"]) == (416, "bytes */1024")
    assert part("x")[0] == 416 and part("5-2")[0] == 416
    assert part("0-1023,0-1023")[0] == 200
    assert part("0-9", "--head")[:1] == (206,)
    status, fields, body = part("0-1, 5-6,-2")
    assert status == 206 and int(fields["content-length"]) == len(body)
    boundary = re.fullmatch(r"multipart/byteranges; boundary=(\w+)", fields["content-type"])[1]
    parts = body.split(f"--{boundary}".encode())
    assert parts[-1] == b"--\r\n" and len(parts) == 5
    assert [p.partition(b"\r\n\r\n")[2][:-2] for p in parts[1:-1]] == [
        content[:2],
        content[5:7],
        content[-2:],
    ]
    assert b"Content-Range: bytes 5-6/1024\r\nContent-Type: " in parts[2]


def test_conditions(files):
    path = files.write("f.txt", "text")
    _, fields, _ = files.get("/f.txt")
    etag, modified = fields["etag"], fields["last-modified"]
    earlier = email.utils.formatdate(path.stat().st_mtime - 60, usegmt=True)
    rows = [
        (["If-None-Match: " + etag], 304),
        (["If-None-Match: W/" + etag], 304),
        (['If-None-Match: "x", ' + etag], 304),
        (["If-None-Match: *"], 304),
        (['If-None-Match: "x"'], 200),
        (['If-None-Match: "x"', "If-Modified-Since: " + modified], 200),
        (["If-Modified-Since: " + modified], 304),
        (["If-Modified-Since: " + earlier], 200),
        (["If-Modified-Since: never"], 200),
        (["If-Match: " + etag], 200),
        (['If-Match: "x"'], 412),
        (["If-Match: W/" + etag], 412),
        (["If-Match: *"], 200),
        (["If-Unmodified-Since: " + earlier], 412),
        (["If-Unmodified-Since: " + modified], 200),
        (["Range: bytes=0-1", "If-Range: " + etag], 206),
        (["Range: bytes=0-1", 'If-Range: "x"'], 200),
        (["Range: bytes=0-1", "If-Range: " + modified], 206),
        (["Range: bytes=0-1", "If-Range: " + earlier], 200),
    ]
    for sent, status in rows:
        options = [word for line in sent for word in ("-H", line)]
        got, fields, body = files.get("/f.txt", *options)
        assert got == status, sent
        assert body == {200: b"text", 206: b"te"}.get(got, b""), sent
        assert got != 304 or fields["etag"] == etag
    path.write_text("more")
    assert files.get("/f.txt", "-H", f"If-None-Match: {etag}")[0] == 200


def test_nothing_above_the_folder(files):
    """By "..", escapes, links, FIFOs, devices and sockets; a link that stays inside is followed."""
    secret = files.outside / "secret"
    secret.write_text("secret")
    files.write("real/x", "inside")
    (files.folder / "absolute").symlink_to(secret)
    (files.folder / "relative").symlink_to("../outside/secret")
    (files.folder / "up").symlink_to("..")
    (files.folder / "proc").symlink_to("/proc/self/environ")
    (files.folder / "inside").symlink_to("real/x")
    (files.folder / "current").symlink_to("real")
    os.mkfifo(files.folder / "fifo")
    with socket.socket(socket.AF_UNIX) as s:
        s.bind(str(files.folder / "s"))
    for path in (
        *("/absolute", "/relative", "/up/outside/secret", "/proc", "/fifo", "/s"),
        *("/../outside/secret", "/%2e%2e/outside/secret", "/..%2foutside/secret"),
        *("/real/..%2f..%2foutside/secret", "/x%00", "/%"),
    ):
        status, _, body = files.get(path)
        assert status in (400, 403, 404) and b"secret" not in body, path
    for name in ("absolute", "relative", "proc", "fifo", "s"):
        assert files.get(f"/{name}")[0] == 403
    assert files.get("/inside")[2] == b"inside"
    assert files.get("/current/x")[2] == b"inside"
    assert files.get("/hello")[2] == b"hello"


def test_the_state_is_never_served(world):
    """Although its folder is below a root, by its path, by a link, and through another mount."""
    folder = world.sidecar.box.folder
    certs, elsewhere = world.sidecar.state / "certs", folder / "mounted"
    for made in (certs, elsewhere):
        made.mkdir(parents=True)
    (certs / "name.key").write_text("profile")
    subprocess.run(["mount", "--bind", certs, elsewhere], check=True)
    try:
        look_for_the_state(world, folder)
    finally:
        subprocess.run(["umount", elsewhere], check=True)


def look_for_the_state(world, folder):
    files = Files(
        world,
        {"TS_SERVE_ROOT": str(folder)},
        **{"/all/": {"Path": str(folder)}, "/state/": {"Path": str(world.sidecar.state)}},
    )
    state = world.sidecar.state
    (folder / "www/link").symlink_to("../" + str(state.relative_to(folder)))
    name = state.relative_to(folder)
    for path in (
        *("/state/", "/state/tailscaled.state", f"/all/{name}/tailscaled.state", f"/all/{name}/"),
        *("/all/www/link/tailscaled.state", "/all/www/link/"),
        *("/all/mounted/name.key", "/all/mounted/"),
    ):
        status, _, body = files.get(path)
        assert status == 403 and b"profile" not in body, path
    assert files.get("/all/")[0] == 200


def test_outside_of_the_roots(world):
    """A clear page, a warning that names the flag; by command it is refused."""
    files = Files(
        world,
        {"TS_SERVE_ROOT": str(world.sidecar.box.folder / "www")},
        **{"/": {"Path": "/etc"}, "/own/": {"Path": str(world.sidecar.box.folder)}},
    )
    status, _, body = files.get("/passwd")
    assert status == 403 and b"--serve-root" in body and b"/etc" not in body
    wait_for(
        lambda: any(
            "/etc is outside" in line and "--serve-root" in line
            for line in files.served.node.status()["Health"]
        ),
        10,
        lambda: files.served.node.status()["Health"],
    )
    # The folder of TS_SERVE_CONFIG is a root by itself.
    assert files.get("/own/serve.json")[0] == 200


def test_by_command(world):
    """`serve PATH`: a folder gets a mount with a slash; another folder is refused with the flag."""
    folder = world.sidecar.box.folder / "www"
    folder.mkdir()
    (folder / "x.txt").write_text("text")
    node = world.sidecar
    node.start(world.headscale.auth_key(), {"TS_SERVE_ROOT": str(folder)})
    node.wait_running()
    node.pillion("serve", "--bg", "--http=80", "--set-path=/f", str(folder))
    node.pillion("serve", "--bg", "--http=80", "--set-path=/one", str(folder / "x.txt"))
    (site,) = json.loads(node.pillion("serve", "status", "--json").stdout)["Web"].values()
    assert set(site["Handlers"]) == {"/f/", "/one"}
    name = node.status()["Self"]["DNSName"].rstrip(".")

    def fetch(path):
        at = f"{name}::{node.addresses()[0]}:"
        command = ["curl", "-sS", "-L", "--max-time", "10", "--connect-to", at]
        return world.laptop.box.run(*command, f"http://{name}{path}", check=False).stdout

    wait_for(lambda: fetch("/one") == "text", 20, lambda: fetch("/one"))
    assert fetch("/f/x.txt") == "text" and '<a href="x.txt">' in fetch("/f")
    assert fetch("/one/") == fetch("/one/more") == "404 page not found\n"
    done = node.pillion("serve", "--bg", "--http=80", "/etc", check=False)
    assert done.returncode == 1
    assert "/etc is outside" in done.stderr and "--serve-root" in done.stderr
    done = node.pillion("serve", "--bg", "--http=80", str(folder / "none"), check=False)
    assert done.returncode == 1 and "invalid path" in done.stderr


def test_big_files_cost_no_memory(files):
    """Eight slow readers of a large file; whole over HTTP and HTTPS, byte by byte the same."""
    path = files.folder / "big"
    with path.open("wb") as f:
        f.truncate(BIG)
        f.seek(BIG - 4)
        f.write(b"end.")
    wanted = hashlib.sha256(path.read_bytes()).hexdigest()
    pid = files.served.services_pid()
    client = files.served.world.laptop.box
    slow = [
        client.start(
            *files.served.command("http://NAME/big", "--limit-rate", "1M", "-o", "/dev/null"),
            log=f"slow{i}",
        )
        for i in range(8)
    ]
    for scheme in ("http", "https"):
        command = " ".join(map(repr, map(str, files.served.command(f"{scheme}://NAME/big"))))
        assert client.run("sh", "-c", command + " | sha256sum").stdout.split()[0] == wanted
    status = Path(f"/proc/{pid}/status").read_text()
    limit = 400 if is_sanitized(build_folder()) else 40
    assert int(re.search(r"VmRSS:\s+(\d+)", status)[1]) < limit * 1024
    for process in slow:
        process.kill()


def test_a_file_that_shrinks_is_cut(files):
    """The client sees a short answer, never other bytes, and the services stay."""
    path = files.write("f", b"x" * BIG)
    pid = files.served.services_pid()
    got = files.outside / "got"
    command = files.served.command("http://NAME/f", "--limit-rate", "2M", "-o", got)
    process = files.served.world.laptop.box.start(*command, log="cut")
    wait_for(lambda: got.exists() and got.stat().st_size > 0, 10, "the first bytes")
    os.truncate(path, 0)
    assert process.wait(60) == 18, process.text()
    assert files.served.services_pid() == pid


def test_a_kernel_without_openat2(world):
    files = Files(world, {"PILLION_DISABLE": "openat2"})
    files.write("x", "1")
    status, _, body = files.get("/x")
    assert status == 500 and b"openat2" in body


def test_many_requests_at_once(files):
    """More than the supervisor keeps waiting: all are answered."""
    files.write("x.txt", "text")
    script = (
        "import concurrent.futures, http.client, sys\n"
        "def get(_):\n"
        "    c = http.client.HTTPConnection(sys.argv[1], 80, timeout=20)\n"
        "    c.request('GET', '/x.txt', headers={'Host': sys.argv[2]})\n"
        "    return c.getresponse().read()\n"
        "with concurrent.futures.ThreadPoolExecutor(200) as pool:\n"
        "    print(sum(body == b'text' for body in pool.map(get, range(600))))\n"
    )
    done = files.served.world.laptop.box.run(
        PYTHON, "-c", script, files.served.addresses[0], files.served.name
    )
    assert done.stdout == "600\n"
