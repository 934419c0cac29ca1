# SPDX-License-Identifier: BSD-3-Clause
"""The supervisor: privileges, an engine that dies, signals and the end."""

import contextlib
import os
import re
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest
from lab.build import build_folder, is_sanitized
from lab.process import children, cpu_seconds
from supervisor_world import (
    ENGINE,
    ENGINE_ID,
    KEY,
    KILL,
    MODES,
    NET_ADMIN,
    SANITIZED,
    SETGID,
    SETUID,
    status_of,
    tasks_of,
    wait_for,
)

# Privileges


@pytest.mark.parametrize("mode", MODES)
def test_privileges(start, mode):
    sidecar = start(mode=mode)
    sidecar.up()
    # A thread that was made after the filter has it too.
    assert sidecar.ask("thread") == "0"
    engine = sidecar.engine()
    tasks = tasks_of(engine)
    assert len(tasks) >= 2
    for task in tasks:
        status = status_of(engine, task)
        for name in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
            assert int(status[name], 16) == 0, (task, name)
        assert status["Seccomp"] == "2"
        assert status["NoNewPrivs"] == "1"
        user = "0" if mode == "same-user" else str(ENGINE_ID)
        assert status["Uid"].split() == [user] * 4
        assert status["Gid"].split() == [user] * 4
        assert mode == "same-user" or status["Groups"].strip() == ""
    assert status_of(engine)["Name"] == "pillion-engine"
    config = sidecar.config()
    assert config["missing"] == "-"
    assert config["split"] == ("0" if mode == "same-user" else "1")

    # The supervisor keeps what the design lets it keep.
    status = status_of(sidecar.pid)
    split = SETUID | SETGID
    expected = {
        "split": (NET_ADMIN | KILL, NET_ADMIN | KILL | split),
        "split-no-kill": (NET_ADMIN, NET_ADMIN | split),
        "same-user": (NET_ADMIN, NET_ADMIN),
    }[mode]
    assert (int(status["CapEff"], 16), int(status["CapPrm"], 16)) == expected
    assert status["NoNewPrivs"] == "1"


@pytest.mark.parametrize("mode", MODES)
def test_the_real_engine(start, mode):
    """It stands its own sandbox: starts, answers, is replaced, ends in time, in each mode."""
    sidecar = start(mode=mode, engine=ENGINE)
    request = b"GET /localapi/v0/status HTTP/1.1\r\nHost: local-tailscaled.sock\r\n\r\n"

    def answer():
        with sidecar.connect() as client:
            client.sendall(request)
            return client.recv(65536)

    wait_for(sidecar.answers, what="LocalAPI")
    for round in range(2):
        assert answer().startswith(b"HTTP/1.1 200 ")
        (engine,) = children(sidecar.pid)
        for task in tasks_of(engine):
            status = status_of(engine, task)
            assert int(status["CapEff"], 16) == int(status["CapPrm"], 16) == 0
            assert (status["Seccomp"], status["NoNewPrivs"]) == ("2", "1")
        if round == 0:
            os.kill(engine, signal.SIGKILL)
    code, seconds = sidecar.end()
    assert (code, seconds < 2) == (0, True)
    assert "died while stopping" not in sidecar.log(), sidecar.log()
    assert "LeakSanitizer" not in sidecar.log(), sidecar.log()


@pytest.mark.parametrize("mode", MODES)
def test_what_the_engine_is_given(start, namespace, mode):
    sidecar = start("--health", "[::]:9002", mode=mode, env={"TS_AUTHKEY": KEY, "HOME": "/x"})
    config = sidecar.up()
    engine = int(config["pid"])
    assert Path(f"/proc/{engine}/environ").read_bytes() == b""
    assert config["health"] == "1"
    assert config["udp_port"] == "41641"
    assert sidecar.ask("udp").startswith("v4=1 v6=1")
    # One queue, and none of the 256 that the kernel would keep for more.
    assert sidecar.ask("tun").startswith("queues=1 ")
    assert "numtxqueues 1 " in namespace.run("ip -d link show tailscale0")
    # stdio, channel, epoll, eventfd, hand-over, LocalAPI, health, UDP, TUN, this connection.
    links = [str(link.readlink()) for link in Path(f"/proc/{engine}/fd").iterdir()]
    known = ("/dev/null", "pipe:", "socket:", "anon_inode:", "/memfd:pillion-handover")
    known += ("/dev/net/tun",)
    assert all(link.startswith(known) for link in links), links
    assert links.count("/dev/net/tun") == 1
    sockets = [link for link in links if link.startswith("socket:")]
    assert len(sockets) <= 6


def test_an_engine_that_leaves_its_sandbox_is_named(start):
    sidecar = start()
    sidecar.up()
    first = sidecar.engine()
    assert sidecar.ask("forbidden") == ""
    config = sidecar.config()
    assert int(config["pid"]) != first
    assert config["last_crash"].startswith("killed by SIGSYS")
    assert "sandbox: system call socket (" in sidecar.log()


