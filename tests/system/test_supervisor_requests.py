# SPDX-License-Identifier: BSD-3-Clause
"""The supervisor: requests of an engine, and its log lines."""

import contextlib
import os
import re
import subprocess
from pathlib import Path

import pytest
from supervisor_world import (
    AUTH_KEY,
    CA_DIRECTORY,
    CA_FILE,
    CACHE,
    HOSTS,
    KEY,
    MODES,
    RESOLV_CONF,
    STATE,
    wait_for,
)

# What an engine asks for


def test_sockets(start):
    sidecar = start()
    sidecar.up()
    for kind in (0, 1):
        for family in (4, 6):
            # Marked, and the engine can't take the mark off.
            assert sidecar.ask(f"socket {kind} {family}") == "mark=80000 nonblock=1 remark=1"
    assert sidecar.ask("socket 2 4") in ("-13", "mark=80000 nonblock=1 remark=1")
    assert sidecar.ask("socket 0 4 200") == "-122"  # EDQUOT


@pytest.mark.parametrize("mode", MODES)
def test_blobs(start, mode):
    sidecar = start(mode=mode)
    sidecar.up()
    assert sidecar.ask(f"load {STATE}").startswith("-2")
    assert sidecar.ask(f"store {STATE} the state") == "0 "
    assert sidecar.ask(f"store {CACHE} the cache") == "0 "
    assert sidecar.ask(f"load {STATE}") == "0 the state"
    state = sidecar.state / "tailscaled.state"
    assert state.read_text() == "the state"
    assert state.stat().st_mode & 0o7777 == 0o600
    assert sidecar.state.stat().st_mode & 0o7777 == 0o700
    assert sorted(entry.name for entry in sidecar.state.iterdir()) == [
        "pillion.cache",
        "pillion.lock",
        "tailscaled.state",
    ]
    assert sidecar.end()[0] == 0
    again = start(mode=mode)
    again.up()
    assert again.ask(f"load {STATE}") == "0 the state"
    assert again.ask(f"load {CACHE}") == "0 the cache"


def test_blobs_in_memory_outlive_an_engine_not_the_supervisor(start):
    sidecar = start("--memory")
    sidecar.up()
    assert sidecar.ask(f"store {STATE} ephemeral") == "0 "
    sidecar.kill_engine()
    assert sidecar.ask(f"load {STATE}") == "0 ephemeral"
    assert not sidecar.state.exists()
    assert sidecar.end()[0] == 0
    again = start("--memory")
    again.up()
    assert again.ask(f"load {STATE}").startswith("-2")


