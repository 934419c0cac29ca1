# SPDX-License-Identifier: BSD-3-Clause
"""The image as a sidecar: swap the image line, and everything works. Topology: conftest.py."""

import json
import os
import signal
import time

import pytest
from conftest import FIRST
from lab.waiting import wait_for

pytestmark = pytest.mark.timeout(FIRST)

LEAST = ["--cap-drop", "ALL", "--cap-add", "NET_ADMIN"]


def test_the_names_that_users_call(image, docker_cli):
    script = "for n in containerboot tailscale tailscaled pillion wget sh; do command -v $n; done"
    done = docker_cli("run", "--rm", "--entrypoint", "/bin/sh", image, "-c", script)
    assert len(done.stdout.split()) == 6
    done = docker_cli("run", "--rm", "--entrypoint", "tailscale", image, "version")
    assert "capability version" in done.stdout


def test_without_the_device_and_the_right_the_error_says_what_to_add(image, docker_cli):
    state = ["-e", "TS_STATE_DIR=/tmp", "-e", "TS_USERSPACE=false"]
    done = docker_cli("run", "--rm", *state, image, check=False, timeout=60)
    assert done.returncode == 1
    assert "NET_ADMIN" in done.stderr
    done = docker_cli(
        *["run", "--rm", *state, "--cap-add", "NET_ADMIN", "--cap-drop", "MKNOD", image],
        check=False,
        timeout=60,
    )
    assert done.returncode == 1
    assert "/dev/net/tun" in done.stderr


def test_join_and_fetch_with_the_least_rights(tailnet, docker_cli):
    """cap_drop ALL, NET_ADMIN, a read-only root: the engine stays uid 0, with nothing."""
    side = tailnet.sidecar("least", *LEAST, "--read-only", "--tmpfs", "/tmp", "--tmpfs", "/run")
    tailnet.start_app(side)
    tailnet.wait_started(side)
    tailnet.fetch(tailnet.address(side))
    health = docker_cli("exec", side, "wget", "-qO-", "http://127.0.0.1:41234/healthz")
    assert health.stdout.strip() == "ok"
    script = "for p in /proc/[0-9]*; do echo $(cat $p/comm) $(grep CapEff $p/status); done"
    caps = docker_cli("exec", side, "sh", "-c", script).stdout
    assert "pillion-engine CapEff: 0000000000000000" in caps


def test_the_key_is_nowhere_to_be_read(tailnet, docker_cli):
    key = tailnet.auth_key()
    side = tailnet.sidecar("quiet", *LEAST, variables={"TS_AUTHKEY": key}, key=False)
    tailnet.wait_started(side)
    script = "cat /proc/[0-9]*/environ /proc/[0-9]*/cmdline | tr '\\0' '\\n'"
    seen = docker_cli("exec", "-e", "TS_AUTHKEY=", side, "sh", "-c", script).stdout
    assert "TS_STATE_DIR" in seen
    assert key not in seen
    assert key not in tailnet.logs(side)


def test_ipv6_off_as_docker_has_it(tailnet):
    """One warning with the line that mends it; IPv4 works."""
    side = tailnet.sidecar("onlyfour", *LEAST)
    tailnet.start_app(side)
    tailnet.wait_started(side)
    tailnet.fetch(tailnet.address(side))
    text = tailnet.logs(side)
    if "net.ipv6.conf.all.disable_ipv6=0" in text:
        assert text.count("net.ipv6.conf.all.disable_ipv6=0") == 1
    else:  # an engine that leaves IPv6 on in its networks
        assert "fd7a:115c:a1e0" in " ".join(tailnet.headscale("nodes", "list").stdout.split())


def test_restart_keeps_the_node_and_the_app_its_namespace(tailnet, docker_cli):
    side = tailnet.sidecar("steady", "--cap-add", "NET_ADMIN")
    tailnet.start_app(side)
    tailnet.wait_started(side)
    address = tailnet.address(side)
    tailnet.fetch(address)
    # The engine dies: the container, and with it the app's namespace, stays.
    started = docker_cli("inspect", "-f", "{{.State.StartedAt}}", side).stdout
    top = docker_cli("top", side, "-eo", "pid,comm").stdout.splitlines()
    engines = [int(line.split()[0]) for line in top if "pillion-engine" in line]
    assert len(engines) == 1
    os.kill(engines[0], signal.SIGKILL)
    tailnet.fetch(address)
    assert docker_cli("inspect", "-f", "{{.State.StartedAt}}", side).stdout == started
    # `docker stop` ends it at once and well, and the same node comes back without a key.
    begin = time.monotonic()
    docker_cli("stop", side)
    assert time.monotonic() - begin < 8
    assert docker_cli("inspect", "-f", "{{.State.ExitCode}}", side).stdout.strip() == "0"
    nodes = len(json.loads(tailnet.headscale("nodes", "list").stdout))
    docker_cli("start", side)
    wait_for(
        lambda: docker_cli("exec", side, "tailscale", "ip", "-4", check=False).stdout.strip()
        == address,
        30,
        "the same address",
    )
    assert len(json.loads(tailnet.headscale("nodes", "list").stdout)) == nodes


