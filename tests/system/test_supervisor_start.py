# SPDX-License-Identifier: BSD-3-Clause
"""The supervisor: problems at the start."""

import contextlib
import os
import signal
import socket
import subprocess
from pathlib import Path

import pytest
from lab.process import children
from supervisor_world import (
    AUTH_KEY,
    CA_FILE,
    KEY,
    KILL,
    NEEDS_LOGIN,
    NET_ADMIN,
    NET_BIND_SERVICE,
    NO_LEAK_CHECK,
    RUNNING,
    SETPRIV,
    STATE,
    STOPPED,
    Namespace,
    failing_kills,
    status_of,
    wait_for,
)

# Start: what can be wrong


def test_startup_complete_is_said_once(start):
    sidecar = start("--run")
    sidecar.up()
    sidecar.ask(f"status {NEEDS_LOGIN} waiting")
    assert "Startup complete" not in sidecar.log()
    for _ in range(2):
        sidecar.ask(f"status {RUNNING} fine")
    sidecar.kill_engine()
    sidecar.ask(f"status {RUNNING} fine")
    line = "Startup complete, waiting for shutdown signal"
    wait_for(lambda: line in sidecar.log())
    assert sidecar.log().count(line) == 1


def test_boot_timeout(start):
    sidecar = start("--run", "--boot-timeout", "700")
    sidecar.up()
    sidecar.ask(f"status {NEEDS_LOGIN} log in at https://example.com/x")
    assert sidecar.wait() == 1
    assert "TS_BOOT_TIMEOUT" in sidecar.log() and "https://example.com/x" in sidecar.log()


def test_boot_timeout_is_over_once_running(start):
    sidecar = start("--run", "--boot-timeout", "700")
    sidecar.up()
    sidecar.ask(f"status {RUNNING} fine")
    with pytest.raises(subprocess.TimeoutExpired):
        sidecar.wait(1)


def test_exit_on_failure(start):
    strict, mild = "--exit-on-failure", "--run"
    for flag, ends in ((mild, False), (strict, True)):
        sidecar = start(flag)
        sidecar.up()
        sidecar.ask(f"status {RUNNING} fine")
        sidecar.ask(f"status {STOPPED} the node was switched off")
        if ends:
            assert sidecar.wait() == 1
            assert "the node was switched off" in sidecar.log()
        else:
            assert sidecar.config() and sidecar.process.poll() is None
            assert sidecar.end()[0] == 0


def refused(sidecar, code, *texts):
    assert sidecar.wait() == code, sidecar.log()
    lines = [line for line in sidecar.log().splitlines() if "error" in line]
    assert len(lines) == 1, sidecar.log()
    for text in texts:
        assert text in lines[0], lines[0]
    assert children(sidecar.pid) == []


def test_no_net_admin(start):
    wrap = [*SETPRIV, "--bounding-set=-net_admin"]
    refused(start(wrap=wrap), 1, "NET_ADMIN", "cap_add", "--cap-add=NET_ADMIN")


def test_no_tun_device(start, tmp_path):
    script = 'mount -t tmpfs x /dev/net && exec "$0" "$@"'
    wrap = ["unshare", "-m", "sh", "-c", script, *SETPRIV, "--bounding-set=-mknod"]
    refused(start(wrap=wrap), 1, "/dev/net/tun", "devices:")


def test_state_directory(start, tmp_path):
    (tmp_path / "file").write_text("")
    refused(start(state=tmp_path / "file"), 1, "is not a directory", "--statedir")
    refused(start(state=tmp_path / "no" / "parent"), 1, "mount a volume", "--statedir")
    foreign = tmp_path / "foreign"
    foreign.mkdir(mode=0o700)
    os.chown(foreign, 1000, 1000)
    refused(start(state=foreign, mode="same-user"), 1, "owner 1000", "TS_STATE_DIR")
    # With DAC_OVERRIDE it is ours to write, and that right is kept.
    sidecar = start(state=foreign)
    sidecar.up()
    assert sidecar.ask(f"store {STATE} x") == "0 "


@pytest.mark.parametrize("what", ["ca-file", "auth-key-file", "state"])
def test_files_that_only_root_can_reach(start, tmp_path, what):
    """A home folder of mode 0700, and a state volume with files of another user."""
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    os.chown(home, 1000, 1000)
    state = tmp_path / "state"
    state.mkdir()
    file = state / "tailscaled.state" if what == "state" else home / what
    file.write_text("the content")
    file.chmod(0o600 if what == "state" else 0o644)
    os.chown(file, 1000, 1000)
    sidecar = start(*([] if what == "state" else [f"--{what}", file]))
    sidecar.up()
    question = {"ca-file": f"file {CA_FILE}", "auth-key-file": f"file {AUTH_KEY}"}
    assert sidecar.ask(question.get(what, f"load {STATE}")).endswith("the content")


