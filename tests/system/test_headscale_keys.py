# SPDX-License-Identifier: BSD-3-Clause
"""`pillion headscale provision` against a Headscale that is slow, broken, or not there at all.

tests/interop/test_headscale_provision.py uses a real server.
"""

import contextlib
import json
import os
import socket
import stat
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from lab.build import build_folder
from lab.waiting import wait_for

SECRET = "hskey-api-0123456789-topsecret"
VARIABLE = "PILLION_HEADSCALE_API_KEY"


class Fake(ThreadingHTTPServer):
    """The part of the API that is used, for one user; `answer` may be replaced."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.users, self.keys = [], []
        self.lock = threading.Lock()
        self.answer = self.usual
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def usual(self, method, path, body):
        """(status, JSON)"""
        with self.lock:
            if path.startswith("/api/v1/user?name="):
                return 200, {"users": [u for u in self.users if u["name"] == path[18:]]}
            if path == "/api/v1/user":
                self.users.append({"id": "7", "name": body["name"]})
                return 200, {"user": self.users[-1]}
            if path == "/api/v1/preauthkey" and method == "GET":
                return 200, {
                    "preAuthKeys": [{**k, "key": k["key"][:16] + "***"} for k in self.keys]
                }
            if path == "/api/v1/preauthkey":
                number = str(len(self.keys) + 1)
                key = {
                    "id": number,
                    "key": f"hskey-auth-{number:>05}secret",
                    "reusable": True,
                    "expiration": body["expiration"],
                    "user": {"id": body["user"]},
                }
                self.keys.append(key)
                return 200, {"preAuthKey": key}
            return 404, {"message": "no such thing"}


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def handle_it(self):
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length)) if length else None
        assert self.headers["Authorization"] == f"Bearer {SECRET}"
        status, answer = self.server.answer(self.command, self.path, body)
        text = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    do_GET = do_POST = handle_it


@pytest.fixture
def fake():
    server = Fake()
    yield server
    server.shutdown()
    server.server_close()


def command(url, folder, *flags):
    return [
        *[build_folder() / "pillion", "headscale", "provision", f"--url={url}"],
        *["--account=alice", "--device=laptop", f"--state={folder / 'keys'}", *flags],
    ]


def provision(url, folder, *flags, **variables):
    return subprocess.run(
        command(url, folder, *flags),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={**os.environ, VARIABLE: SECRET, **variables},
    )


def test_failures_leave_the_key_that_there_is(fake, tmp_path):
    done = provision(fake.url, tmp_path)
    assert done.returncode == 0, done.stderr
    key = json.loads(done.stdout)["key"]
    failures = [
        (500, {"message": "boom"}, "Headscale answers 500: boom"),
        (401, b"Unauthorized", "refuses the API key"),
        (200, b"nonsense", "is not valid JSON"),
        (200, [], ""),
        (200, {"users": 5, "preAuthKeys": {"a": 1}}, ""),
        (302, b"", "302"),
    ]
    for status, text, words in failures:
        fake.answer = lambda *_, status=status, text=text: (status, text)
        done = provision(fake.url, tmp_path)
        assert json.loads(done.stdout) == {"url": fake.url, "key": key}
        assert done.returncode == 0
        assert words in done.stderr
        assert "continuing with the existing key" in done.stderr
    # And it is as it was once all is well again.
    fake.answer = fake.usual
    done = provision(fake.url, tmp_path)
    assert json.loads(done.stdout)["key"] == key
    assert not done.stderr
    assert len(fake.keys) == 1


def test_one_that_never_answers(tmp_path, fake):
    """It is given up, and the app goes on."""
    silent = socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{silent.getsockname()[1]}"
    done = provision(url, tmp_path)
    assert done.returncode == 1
    assert not done.stdout
    assert done.stderr.startswith("pillion headscale provision: ")
    silent.close()


def test_two_at_once_make_one_key(fake, tmp_path):
    both = [
        subprocess.Popen(
            command(fake.url, tmp_path),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, VARIABLE: SECRET},
        )
        for _ in range(4)
    ]
    keys = set()
    for process in both:
        out, problems = process.communicate(timeout=60)
        assert process.returncode == 0, problems
        keys.add(json.loads(out)["key"])
    assert len(keys) == 1
    assert len(fake.keys) == 1
    (file,) = (tmp_path / "keys").iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


@pytest.mark.parametrize("way", ["flag", "variable"])
def test_the_api_key_is_seen_by_nobody(tmp_path, way):
    """Neither in the command line nor in the environment, while it waits for an answer."""
    silent = socket.create_server(("127.0.0.1", 0))
    flags = [f"--api-key={SECRET}"] if way == "flag" else []
    environment = {**os.environ, **({} if flags else {VARIABLE: SECRET})}
    process = subprocess.Popen(
        command(f"http://127.0.0.1:{silent.getsockname()[1]}", tmp_path, *flags),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
    )
    connection, _ = silent.accept()
    try:
        asked = connection.recv(65536)
        assert f"Bearer {SECRET}".encode() in asked
        folder = Path(f"/proc/{process.pid}")
        wait_for(lambda: (folder / "cmdline").read_bytes(), 5, "its command line")
        for name in ("cmdline", "environ"):
            assert SECRET.encode() not in (folder / name).read_bytes()
    finally:
        process.kill()
        out, problems = process.communicate(timeout=10)
        with contextlib.suppress(OSError):
            connection.close()
        silent.close()
    assert SECRET.encode() not in out + problems
