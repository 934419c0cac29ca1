# SPDX-License-Identifier: BSD-3-Clause
"""`pillion disconnect` in a container, where nobody may trace a process.

dev (a network and PID namespace, the rights of a container): connect, its daemon, disconnect
"""

import subprocess

import pytest
from lab.peers import build_folder

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
    assert "no 'pillion daemon'" not in done.stderr


def test_it_ends_one_of_the_official_name(lab, tmp_path):
    link = tmp_path / "tailscaled"
    link.symlink_to(PILLION)
    done = in_container(
        lab,
        f"{link} --state=mem: >/dev/null 2>&1 & {WAIT}; {PILLION} disconnect && wait && echo ended",
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