def test_state_lock(start, tmp_path):
    first = start()
    first.up()
    other = Namespace()
    try:
        refused(
            start(folder=tmp_path / "b", into=other, state=first.state),
            1,
            "in use by another process",
            "--statedir",
        )
        waiting = start("--run", folder=tmp_path / "c", into=other, state=first.state)
        wait_for(lambda: "waiting: the state directory" in waiting.log())
        code, seconds = waiting.end()
        assert (code, seconds < 1) == (0, True)
        waiting = start("--run", folder=tmp_path / "d", into=other, state=first.state)
        wait_for(lambda: "waiting: the state directory" in waiting.log())
        assert first.end()[0] == 0
        assert waiting.up()
        assert waiting.log().count("waiting:") == 1
    finally:
        other.remove()


def test_localapi_socket(start, tmp_path):
    first = start()
    first.up()
    assert first.socket.stat().st_mode & 0o7777 == 0o666
    assert first.socket.parent.stat().st_mode & 0o7777 == 0o755
    other = Namespace()
    try:
        taken = start("--socket", first.socket, folder=tmp_path / "b", into=other)
        refused(taken, 1, str(first.socket), "belongs to a running process", "--socket")
    finally:
        other.remove()
    # One that a crash left behind is replaced.
    first.process.kill()
    first.wait()
    assert first.socket.exists()
    second = start()
    second.up()
    second.end()
    second.socket.write_text("not a socket")
    refused(start(), 1, "is not a socket")
    assert second.socket.read_text() == "not a socket"
    second.socket.unlink()
    refused(start("--socket", tmp_path / ("x" * 120)), 2, "longer than 107 bytes")


@contextlib.contextmanager
def mounted(folder):
    """@folder as a volume of its own; a function that makes it read-only, or writable again."""
    subprocess.run(["mount", "--bind", folder, folder], check=True)

    def remount(how):
        subprocess.run(["mount", "-o", f"remount,bind,{how}", folder], check=True)

    try:
        yield remount
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def test_a_state_volume_that_becomes_read_only(start, tmp_path):
    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    with mounted(state) as remount:
        sidecar = start(state=state)
        sidecar.up()
        assert sidecar.ask(f"store {STATE} good") == "0 "
        remount("ro")  # nothing of ours is in the way
        answer = sidecar.ask(f"store {STATE} better")
        assert answer.startswith("-30 ") and "make it writable" in answer
        assert sidecar.ask(f"load {STATE}") == "0 good"
        remount("rw")
        assert sidecar.ask(f"store {STATE} better") == "0 "
        assert sidecar.end()[0] == 0


@pytest.mark.parametrize("lock_file", [True, False])
@pytest.mark.parametrize("mode", ["split", "same-user"])
def test_a_read_only_state_volume(start, tmp_path, mode, lock_file):
    """A node that is there runs from it; one that is not has nowhere to be kept."""
    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    with mounted(state) as remount:
        remount("ro")
        said = f"mount a volume at {state}"
        refused(start(state=state, mode=mode), 1, "Read-only", said, "TS_STATE_DIR")
        refused(start(state=state / "deeper", mode=mode), 1, "Read-only", f"{said}/deeper")
        remount("rw")
        (state / "tailscaled.state").write_text("identity")
        if lock_file:
            (state / "pillion.lock").touch()
        remount("ro")
        sidecar = start("--log-path", state / "log", state=state, mode=mode)
        sidecar.up()
        warnings = sidecar.ask("config")
        assert "the state can't be stored" in warnings and "Read-only" in warnings
        assert "open the log file" in warnings
        assert "can't be locked" not in sidecar.log()
        assert sidecar.ask(f"load {STATE}") == "0 identity"
        other = Namespace()
        try:
            second = start(folder=tmp_path / "b", into=other, state=state, mode=mode)
            assert second.wait() == 1
            assert "in use by another process" in second.log()
        finally:
            other.remove()
        assert sidecar.end()[0] == 0


