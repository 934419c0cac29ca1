# SPDX-License-Identifier: BSD-3-Clause
"""The processes that may listen on the socket of a command.

    command (root) ──Unix socket──▶ a listener of another user

Needs root: the listener gives up its user before it listens.
"""

import os
import socket
import subprocess
from contextlib import contextmanager
from pathlib import Path

import pytest
from lab.build import BUILD
from lab.waiting import wait_for

STRANGER, NOBODY = 12345, 65534
KEY = "--auth-key=tskey-auth-stolen"
END = b"end"


@pytest.fixture
def folder():
    """One that other users can reach and write, as /tmp is."""
    path = Path("/tmp") / f"pillion-listener-{os.getpid()}"
    path.mkdir()
    path.chmod(0o1777)
    yield path
    for name in path.iterdir():
        name.unlink()
    path.rmdir()


@contextmanager
def stranger(path, uid=STRANGER):
    """A listener of that user at `path`; yields what returns all that it has heard."""
    log = path.with_suffix(".heard")
    child = os.fork()
    if child == 0:
        os.setuid(uid)
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(path))
        path.chmod(0o777)
        listener.listen()
        with log.open("wb", buffering=0) as file:
            while True:
                connection, _ = listener.accept()
                file.write(connection.recv(4096))
                connection.close()

    def heard():
        with socket.socket(socket.AF_UNIX) as last:
            last.connect(str(path))
            last.send(END)
        wait_for(lambda: log.read_bytes().endswith(END), 10, "the listener to hear the end")
        return log.read_bytes().removesuffix(END)

    try:
        wait_for(log.exists, 10, "the listener")
        yield heard
    finally:
        os.kill(child, 9)
        os.waitpid(child, 0)


def run(*command, **variables):
    environment = {k: v for k, v in os.environ.items() if not k.startswith("TS_")}
    return subprocess.run(
        [*map(str, command)],
        check=False,
        env=environment | variables,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=20,
    )


def beside(folder, mounts, *arguments):
    """`pillion` where `mounts` (a shell command over $1, the folder) has changed the files."""
    script = f'exec 9<{BUILD / "pillion"}; {mounts}; shift; exec "$@"'
    return run(*["unshare", "--mount", "sh", "-ec", script, "sh", folder], *arguments)


@pytest.mark.parametrize("uid", [STRANGER, NOBODY])
def test_another_user_who_listens_gets_nothing(folder, uid):
    path = folder / "tailscaled.sock"
    with stranger(path, uid) as heard:
        for done in (
            run(BUILD / "pillion", f"--socket={path}", "up", KEY),
            run(BUILD / "pillion", "status", TS_SOCKET=str(path)),
            run(BUILD / "pillion", "connect", f"--socket={path}", KEY),
            run(BUILD / "pillion", "disconnect", f"--socket={path}"),
            run(BUILD / "pillion-server", "control", "keys", f"--socket={path}"),
        ):
            assert done.returncode == 1
            assert f"uid {uid} listens at {path}" in done.stderr
            assert "nothing was sent" in done.stderr
        assert heard() == b""


def test_no_socket_is_looked_for_where_all_may_make_one(folder):
    with stranger(folder / "tailscaled.sock") as heard:
        mounts = 'mount -t tmpfs tmpfs /run; mount --bind "$1" /tmp'
        done = beside(folder, mounts, "/proc/self/fd/9", "up", KEY)
        assert done.returncode == 1
        assert "no daemon answers at /var/run/tailscale/tailscaled.sock" in done.stderr
        assert heard() == b""


def test_a_daemon_outside_of_the_user_namespace_must_be_named(folder):
    """Its user has no number in here, so it can't be distinguished from others."""
    mounts = 'mount -t tmpfs tmpfs /run; mkdir /run/tailscale; mount --bind "$1" /run/tailscale'
    inside = ["unshare", "--user", "--map-root-user", "/proc/self/fd/9", "status"]
    with stranger(folder / "tailscaled.sock") as heard:
        done = beside(folder, mounts, *inside)
        assert done.returncode == 1 and "another user namespace" in done.stderr
        assert heard() == b""
        beside(folder, mounts, *inside, "--socket=/run/tailscale/tailscaled.sock")
        assert heard().startswith(END + b"GET /localapi/v0/status")


def test_the_entry_point_listens_where_commands_look(lab):
    """At the usual path, with a link for scripts that name the official entry point's socket."""
    program = BUILD / "pillion"
    script = (
        "export TS_LOGIN_SERVER=http://127.0.0.1:9; "
        f"{program} run & for i in $(seq 200); do {program} status --json | grep -q Backend && "
        "break; sleep 0.1; done; readlink /tmp/tailscaled.sock; "
        "stat -c %F /run/tailscale/tailscaled.sock; kill $!; wait; ls /tmp/tailscaled.sock"
    )
    box = lab.box("app")
    done = run(*box.container_command(["sh", "-c", script], "net_admin"))
    assert done.stdout.endswith("/var/run/tailscale/tailscaled.sock\nsocket\n"), done.stderr
