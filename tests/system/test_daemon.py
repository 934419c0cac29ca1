# SPDX-License-Identifier: BSD-3-Clause
"""The daemon in a container, under our name and the official one.

dev (a network and PID namespace, the rights of a container): a daemon, commands
"""

import subprocess

import pytest
from lab.build import build_folder

PILLION = build_folder() / "pillion"
LEAST = "net_admin"
# What an engine gives by default, and NET_ADMIN.
DEFAULT = (
    "audit_write,chown,dac_override,fowner,fsetid,kill,mknod,net_admin,net_bind_service,net_raw,"
    "setfcap,setgid,setpcap,setuid,sys_chroot"
)
BACKGROUND = f"{PILLION} connect --state=mem: --login-server=http://127.0.0.1:9 --timeout=1s"
# Until the daemon answers, whatever its state.
WAIT = (
    f"for i in $(seq 200); do {PILLION} status --json 2>/dev/null | grep -q BackendState && break; "
    "sleep 0.1; done"
)


def in_container(lab, script, rights):
    """Run by a shell that is the first process, as the command of a container."""
    box = lab.box("dev")
    command = box.container_command(["sh", "-c", script], rights)
    return subprocess.run(
        command, check=False, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL
    )


@pytest.mark.parametrize("rights", [LEAST, DEFAULT], ids=["least", "default"])
def test_it_ends_the_daemon_in_the_background(lab, rights):
    done = in_container(
        lab,
        f"{BACKGROUND}; readlink /proc/$(pgrep -x pillion)/exe && echo readable; "
        f"{PILLION} disconnect && pgrep pillion || echo ended",
        rights,
    )
    assert "readable" not in done.stdout, "this container has more rights than one has"
    assert done.stdout == "ended\n", done.stderr
    assert "not a 'pillion daemon'" not in done.stderr


def test_it_ends_one_of_the_official_name(lab, tmp_path):
    link = tmp_path / "tailscaled"
    link.symlink_to(PILLION)
    done = in_container(
        lab,
        f"{link} --state=mem: >/dev/null 2>&1 & {WAIT}; {PILLION} disconnect && wait && echo ended",
        LEAST,
    )
    assert done.stdout == "ended\n", done.stderr


@pytest.mark.parametrize("flag", ["--socket=/run/x", "--socket /run/x"])
def test_it_ends_one_whose_socket_stands_before_the_command(lab, flag):
    done = in_container(
        lab,
        f"export TS_SOCKET=/run/x; {PILLION} {flag} daemon --state=mem: >/dev/null 2>&1 & "
        f"{WAIT.replace(' status', ' --socket=/run/x status')}; "
        f"{PILLION} {flag} disconnect && wait && echo ended",
        LEAST,
    )
    assert done.stdout == "ended\n", done.stderr


def test_it_leaves_the_entry_point_of_a_container_alone(lab):
    done = in_container(
        lab,
        f"export TS_SOCKET=/run/x TS_LOGIN_SERVER=http://127.0.0.1:9; "
        f"{PILLION} run >/dev/null 2>&1 & {WAIT}; {PILLION} disconnect; {PILLION} status; kill $!",
        LEAST,
    )
    assert "stop the container" in done.stderr
    assert done.stdout != "", done.stderr


def test_what_is_given_to_the_official_daemon_is_taken_or_said(lab, tmp_path):
    link = tmp_path / "tailscaled"
    link.symlink_to(PILLION)
    flags = (
        "--state=mem: --socks5-server=localhost:0 --outbound-http-proxy-listen=localhost:0 "
        "--debug=localhost:0 --bird-socket=/run/bird --no-logs-no-support --verbose=1 "
        "--tun=userspace-networking"
    )
    done = in_container(lab, f"{link} {flags} & {WAIT}; {PILLION} disconnect; wait", LEAST)
    assert "Program starting: " in done.stderr
    for flag in ("socks5-server", "outbound-http-proxy-listen", "debug", "bird-socket"):
        assert f"--{flag} is not supported yet" in done.stderr
    assert "--no-logs-no-support has nothing to do here" in done.stderr
    assert "--tun=userspace-networking: pillion always uses a kernel interface" in done.stderr


def test_cleanup_removes_what_a_killed_daemon_left(lab, tmp_path):
    link = tmp_path / "tailscaled"
    link.symlink_to(PILLION)
    bind = "import socket; socket.socket(socket.AF_UNIX).bind('/run/tailscale/tailscaled.sock')"
    look = "ip rule | grep -c 5270; nft list tables | grep -c pillion; ls /run/tailscale"
    done = in_container(
        lab,
        # As a killed daemon leaves them: no link leads to them any more.
        "ip rule add pref 5270 table 52 protocol 80; nft add table inet pillion; "
        f'mkdir /run/tailscale; /usr/bin/python3 -c "{bind}"; {look}; '
        f"{link} --cleanup --state=/var/lib/tailscale/tailscaled.state && echo cleaned; {look}",
        LEAST,
    )
    assert done.stdout == "1\n1\ntailscaled.sock\ncleaned\n0\n0\n", done.stderr


def test_cleanup_leaves_a_daemon_that_runs_alone(lab, tmp_path):
    link = tmp_path / "tailscaled"
    link.symlink_to(PILLION)
    done = in_container(
        lab,
        f"{link} --state=mem: 2>/dev/null & {WAIT}; {link} --cleanup && echo cleaned; "
        f"{PILLION} status --json | grep -c BackendState; {PILLION} disconnect; wait",
        LEAST,
    )
    assert done.stdout == "cleaned\n1\n", done.stderr
    assert "nothing was cleaned up" in done.stderr


def test_flags_that_a_running_daemon_can_not_take_are_said(lab):
    again = "--statedir=/run/a --port=1 --tun=other --timeout=1s --login-server=http://127.0.0.1:9"
    done = in_container(
        lab,
        f"{BACKGROUND.replace('--state=mem:', '--statedir=/run/a')}; echo AGAIN >&2; "
        f"{PILLION} connect {again}; {PILLION} disconnect",
        LEAST,
    )
    said = done.stderr.split("AGAIN")[1]
    for flag in ("--port", "--tun"):
        assert f"warning: {flag} has no effect: a daemon runs already" in said
    assert "--statedir has no effect" not in said, "it runs with that one"