def test_a_socket_that_cannot_be_made(start, tmp_path):
    """As on a read-only root: a sidecar does without, a daemon is of no use then."""
    folder = tmp_path / "ro"
    folder.mkdir()
    with mounted(folder) as remount:
        remount("ro")
        path = folder / "pillion.sock"
        refused(start("--socket", path), 1, str(path), "Read-only")
        sidecar = start("--run", "--socket", path)
        wait_for(lambda: "listen at the LocalAPI socket" in sidecar.log())
        wait_for(lambda: children(sidecar.pid), what="an engine")
        assert sidecar.end()[0] == 0


@pytest.mark.parametrize(
    "beside", ["tailscaled.state.tmp123456", ".tailscaled.state.tmp", "pillion.cache"]
)
def test_an_empty_state_beside_a_whole_one(start, tmp_path, beside):
    """As after a loss of power: not a first start, and healed by a rename."""
    state = tmp_path / "state"
    state.mkdir()
    (state / "tailscaled.state").touch()
    (state / "pillion.cache").touch()
    sidecar = start()
    sidecar.up()
    assert sidecar.ask(f"load {STATE}") == "0 "  # nothing was ever there
    (state / beside).write_text("whole")
    answer = sidecar.ask(f"load {STATE}")
    assert answer.startswith("-61 tailscaled.state is empty") and f" {beside} " in answer
    (state / beside).rename(state / "tailscaled.state")
    assert sidecar.ask(f"load {STATE}") == "0 whole"


@pytest.mark.parametrize("error", ["ENOLCK", "ENOSYS", "EBADF"])
def test_without_locks(start, error):
    """A network file system without its lock service."""
    inject = ["-e", "trace=flock", "-e", f"inject=flock:error={error}"]
    wrap = ["strace", "-f", "-qq", "-o", "/dev/null", *inject]
    sidecar = start(mode="same-user", wrap=wrap, env=NO_LEAK_CHECK)
    assert "can't be locked" in sidecar.up()["warnings"]
    assert sidecar.ask(f"store {STATE} x") == "0 "
    os.kill(supervisor_below(sidecar), signal.SIGTERM)
    assert sidecar.wait() == 0


def test_a_known_node_starts_without_its_files(start, tmp_path):
    """The auth key's file and the CA file are looked at when one is wanted."""
    key = tmp_path / "key"
    flags = ["--auth-key-file", key, "--ca-file", tmp_path / "no"]
    refused(start(*flags), 2, "auth key's file", "mounted")
    (tmp_path / "state").mkdir()
    (tmp_path / "state/tailscaled.state").write_text("identity")
    sidecar = start(*flags)
    assert sidecar.up()["auth_key"] == "1"
    assert "the auth key's file" in sidecar.log() and "the CA file" in sidecar.log()
    assert sidecar.ask(f"file {AUTH_KEY}").startswith("-2")
    key.write_text(KEY)
    wait_for(lambda: f"file {AUTH_KEY} 0" in sidecar.ask("events"))
    assert sidecar.ask(f"file {AUTH_KEY}").endswith(KEY)


def test_configuration_errors(start, tmp_path):
    refused(start("--auth-key-file", tmp_path / "no"), 2, "auth key's file", "mounted")
    refused(start("--ca-file", tmp_path / "no"), 2, "--ca-file", "mounted")
    refused(start("--health", "nonsense"), 2, "TS_LOCAL_ADDR_PORT", "[::]:9002")


def test_health_port_taken(start, namespace):
    with namespace.socket(socket.AF_INET, socket.SOCK_STREAM) as app:
        app.bind(("0.0.0.0", 9002))
        app.listen()
        refused(start("--health", "[::]:9002"), 1, "9002", "TS_LOCAL_ADDR_PORT")


def test_udp_port_taken(start, namespace):
    with namespace.socket(socket.AF_INET, socket.SOCK_DGRAM) as app:
        app.bind(("0.0.0.0", 41641))
        config = start().up()
        assert config["udp_port"] not in ("41641", "0")
        assert "41641 is taken" in config["warnings"]


def test_named_udp_port_taken(start, namespace):
    with namespace.socket(socket.AF_INET, socket.SOCK_DGRAM) as app:
        app.bind(("0.0.0.0", 7777))
        config = start("--udp-port", "7777").up()
        assert config["udp_port"] not in ("7777", "0")
        assert "7777 is taken" in config["warnings"]


NO_LOW_PORTS = [*SETPRIV, "--bounding-set=-net_bind_service"]