@pytest.mark.skipif(not SANITIZED, reason="the leak check is in sanitizer builds alone")
@pytest.mark.parametrize("mode", MODES)
def test_leak_check_works_inside(start, mode):
    sidecar = start(mode=mode)
    sidecar.up()
    sidecar.ask("leak")
    code, _ = sidecar.end()
    assert code == 0
    assert "1234 byte(s) leaked" in sidecar.log()


# An engine that dies


def open_sockets(pid):
    return {
        str(link.readlink())
        for link in Path(f"/proc/{pid}/fd").iterdir()
        if str(link.readlink()).startswith(("socket:", "/dev/net/tun"))
    }


@pytest.mark.parametrize("mode", MODES)
def test_killed_engine_is_replaced_in_place(start, namespace, mode):
    sidecar = start(mode=mode)
    sidecar.up()
    answer = sidecar.ask("network 100.64.0.1/32 fd7a:115c:a1e0::1/128 route 100.64.0.2/32")
    assert answer.startswith("0")
    assert sidecar.ask("handover the record") == "0"
    before = namespace.run("ip -o addr; ip route show table 52; ip rule; ip -6 rule")
    first, sockets = sidecar.engine(), open_sockets(sidecar.engine())

    sidecar.kill_engine()
    # What arrives while none lives waits in the socket's queue.
    namespace.send_udp("while-dead")
    config = sidecar.config()
    second = int(config["pid"])
    assert second != first
    assert config["crash_count"] == "1"
    assert config["last_crash"] == "killed by SIGKILL"
    assert sidecar.ask("handover") == "0 the record"
    assert sidecar.ask("udp").endswith("got=while-dead")
    # Listener and UDP sockets are the same; only its own channel and epoll are new.
    assert len(sockets & open_sockets(second)) >= 3
    assert namespace.run("ip -o addr; ip route show table 52; ip rule; ip -6 rule") == before
    assert children(sidecar.pid) == [second]


def test_crash_loop_backs_off_and_renews_sockets(start, namespace):
    sidecar = start()
    sidecar.up()
    waits, udp = [], []
    for _ in range(4):
        udp.append(namespace.run("ss -ulnHe").count("ino:"))
        engine = sidecar.engine()
        os.kill(engine, signal.SIGKILL)
        begun = time.monotonic()
        # LocalAPI waits in the backlog meanwhile.
        assert sidecar.engine() != engine
        waits.append(time.monotonic() - begun)
        assert sidecar.ask("udp").startswith("v4=1 v6=1")
        assert sidecar.config()["udp_port"] == "41641"
    for wait, expected in zip(waits, (0, 0.2, 1, 5), strict=True):
        assert expected <= wait < expected + 0.9, waits
    assert sidecar.config()["crash_count"] == "4"
    assert len(set(udp)) == 1
    code, seconds = sidecar.end()
    assert (code, seconds < 2) == (0, True)


def test_second_crash_in_a_row_gets_fresh_sockets(start, namespace):
    def inodes():
        return set(re.findall(r"ino:(\d+)", namespace.run("ss -ulnHe")))

    sidecar = start()
    sidecar.up()
    first = inodes()
    for kept in (True, False):
        engine = sidecar.engine()
        os.kill(engine, signal.SIGKILL)
        assert sidecar.engine() != engine
        assert (inodes() == first) == kept
    namespace.send_udp("hello")
    assert sidecar.ask("udp").endswith("got=hello")


@pytest.mark.parametrize("command", ["garbage", "hang-up", "crash"])
def test_misbehaving_engine_is_replaced(start, command):
    sidecar = start()
    sidecar.up()
    first = sidecar.engine()
    with contextlib.suppress(ConnectionError):
        sidecar.ask(command)
    wait_for(lambda: "the engine died" in sidecar.log())
    assert sidecar.engine() != first
    assert sidecar.process.poll() is None


@pytest.mark.alone
@pytest.mark.parametrize("routes", [1, 65536])
def test_a_flood_of_requests_does_not_hold_the_supervisor(start, routes):
    """SIGTERM is answered within a turn of the loop (0.9 s of CPU time) during a flood."""
    sidecar = start()
    sidecar.up()
    with contextlib.ExitStack() as clients:

        def flooded():
            """Whether an engine is at it; False if it is killed: it reads its answers too slowly."""
            engine = sidecar.engine()
            client = clients.enter_context(sidecar.connect())
            before = [cpu_seconds([pid]) for pid in (sidecar.pid, engine)]
            client.sendall(f"flood {routes}\n".encode())

            def used():
                with contextlib.suppress(OSError):
                    now = [cpu_seconds([pid]) for pid in (sidecar.pid, engine)]
                    return all(b > a + 0.2 for a, b in zip(before, now, strict=True))
                return True

            wait_for(used, 60, "a flood")
            return engine in children(sidecar.pid)

        wait_for(flooded, 60, "an engine that is not killed")
        used = [cpu_seconds([sidecar.pid])]

        def stopping():
            with contextlib.suppress(OSError):  # it may be gone by now
                used.append(cpu_seconds([sidecar.pid]))
            return "SIGTERM: stopping" in sidecar.log()

        os.kill(sidecar.pid, signal.SIGTERM)
        wait_for(stopping, 15, "an answer to SIGTERM")
        assert sidecar.wait(30) == 0
    assert used[-1] - used[0] < (5 if is_sanitized(build_folder()) else 2), used