def test_a_volume_of_the_official_image_is_adopted(tailnet, docker_cli):
    """Official containerboot first, ours on its volume afterwards: the same node."""
    import conftest

    volume = f"{conftest.NAME}-adopted:/var/lib/tailscale"
    common = [
        *["--network", conftest.NAME, "--hostname", "adopted", "--device", "/dev/net/tun"],
        *["--cap-add", "NET_ADMIN", "-v", volume, "-v", f"{tailnet.folder}:/lab:ro"],
        *["-e", "TS_STATE_DIR=/var/lib/tailscale", "-e", "TS_USERSPACE=false"],
        *["-e", f"SSL_CERT_FILE=/lab/{tailnet.authority.certificate.name}"],
        *["-e", "TS_EXTRA_ARGS=--login-server=https://control.lab"],
    ]
    peers = ["-v", f"{conftest.peer('containerboot').parent}:/peers:ro"]
    official = tailnet.start(
        "official",
        *common,
        *peers,
        *["-e", "PATH=/peers:/usr/sbin:/usr/bin:/sbin:/bin"],
        *["-e", f"TS_AUTHKEY={tailnet.auth_key()}"],
        *["--entrypoint", "/peers/containerboot", tailnet.image],
    )
    tailnet.wait_started(official)
    name = ["exec", official, "/peers/tailscale", "--socket=/tmp/tailscaled.sock", "ip", "-4"]
    address = docker_cli(*name).stdout.strip()
    docker_cli("rm", "-f", official)
    # Only the image line is another, and there is no key any more.
    ours = tailnet.start("ours", *common, tailnet.image)
    tailnet.start_app(ours)
    tailnet.wait_started(ours)
    assert tailnet.address(ours) == address
    tailnet.fetch(address)


def test_a_daemon_in_the_background_ends_with_disconnect(tailnet, docker_cli):
    """In a container with another command, no process may trace the daemon."""
    for name, rights in (("default", ["--cap-add", "NET_ADMIN"]), ("most", LEAST)):
        box = tailnet.start(
            *[f"hook-{name}", *rights, "--device", "/dev/net/tun"],
            *["--entrypoint", "sleep", tailnet.image, "infinity"],
        )
        where = ["--state=mem:", "--login-server=http://127.0.0.1:9", "--timeout=1s"]
        docker_cli("exec", box, "pillion", "connect", *where, check=False)
        docker_cli("exec", box, "pillion", "disconnect")
        done = docker_cli("exec", box, "pillion", "status", check=False)
        assert "no daemon answers" in done.stderr


def test_health_and_labels(tailnet, docker_cli):
    """The image says by itself whether its node runs, without a variable."""
    side = tailnet.sidecar("health", *LEAST)
    facts = json.loads(docker_cli("inspect", side).stdout)[0]
    labels = facts["Config"]["Labels"]
    assert labels["org.opencontainers.image.title"] == "pillion"
    assert labels["org.opencontainers.image.licenses"] == "BSD-3-Clause"

    def health():
        return json.loads(docker_cli("inspect", side).stdout)[0]["State"]["Health"]["Status"]

    wait_for(lambda: health() == "healthy", 60, health)
    docker_cli("exec", side, "pillion", "down")
    wait_for(lambda: health() == "unhealthy", 90, health)
    docker_cli("exec", side, "test", "-s", "/usr/local/share/man/man1/pillion.1")


def test_the_official_command_finds_the_node_without_a_flag(tailnet, docker_cli):
    side = tailnet.sidecar("found", *LEAST)
    tailnet.wait_started(side)
    assert tailnet.address(side) in docker_cli("exec", side, "tailscale", "status").stdout
    linked = docker_cli("exec", side, "tailscale", "--socket=/tmp/tailscaled.sock", "ip").stdout
    assert tailnet.address(side) in linked