def test_rights_are_used_before_they_are_dropped(start, namespace):
    """Ports below 1024 and a missing /dev/net/tun, with the rights that Docker gives."""
    script = 'mount -t tmpfs x /dev/net && exec "$0" "$@"'
    sidecar = start(
        "--udp-port", "443", "--health", "[::]:80", wrap=["unshare", "-m", "sh", "-c", script]
    )
    config = sidecar.up()
    assert (config["udp_port"], config["health"], config["warnings"]) == ("443", "1", "-")
    effective = int(status_of(sidecar.pid)["CapEff"], 16)
    assert effective == NET_ADMIN | KILL | NET_BIND_SERVICE
    # From the second crash in a row the port is bound anew.
    for _ in range(2):
        old = sidecar.engine()
        sidecar.kill_engine()
        wait_for(lambda old=old: sidecar.answers() and sidecar.engine() != old, 20, "an engine")
    assert sidecar.config()["udp_port"] == "443"


def test_a_low_udp_port_without_the_right(start):
    config = start("--udp-port", "443", wrap=NO_LOW_PORTS).up()
    assert config["udp_port"] not in ("443", "0")
    assert "UDP port 443 takes the capability NET_BIND_SERVICE" in config["warnings"]


def test_a_low_health_port_without_the_right(start):
    refused(start("--health", "[::]:80", wrap=NO_LOW_PORTS), 1, "80", "NET_BIND_SERVICE")


def test_a_socket_in_the_folder_of_another_user(start, tmp_path):
    folder = tmp_path / "theirs"
    folder.mkdir(mode=0o755)
    os.chown(folder, 1000, 1000)
    sidecar = start("--socket", folder / "s", "--log-path", folder / "log")
    sidecar.socket = folder / "s"
    sidecar.up()
    assert sidecar.end()[0] == 0
    assert not sidecar.socket.exists()


def test_incomplete_installation(start):
    sidecar = start()
    sidecar.up()
    sidecar.end()
    (sidecar.bin / "pillion-engine").unlink()
    refused(start(), 1, "pillion-engine", "one folder")


def test_another_node_in_the_namespace(start, tmp_path):
    first = start()
    first.up()
    assert first.ask("network 100.64.0.1/32 route 100.64.0.2/32").startswith("0")
    refused(start(folder=tmp_path / "b"), 1, "--table", "--tun")
    second = start("--table", "53", "--tun", "tailscale1", folder=tmp_path / "c")
    second.up()
    assert second.ask("network 100.64.1.1/32 route 100.64.1.2/32").startswith("0")
    assert second.end()[0] == 0
    assert first.config()


def test_leftovers_of_a_killed_supervisor(start, namespace):
    first = start()
    first.up()
    first.ask("network 100.64.0.1/32 route 100.64.0.2/32")
    engine = first.engine()
    first.process.kill()
    first.wait()
    wait_for(lambda: not Path(f"/proc/{engine}").exists(), what="the engine ends as well")
    assert "5270" in namespace.run("ip rule")
    second = start()
    second.up()
    assert second.ask("network 100.64.0.1/32 route 100.64.0.2/32") == "0 "
    assert namespace.run("ip rule").count("5270") == 1
    assert second.end()[0] == 0
    assert "5270" not in namespace.run("ip rule") + namespace.run("ip -6 rule")


def supervisor_below(tracer):
    """The supervisor that strace runs."""
    return wait_for(lambda: children(tracer.pid), what="the traced supervisor")[0]


@pytest.mark.parametrize("command", ["garbage", "hang"])
def test_a_kill_that_fails_is_repeated(start, tmp_path, command):
    """As without a free process id, where sending the signal takes a fork."""
    sidecar = start(mode="same-user", wrap=failing_kills(tmp_path, "1..3"), env=NO_LEAK_CHECK)
    first = sidecar.up()["pid"]
    if command == "hang":
        os.kill(int(first), signal.SIGSTOP)
    else:
        sidecar.ask(command)
    wait_for(lambda: "can't kill the engine, trying again" in sidecar.log(), 30, "a failed kill")
    wait_for(lambda: sidecar.answers() and sidecar.engine() != int(first), 30, "another engine")
    os.kill(supervisor_below(sidecar), signal.SIGTERM)
    assert sidecar.wait() == 0


def test_the_end_comes_even_if_the_engine_stays(start, tmp_path):
    sidecar = start(mode="same-user", wrap=failing_kills(tmp_path, "1+"), env=NO_LEAK_CHECK)
    engine = int(sidecar.up()["pid"])
    supervisor = supervisor_below(sidecar)
    os.kill(engine, signal.SIGSTOP)
    os.kill(supervisor, signal.SIGTERM)
    wait_for(lambda: "can't be ended and is left behind" in sidecar.log(), 30, "the end")
    os.kill(engine, signal.SIGKILL)
    assert sidecar.wait() == 0
