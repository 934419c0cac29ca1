# SPDX-License-Identifier: BSD-3-Clause
"""What an operator types: help, flags, completion, and where the server's files are.

operator (`pillion control …`) ──Unix socket──▶ control serve on 127.0.0.1
"""

import datetime
import json
import os
import re
import socket
import subprocess

import pytest
from lab.build import BUILD
from lab.loopback_control import LoopbackControl
from lab.waiting import wait_for

OK, USAGE = 0, 2


def control(*arguments, **options):
    return subprocess.run(
        [BUILD / "pillion-server", "control", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=20,
        **options,
    )


def flags_in(text):
    return set(re.findall(r"^  --([a-z-]+)", text, re.MULTILINE))


def test_help_shows_what_a_command_takes():
    common = {"socket", "json"}
    of_a_key = {"user", "tags", "reusable", "ephemeral", "expiry"}
    for words, flags in (
        (["keys"], common | of_a_key),
        (["keys", "create"], common | of_a_key),
        (["keys", "list"], common),
        (["nodes"], common | {"user", "tags"}),
        (["policy"], common | {"yes"}),
    ):
        done = control(*words, "--help")
        assert done.returncode == OK and done.stderr == ""
        assert flags_in(done.stdout) == flags, words
        assert f"\n  {words[0]} " in done.stdout
        others = {"users", "keys", "nodes", "policy", "ssh"} - {words[0]}
        assert not any(f"\n  {other} " in done.stdout for other in others)
    assert control("frobnicate", "--help").returncode == USAGE


def test_a_word_alone_lists_or_says_what_may_follow(server):
    assert server.run("keys").stdout.startswith("PREFIX")
    assert server.run("users").stdout.startswith("ID")
    for word in ("policy", "page-key", "debug"):
        done = server.run(word)
        assert done.returncode == USAGE
        assert f"\n  {word} " in done.stderr and "one of these follows" in done.stderr


@pytest.mark.parametrize(
    "words, flag",
    [
        (["nodes"], "--user=bob"),
        (["nodes", "list"], "--tags=tag:a"),
        (["keys", "list"], "--reusable"),
        (["keys"], "--expiry=1h"),
        (["users", "create", "bob"], "--ephemeral"),
        (["policy", "get"], "--user=bob"),
        (["nodes", "approve", "x"], "--expiry=1h"),
    ],
)
def test_a_flag_without_an_effect_is_refused(server, words, flag):
    done = server.run(*words, flag)
    assert done.returncode == USAGE
    assert f"takes no {flag.split('=')[0]}" in done.stderr


def test_keys_are_good_for_days(server):
    assert server.run("keys", "create", "--expiry", "90d").returncode == OK
    expiry = datetime.datetime.fromisoformat(server.cli("keys")[0]["expiry"][:19] + "+00:00")
    days = (expiry - datetime.datetime.now(datetime.UTC)).total_seconds() / 86400
    assert 89.9 < days <= 90
    wrong = server.run("keys", "create", "--expiry", "90")
    assert wrong.returncode == USAGE and "90d" in wrong.stderr


def test_what_the_log_names_is_found_from_every_folder(tmp_path):
    made = LoopbackControl(tmp_path)
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    log = tmp_path / "log"
    with log.open("wb") as output:
        server = subprocess.Popen(
            [BUILD / "pillion-server", "control", "serve", f"--url={made.url}", "--relay=off"],
            cwd=here,
            stdout=output,
            stderr=output,
        )
    try:
        wait_for(lambda: "make a key with" in log.read_text(), 20, log.read_text)
        command = re.search(r"'pillion control (keys create --socket=.*)'", log.read_text())[1]
        done = control(*command.split(), cwd=there)
        assert done.returncode == OK and len(done.stdout) > 20, done.stderr
        assert f"state={here}/pillion-control " in log.read_text()
    finally:
        server.terminate()
        assert server.wait(10) == OK


def completed(*words):
    """What bash offers after these words; the last one is begun, or empty."""
    array = " ".join(f"'{word}'" for word in words)
    script = (
        f'eval "$(pillion completion bash)"; COMP_WORDS=({array}); '
        f"COMP_CWORD={len(words) - 1}; _pillion; printf '%s\\n' \"${{COMPREPLY[@]}}\""
    )
    done = subprocess.run(
        ["bash", "-c", script],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"PATH": f"{BUILD}:{os.environ['PATH']}"},
        timeout=20,
    )
    return set(done.stdout.split())


def test_completion_goes_on_after_control():
    assert {"serve", "users", "keys", "nodes", "policy"} <= completed("pillion", "control", "")
    assert completed("pillion", "control", "keys", "c") == {"create"}
    assert "--expiry=" in completed("pillion", "control", "keys", "create", "--")
    assert "--expiry=" not in completed("pillion", "control", "keys", "list", "--")
    assert "--node-expiry=" in completed("pillion", "control", "serve", "--n")
    assert "--hostname=" in completed("pillion", "derp", "--h")
    assert completed("pillion", "headscale", "p") == {"provision"}


def test_no_terminal_obeys_the_errors_of_a_server(tmp_path):
    path = tmp_path / "control.sock"
    said = json.dumps({"error": "a\x1b[31m", "errors": ["b\x1b]0;x\x07", "c\u202e"]}).encode()
    command = [BUILD / "pillion-server", "control", "policy", "check", "-", f"--socket={path}"]
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        client = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
        with listener.accept()[0] as connection:
            connection.recv(65536)
            head = f"HTTP/1.1 400 Bad Request\r\nContent-Length: {len(said)}\r\n\r\n"
            connection.sendall(head.encode() + said)
            shown = client.communicate(timeout=20)[1].decode()
    assert shown.splitlines() == [
        rf"pillion control: {text}" for text in (r"a\x1b[31m", r"b\x1b]0;x\x07", r"c\u202e")
    ]
