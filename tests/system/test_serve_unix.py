# SPDX-License-Identifier: BSD-3-Clause
"""Targets that are Unix sockets: an app that shares a folder with the sidecar, and no port."""

import json
import os
import socket

import pytest
from lab import wait_for
from lab.network import PYTHON
from lab.served import MIRROR, Served, headers


def config(path):
    return {
        "TCP": {"80": {"HTTP": True}, "5432": {"TCPForward": f"unix:{path}"}},
        "Web": {
            "${TS_CERT_DOMAIN}:80": {
                "Handlers": {"/": {"Proxy": f"unix:{path}"}, "/hello": {"Text": "hello"}}
            }
        },
    }


@pytest.fixture
def shared(world):
    folder = world.sidecar.box.folder / "run"
    folder.mkdir()
    return folder


def start_app(box, path, log="unix-mirror"):
    """The mirror, at a Unix socket."""
    process = box.start(PYTHON, MIRROR, path, log=log)
    process.wait_text("^serving", 10)
    return process


def test_http_and_tcp(world, shared):
    """The app sees the Host "localhost", as with the official daemon; it may stand in another box."""
    start_app(world.laptop.box, shared / "app.sock")
    served = Served(world, config(shared / "app.sock"), {"TS_SERVE_ROOT": str(shared)})
    served.wait("http://NAME/hello", "hello")
    seen = served.seen("http://NAME/a?b")
    assert seen["target"] == "/a?b"
    assert headers(seen)["host"] == "localhost"
    assert headers(seen)["x-forwarded-host"] == served.name
    assert headers(seen)["x-forwarded-for"] == world.laptop.addresses()[0]
    assert served.seen("http://NAME:5432/tcp")["target"] == "/tcp"
    body = b"x" * 3_000_000
    upload = shared / "body"
    upload.write_bytes(body)
    assert served.seen("http://NAME/", "-T", upload)["length"] == len(body)


def test_an_app_that_starts_again_loses_no_request(world, shared):
    """It removes its socket and makes it anew; a request waits meanwhile."""
    path = shared / "app.sock"
    app = start_app(world.sidecar.box, path)
    served = Served(world, config(path), {"TS_SERVE_ROOT": str(shared)})
    served.wait("http://NAME/hello", "hello")
    for number in range(2):
        app.kill()
        if number == 1:
            path.unlink()
        waiting = world.laptop.box.start(*served.command("http://NAME/x"), log=f"wait{number}")
        app = start_app(world.sidecar.box, path, log=f"again{number}")
        assert waiting.wait(10) == 0
        assert json.loads(waiting.text())["target"] == "/x"
    app.kill()
    page = served.fetch("http://NAME/")
    assert "502" in page and str(path) in page


def test_what_is_no_app(world, shared):
    """A file, a folder, our own LocalAPI, a link out of the root; a path without a root."""
    node = world.sidecar
    outside = node.box.folder / "outside.sock"
    with socket.socket(socket.AF_UNIX) as s:
        s.bind(str(outside))
        s.listen()
        (shared / "link").symlink_to(outside)
        (shared / "file").write_text("x")
        api = os.path.relpath(node.socket, node.box.folder)
        served = Served(
            world, config(shared / "none"), {"TS_SERVE_ROOT": f"{shared}:{node.box.folder}"}
        )
        served.wait("http://NAME/hello", "hello")
        for path in (shared / "file", shared, node.box.folder / api):
            served.change(config(path))
            assert "502" in served.fetch("http://NAME/"), path
        served.change(config("/nowhere/app.sock"))
        assert "--serve-root" in served.fetch("http://NAME/")
        wait_for(
            lambda: any("/nowhere/app.sock is outside" in line for line in node.status()["Health"]),
            10,
            lambda: node.status()["Health"],
        )


def test_by_command(world, shared):
    node = world.sidecar
    start_app(node.box, shared / "app.sock")
    node.start(world.headscale.auth_key(), {"TS_SERVE_ROOT": str(shared)})
    node.wait_running()
    said = node.pillion("serve", "--bg", "--http=80", f"unix:{shared}/app.sock").stdout
    assert f"|-- proxy unix:{shared}/app.sock" in said
    said = node.pillion("serve", "--bg", "--tcp=5432", f"unix:{shared}/app.sock").stdout
    assert f"|--> unix:{shared}/app.sock" in said
    config_now = json.loads(node.pillion("serve", "status", "--json").stdout)
    assert config_now["TCP"]["5432"]["TCPForward"] == f"unix:{shared}/app.sock"
    done = node.pillion("serve", "--bg", "--http=80", "unix:/var/run/docker.sock", check=False)
    assert done.returncode == 1 and "--serve-root" in done.stderr