def test_many_routes_are_set_piece_by_piece(start, namespace):
    """More than one turn takes; the engine that asked dies meanwhile."""
    sidecar = start()
    engine = int(sidecar.up()["pid"])
    count = "ip route show table 52 2>/dev/null | wc -l"
    with sidecar.connect() as client:
        client.sendall(b"flood 20000\n")
        wait_for(lambda: int(namespace.run(count)) > 0, 20, "the first routes")
        os.kill(engine, signal.SIGKILL)
    wait_for(lambda: int(namespace.run(count)) == 20000, 30, "all routes")


def test_engine_program_may_vanish(start):
    """The descriptor was opened at the start: an upgrade half done changes nothing."""
    sidecar = start()
    sidecar.up()
    first = sidecar.engine()
    (sidecar.bin / "pillion-engine").unlink()
    os.kill(first, signal.SIGKILL)
    assert sidecar.engine() != first


# Signals and the end


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_ends_all_within_two_seconds(start, namespace, mode, number):
    link = Path("/tmp") / namespace.name / "tailscaled.sock"
    sidecar = start("--link", link, mode=mode)
    sidecar.up()
    sidecar.ask("network 100.64.0.1/32 fd7a:115c:a1e0::1/128 route 100.64.0.2/32")
    assert link.readlink() == sidecar.socket
    engine = sidecar.engine()
    code, seconds = sidecar.end(number)
    assert (code, seconds < 2) == (0, True)
    assert not Path(f"/proc/{engine}").exists()
    assert not sidecar.socket.exists()
    assert not link.is_symlink()
    link.parent.rmdir()
    assert "tailscale0" not in namespace.run("ip -o link")
    assert "5270" not in namespace.run("ip rule") + namespace.run("ip -6 rule")
    assert namespace.run("nft list tables") == ""


def test_what_stands_at_the_link_is_left_alone(start, tmp_path):
    """Another daemon's socket, say, where the official command line looks."""
    link = tmp_path / "tailscaled.sock"
    link.write_text("another's")
    sidecar = start("--link", link)
    sidecar.up()
    assert "link" in sidecar.log()
    assert sidecar.end()[0] == 0
    assert link.read_text() == "another's"


def test_signal_during_the_checks(start, tmp_path):
    """The kernel keeps from a process 1 every signal that it neither handles nor blocks."""
    path = tmp_path / "sock"
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        other.listen()
        # It looks for half a second whether somebody lives there: that is when we signal.
        wrap = ["unshare", "--pid", "--fork", "--kill-child"]
        sidecar = start("--socket", path, wrap=wrap)
        other.accept()
        (first,) = children(sidecar.pid)
        os.kill(first, signal.SIGTERM)
    assert sidecar.wait() == 0
    assert "SIGTERM" in sidecar.log()


@pytest.mark.parametrize("mode", MODES)
def test_engine_that_ignores_stop_is_killed_in_time(start, mode):
    sidecar = start(mode=mode)
    sidecar.up()
    sidecar.ask("stop-ignored")
    engine = sidecar.engine()
    code, seconds = sidecar.end()
    assert code == 0 and 1.4 < seconds < 2
    assert not Path(f"/proc/{engine}").exists()


def test_signal_between_two_engines(start):
    sidecar = start()
    sidecar.up()
    for _ in range(3):
        os.kill(sidecar.engine(), signal.SIGKILL)
        wait_for(lambda: not children(sidecar.pid) or "1.0 s" not in sidecar.log())
    wait_for(lambda: "the next starts in 1.0 s" in sidecar.log())
    code, seconds = sidecar.end()
    assert (code, seconds < 0.8) == (0, True)


def test_hangup_ends_nothing(start):
    sidecar = start()
    sidecar.up()
    engine = sidecar.engine()
    sidecar.process.send_signal(signal.SIGHUP)
    wait_for(lambda: sidecar.ask("config").startswith(f"pid={engine} "))
    assert sidecar.process.poll() is None


def test_as_pid_1_it_reaps_orphans(start):
    sidecar = start(wrap=["unshare", "--pid", "--fork", "--kill-child"])
    sidecar.up()
    (first,) = children(sidecar.pid)
    engine = [child for child in children(first) if "engine" in status_of(child)["Name"]]
    assert len(engine) == 1
    for _ in range(5):
        subprocess.run(
            [
                "nsenter",
                f"--target={first}",
                "--pid",
                "sh",
                "-c",
                "sleep 0.05 & sleep 0.05 &",
            ],
            check=True,
        )
    wait_for(lambda: children(first) == engine, what="no orphan, no zombie")
    os.kill(first, signal.SIGTERM)
    assert sidecar.wait() == 0