def test_disk_full_keeps_the_old_state_and_goes_on(start, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k,mode=0700", "x", disk], check=True)
    try:
        sidecar = start(state=disk)
        sidecar.up()
        assert sidecar.ask(f"store {STATE} good") == "0 "
        (disk / "filler").write_bytes(bytes(40 * 1024))
        answer = sidecar.ask(f"store {STATE} {'x' * 60000}")
        assert answer.startswith("-28 ") and "No space left" in answer and "free some" in answer
        assert sidecar.ask(f"load {STATE}") == "0 good"
        assert not list(disk.glob(".*.tmp"))
        assert "No space left" not in sidecar.log()  # the engine has it, and says it once
        (disk / "filler").unlink()
        assert sidecar.ask(f"store {STATE} better") == "0 "
        assert sidecar.process.poll() is None
        sidecar.end()
    finally:
        subprocess.run(["umount", disk], check=True)


def test_named_files(start, tmp_path):
    ca = tmp_path / "ca.pem"
    ca.write_text("CA ONE")
    folder = tmp_path / "certs"
    folder.mkdir()
    (folder / "a.pem").write_text("A")
    (folder / "b.pem").write_text("B")
    sidecar = start("--ca-file", ca, "--cert-dir", folder, "--auth-key", KEY)
    sidecar.up()
    assert sidecar.ask(f"file {HOSTS}") == "ro:" + Path("/etc/hosts").read_text()
    assert sidecar.ask(f"file {CA_FILE}") == "ro:CA ONE"
    joined = sidecar.ask(f"file {CA_DIRECTORY}").split(":")[1].split("\n")
    assert sorted(joined) == ["", "A", "B"]
    assert sidecar.ask(f"file {AUTH_KEY}").endswith(KEY)

    def notified(text, seconds=3):
        wait_for(lambda: text in sidecar.ask("events"), seconds, text)

    ca.write_text("CA TWO")  # in place
    notified(f"file {CA_FILE} 0 CA TWO;")
    other = tmp_path / "other"
    other.write_text("CA THREE")  # by rename, as editors and kubelet do
    other.rename(ca)
    notified(f"file {CA_FILE} 0 CA THREE;")
    ca.write_text("CA FOUR")  # and the new inode is watched too
    notified(f"file {CA_FILE} 0 CA FOUR;")
    ca.unlink()
    notified(f"file {CA_FILE} -2 ;")
    ca.write_text("CA FIVE")
    notified(f"file {CA_FILE} 0 CA FIVE;")
    (folder / "c.pem").write_text("C")
    notified(f"file {CA_DIRECTORY} 0 ")
    # A file without a request is not watched; an unchanged one is not reported.
    (tmp_path / "unrelated").write_text("x")
    before = sidecar.ask("events")
    ca.write_text("CA SIX")
    notified(f"file {CA_FILE} 0 CA SIX;")
    assert sidecar.ask("events") == f"{before}file {CA_FILE} 0 CA SIX;"


def test_single_file_bind_mount_is_watched(start, tmp_path):
    """Docker mounts /etc/resolv.conf alone and writes it through its own inode."""
    host = tmp_path / "resolv.conf"
    host.write_text("nameserver 192.0.2.1\n")
    script = f'mount --bind {host} /etc/resolv.conf && exec "$0" "$@"'
    sidecar = start(wrap=["unshare", "-m", "sh", "-c", script])
    sidecar.up()
    assert sidecar.ask(f"file {RESOLV_CONF}") == "ro:nameserver 192.0.2.1\n"
    host.write_text("nameserver 192.0.2.2\n")
    wait_for(
        lambda: f"file {RESOLV_CONF} 0 nameserver 192.0.2.2" in sidecar.ask("events"),
        what="change",
    )


def test_auth_key_from_a_file_is_read_at_each_request(start, tmp_path):
    path = tmp_path / "key"
    path.write_text(f"\n  {KEY}  \n")
    sidecar = start("--auth-key-file", path)
    assert sidecar.up()["auth_key"] == "1"
    assert sidecar.ask(f"file {AUTH_KEY}").endswith(f":{KEY}")
    path.write_text("tskey-other\n")
    assert sidecar.ask(f"file {AUTH_KEY}").endswith(":tskey-other")


def test_secrets_are_nowhere_to_be_read(start):
    env = {
        "TS_AUTHKEY": KEY,
        "TS_EXTRA_ARGS": f"--ssh --authkey={KEY}",
        "TS_HOSTNAME": "app",
    }
    sidecar = start("--auth-key", KEY, env=env)
    assert sidecar.up()["auth_key"] == "1"
    sidecar.kill_engine()
    sidecar.engine()
    for pid in (sidecar.pid, sidecar.engine()):
        for name in ("cmdline", "environ"):
            assert KEY.encode() not in Path(f"/proc/{pid}/{name}").read_bytes()
    assert b"TS_HOSTNAME=app" in Path(f"/proc/{sidecar.pid}/environ").read_bytes()
    assert KEY not in sidecar.log()
    assert sidecar.ask(f"file {AUTH_KEY}").endswith(KEY)


# Log lines


def test_log_lines_come_through_whole(start):
    sidecar = start()
    sidecar.up()
    sidecar.ask("log 200")
    wait_for(lambda: "line 199 of 200" in sidecar.log())
    lines = [line for line in sidecar.log().splitlines() if " of 200 " in line]
    assert [int(re.search(r"line (\d+) of", line)[1]) for line in lines] == list(range(200))
    assert all(re.fullmatch(r"\S+Z info  stub: line \d+ of 200 \d{200}", line) for line in lines)


def test_log_lines_hold_no_control_bytes(start):
    """No output of an engine reaches the reader's terminal as a control sequence."""
    sidecar = start()
    sidecar.up()
    sidecar.ask("log-raw")
    wait_for(lambda: "raw?[2J?line\n" in sidecar.log_path.read_bytes().decode())


def test_log_file_in_the_background(start, tmp_path):
    path = tmp_path / "pillion.log"
    sidecar = start("--log-path", path)
    sidecar.up()
    sidecar.ask("log 20")
    wait_for(lambda: "line 19 of 20" in path.read_text())
    assert sidecar.log() == ""
    assert path.stat().st_mode & 0o777 == 0o600
    sidecar.end()
    assert "SIGTERM: stopping" in path.read_text()


@pytest.mark.parametrize("folder", ["", "state"])
def test_what_the_checks_find_is_in_the_log_file(start, tmp_path, folder):
    """A daemon in the background has no stderr that anybody reads."""
    path = tmp_path / folder / "pillion.log"
    path.parent.mkdir(exist_ok=True)
    sidecar = start("--log-path", path, "--ca-file", tmp_path / "no")
    assert sidecar.wait() == 2
    assert "--ca-file" in path.read_text()
    assert sidecar.log() == ""


def test_a_reader_that_stands_still_stops_nothing(start, namespace, tmp_path):
    """stderr is a full pipe: the supervisor logs, replaces a dead engine and ends in time."""
    sidecar = start()
    sidecar.up()
    sidecar.end()
    read, write = os.pipe()
    process = subprocess.Popen(sidecar.command, stdin=subprocess.DEVNULL, stderr=write)
    sidecar.process, sidecar.pid = process, process.pid
    sidecar.up()
    os.set_blocking(write, False)
    with contextlib.suppress(BlockingIOError):
        while os.write(write, b"x" * 4096):
            pass
    os.close(write)
    sidecar.ask("log 500")
    first = sidecar.engine()
    sidecar.kill_engine()
    wait_for(lambda: sidecar.answers() and sidecar.engine() != first, what="another engine")
    code, seconds = sidecar.end()
    assert (code, seconds < 2) == (0, True)
    os.close(read)
