# SPDX-License-Identifier: BSD-3-Clause
"""Who may serve: root, and the operator but for what the supervisor opens as root."""

import json
import os

import pytest
from lab.build import build_folder

OPERATOR, OTHER = ("daemon", 1), ("bin", 2)
URL = "http://local-tailscaled.sock/localapi/v0/serve-config"


@pytest.fixture
def node(world, tmp_path_factory):
    """With an operator, and a socket that every user can reach."""
    folder = world.sidecar.socket.parent
    base = tmp_path_factory.getbasetemp().parent
    for at in (folder, *folder.parents):
        if at.is_relative_to(base):
            os.chmod(at, at.stat().st_mode | 0o011)
    shared = world.sidecar.box.folder / "shared"
    shared.mkdir()
    world.sidecar.start(world.headscale.auth_key(), {"TS_SERVE_ROOT": str(shared)})
    world.sidecar.wait_running()
    world.sidecar.pillion("set", f"--operator={OPERATOR[0]}")
    return world.sidecar


def as_user(node, user, *command, **options):
    drop = ["setpriv", f"--reuid={user[1]}", f"--regid={user[1]}", "--clear-groups"]
    return node.box.run(*drop, *command, check=False, **options)


def post(node, user, config):
    """Status and text of the answer to a configuration."""
    command = ["curl", "-sS", "-w", "\n%{http_code}", "--unix-socket", node.socket]
    done = as_user(node, user, *command, "--data-binary", json.dumps(config), URL)
    text, _, status = done.stdout.rpartition("\n")
    return status, text or done.stderr


def config_of(node, handler, forward="127.0.0.1:9"):
    name = node.status()["Self"]["DNSName"].rstrip(".")
    return {
        "TCP": {"80": {"HTTP": True}, "5432": {"TCPForward": forward}},
        "Web": {f"{name}:80": {"Handlers": {"/": handler}}},
    }


def test_the_operator_serves_no_file_and_no_socket(node):
    """The supervisor would open them with rights that the operator lacks. The official daemon says 401 too."""
    shared = node.box.folder / "shared"
    text = {"Text": "hello"}
    refused = [
        config_of(node, {"Path": str(shared)}),
        config_of(node, {"Proxy": f"unix:{shared}/app.sock"}),
        config_of(node, {"Proxy": "unix:/var/run/docker.sock"}),
        config_of(node, text, f"unix:{shared}/app.sock"),
        # In other letters, and in the foreground.
        json.loads(json.dumps(config_of(node, {"Path": str(shared)})).replace("Path", "path")),
    ]
    for config in refused:
        status, said = post(node, OPERATOR, config)
        assert status in ("401", "400"), (config, status, said)
        assert status == "400" or "must be root to serve a path" in said
    assert node.pillion("serve", "status", "--json").stdout.strip() in ("{}", "null")
    assert post(node, OPERATOR, config_of(node, text))[0] == "200"
    for config in refused[:2]:
        assert post(node, ("root", 0), config)[0] == "200"
    # Outside of the folders that the start has named nobody is allowed to.
    status, said = post(node, ("root", 0), refused[2])
    assert status != "200" and "--serve-root" in said, said


def test_a_session_of_the_operator_serves_no_file(node):
    """In the foreground: the session is one of an open watch."""
    shared = node.box.folder / "shared"
    pillion = [build_folder() / "pillion", f"--socket={node.socket}"]
    done = as_user(node, OPERATOR, "timeout", 10, *pillion, "serve", "--http=80", str(shared))
    assert done.returncode == 1, done
    assert "must be root to serve a path" in done.stderr
    assert "Foreground" not in node.pillion("serve", "status", "--json").stdout


def test_other_users_serve_nothing(node):
    """Neither in the background nor in the foreground; what is served they may read."""
    pillion = [build_folder() / "pillion", f"--socket={node.socket}"]
    for more in (["--bg"], []):
        command = [*pillion, "serve", *more, "--http=80", "text:x"]
        done = as_user(node, OTHER, "timeout", 10, *command)
        assert done.returncode == 1, done
        assert "denied" in done.stderr.lower(), done.stderr
    assert post(node, OTHER, {})[0] == "403"
    node.pillion("serve", "--bg", "--http=80", "text:x")
    done = as_user(node, OTHER, *pillion, "serve", "status")
    assert done.returncode == 0 and '"x"' in done.stdout
