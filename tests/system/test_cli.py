# SPDX-License-Identifier: BSD-3-Clause
"""The command `pillion`: texts and exit codes.

    pillion ──Unix socket──▶ localapi_tool

localapi_tool is our LocalAPI over a node that only acts (tests/tools/localapi_tool.c),
with the status of a node official and a peer laptop. Needs neither root nor network.
"""

import http.server
import json
import os
import pty
import re
import signal
import socket
import socketserver
import subprocess
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from lab.build import BUILD, ROOT

DATA = ROOT / "tests/system/data"
TIMEOUT = 20

OK, FAILS, USAGE = 0, 1, 2


def pillion(*arguments, variables=None, program="pillion"):
    """Run it without any TS_* variable but those given; returns the finished process."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("TS_")}
    return subprocess.run(
        [BUILD / program, *map(str, arguments)],
        check=False,
        env=environment | (variables or {}),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
    )


@contextmanager
def localapi(path, status=DATA / "status.json", whois=DATA / "whois.json"):
    """The LocalAPI of a running node."""
    tool = subprocess.Popen(
        [BUILD / "tests/tools/localapi_tool", path, status, whois],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert tool.stdout.readline() == "ready\n"
    yield path
    tool.send_signal(signal.SIGTERM)
    assert tool.wait(TIMEOUT) == 0


@pytest.fixture
def node(tmp_path):
    """The path of its socket."""
    with localapi(tmp_path / "node.sock") as path:
        yield path


def test_every_command_has_help_with_an_example():
    listed = pillion("--help").stdout.split("Commands:\n")[1].split("\n\n")[0]
    names = [line.split()[0] for line in listed.splitlines()]
    assert {"connect", "up", "status", "run", "daemon", "disconnect"} <= set(names)
    for name in names:
        done = pillion(name, "--help")
        assert done.returncode == OK and done.stderr == ""
        assert f"pillion {name}" in done.stdout and "Examples:" in done.stdout
        assert pillion("help", name).stdout == done.stdout


@pytest.mark.parametrize(
    "arguments, says",
    [
        (["statsu"], "did you mean 'status'?"),
        (["frobnicate"], "'pillion --help' lists them"),
        (["status", "--jsn"], "did you mean --json?"),
        (["status", "word"], "takes no argument"),
        (["up", "--ssh"], "--ssh is not supported yet"),
        (["up", "--host-routes"], "nothing to do here"),
        (["daemon", "--config=x"], "use flags and variables"),
        (["ip", "--assert=laptop"], "an IP address is required"),
        (["up", "--login-server=vpn.example.com"], "https://vpn.example.com"),
        (["up", "--auth-key=file:/nonexistent/key"], "/nonexistent/key"),
        (["up", "--timeout=5"], "30s"),
        (["up", "--hostname"], "--hostname=NAME"),
        (["set"], "name a setting"),
        (["ip", "-4", "-6"], "exclude each other"),
        (["whois", "laptop"], "100.64.0.2:80"),
        (["up", f"--hostname={'a' * 64}"], "has 63 letters at most"),
        (["set", f"--hostname={'a' * 80}"], "80 letters"),
        (["daemon", "--tun=userspace-networking"], "NET_ADMIN"),
        (["daemon", "--state=kube:x"], "--statedir=FOLDER"),
        (["daemon", "--socks5-server=:1080"], "leave it out"),
        (["ping", "--size=9", "laptop"], "--size is not supported yet"),
        (["completion", "tcsh"], "bash, zsh or fish"),
        (["--frobnicate"], "pillion --help"),
    ],
)
def test_mistakes_end_with_2_and_name_the_remedy(arguments, says):
    done = pillion(*arguments)
    assert done.returncode == USAGE
    assert says in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize(
    "variables, says",
    [
        ({"TS_EXTRA_ARGS": "--hostnme=x"}, "did you mean --hostname?"),
        ({"TS_EXTRA_ARGS": "tskey-auth-secret"}, "got an auth key: write --auth-key=KEY"),
        ({"TS_LOGIN_SERVER": "ftp://x"}, "login server 'ftp://x'"),
        ({"TS_AUTHKEY": "file:/nonexistent/key"}, "/nonexistent/key"),
        ({"TS_AUTHKEY_FILE": "/nonexistent/key"}, "/nonexistent/key"),
        ({"TS_AUTHKEY": "secret-a", "TS_AUTH_KEY": "secret-b"}, "unset one"),
        ({"TS_BOOT_TIMEOUT": "soon"}, "TS_BOOT_TIMEOUT=soon"),
        (
            {"TS_ENABLE_METRICS": "true", "TS_LOCAL_ADDR_PORT": "localhost:1"},
            "TS_LOCAL_ADDR_PORT",
        ),
    ],
)
def test_the_entrypoint_ends_with_2_before_anything_is_up(variables, says):
    done = pillion("run", variables=variables)
    assert done.returncode == USAGE
    errors = [line for line in done.stderr.splitlines() if " error " in line]
    assert len(errors) == 1 and says in errors[0]
    assert "secret" not in done.stderr


def test_unknown_variables_are_named():
    done = pillion(
        "run",
        variables={
            "TS_AUTH": "x",
            "TS_SERVER_CONFIG": "x",
            "TS_ROUTES": "10.0.0.0/8",
            "TS_BOOT_TIMEOUT": "x",
        },
    )
    assert "TS_AUTH is unknown and ignored; did you mean TS_AUTHKEY?" in done.stderr
    assert "did you mean TS_SERVE_CONFIG?" in done.stderr
    assert "TS_ROUTES is not supported yet" in done.stderr


def test_official_names_are_commands(tmp_path):
    for name, says in (
        ("tailscaled", "pillion daemon"),
        ("containerboot", "pillion run"),
    ):
        link = tmp_path / name
        link.symlink_to(BUILD / "pillion")
        done = subprocess.run([link, "--frobnicate"], check=False, capture_output=True, text=True)
        assert done.returncode == USAGE and says in done.stderr
    link = tmp_path / "tailscale"
    link.symlink_to(BUILD / "pillion")
    done = subprocess.run([link, "version"], check=False, capture_output=True, text=True)
    assert done.returncode == OK and done.stdout[0].isdigit()


@pytest.mark.parametrize("name", ["file", "netcheck", "bugreport", "debug", "switch", "ssh", "web"])
def test_official_commands_that_are_missing_are_named(name):
    done = pillion(name)
    assert done.returncode == FAILS
    assert f"'{name}' is not supported yet" in done.stderr
    assert "did you mean" not in done.stderr and "unknown" not in done.stderr


def test_without_a_daemon_commands_say_how_to_start_one(tmp_path):
    path = tmp_path / "none.sock"
    for command in (
        ["status"],
        ["up"],
        ["ping", "100.64.0.2"],
    ):
        done = pillion("--socket", path, *command)
        assert done.returncode == FAILS
        assert "pillion connect" in done.stderr and str(path) in done.stderr
    done = pillion("--socket", path, "disconnect")
    assert done.returncode == OK and "not connected" in done.stderr


def test_status(node):
    done = pillion("--socket", node, "status")
    assert done.returncode == OK
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["100.64.0.1", "official", "alice", "linux", "-"]
    assert lines[1].split()[:4] == ["100.64.0.2", "laptop", "alice", "linux"]
    assert "active; direct 192.0.2.7:41641, tx 120 rx 96" in lines[1]
    assert "laptop" not in pillion("status", "--peers=false", f"--socket={node}").stdout
    status = json.loads(pillion("status", "--json", "--socket", node).stdout)
    assert status["BackendState"] == "Running"
    assert status["Self"]["DNSName"] == "official.tail.test."


def test_ip_whois_ping(node):
    def ask(*arguments):
        return pillion("--socket", node, *arguments)

    assert ask("ip").stdout == "100.64.0.1\nfd7a:115c:a1e0::1\n"
    assert ask("ip", "-6").stdout == "fd7a:115c:a1e0::1\n"
    assert ask("ip", "-1").stdout == "100.64.0.1\n"
    for name in ("laptop", "laptop.tail.test", "laptop.tail.test.", "100.64.0.2"):
        assert ask("ip", "-4", name).stdout == "100.64.0.2\n"
    missing = ask("ip", "nobody")
    assert missing.returncode == FAILS and "pillion status" in missing.stderr
    whois = ask("whois", "100.64.0.2:80")
    assert "laptop.tail.test." in whois.stdout and "alice" in whois.stdout
    assert json.loads(ask("whois", "--json", "100.64.0.2").stdout)["Node"]["ID"] == 2
    assert ask("whois", "100.64.0.9").returncode == FAILS
    ping = ask("ping", "laptop")
    assert ping.returncode == OK
    assert ping.stdout == "pong from laptop (100.64.0.2) directly, 192.0.2.7:41641, in 12.3 ms\n"


def test_columns_that_are_asked_for(node):
    def lines(*arguments):
        return pillion("--socket", node, "status", *arguments).stdout.splitlines()

    assert lines("--header")[0].split() == ["IP", "HOSTNAME", "OWNER", "OS", "STATUS"]
    assert lines("--header")[1:] == lines()
    assert lines("--self=false") == lines()[1:]
    assert lines("--self=false", "--peers=false") == []
    assert lines("--peers=false") == lines()[:1]


def test_active_is_for_json_too(node, tmp_path):
    def peers(*arguments):
        done = pillion("--socket", node, "status", "--json", *arguments)
        return len(json.loads(done.stdout)["Peer"])

    assert peers() == peers("--active") == 1
    status = json.loads((DATA / "status.json").read_text())
    for peer in status["Peer"].values():
        peer["Active"] = False
    (tmp_path / "idle.json").write_text(json.dumps(status))
    with localapi(tmp_path / "idle.sock", tmp_path / "idle.json") as node:
        assert (peers(), peers("--active")) == (1, 0)


def test_an_address_is_asserted(node):
    for address, code in (
        ("100.64.0.1", OK),
        ("fd7a:115c:a1e0:0::1", OK),
        ("100.64.0.2", FAILS),
    ):
        done = pillion("--socket", node, "ip", f"--assert={address}")
        assert done.returncode == code and done.stdout == ""


def test_official_flags_without_a_meaning_are_taken_in_silence(node):
    for command in (
        ["down", "--accept-risk=lose-ssh", "--reason=lunch"],
        ["up", "--accept-risk=all"],
        ["set", "--accept-risk=all", "--shields-up"],
        ["status", "--listen=:80", "--browser=false"],
        ["ping", "--verbose", "-c=1", "laptop"],
        ["version", "--track=unstable"],
        ["logout", "--reason=lunch"],
    ):
        done = pillion("--socket", node, *command)
        assert done.returncode == OK, done.stderr
        assert "risk" not in done.stderr and "not" not in done.stderr


def test_output_that_is_not_written_is_a_failure(node):
    for command in (
        [BUILD / "pillion", f"--socket={node}", "status"],
        [BUILD / "pillion", f"--socket={node}", "status", "--json"],
        [BUILD / "pillion", "version"],
        [BUILD / "pillion", "manual"],
        [BUILD / "pillion", "completion", "zsh"],
        [BUILD / "pillion", "up", "--help"],
        [BUILD / "pillion", "--help"],
        [BUILD / "pillion-server", "--help"],
        [BUILD / "pillion-server", "version"],
        [BUILD / "pillion-server", "control", "--help"],
        [BUILD / "pillion-server", "derp", "--help"],
        [BUILD / "pillion-server", "headscale", "--help"],
    ):
        with open("/dev/full", "wb") as full:
            done = subprocess.run(
                command, check=False, stdout=full, stderr=subprocess.PIPE, text=True
            )
        assert done.returncode == FAILS, command
        assert done.stderr.count("\n") == 1 and "could not be written" in done.stderr


def test_a_daemon_that_was_just_started_is_waited_for(tmp_path):
    """As in `tailscaled & tailscale up`."""
    path = tmp_path / "late.sock"
    waiting = subprocess.Popen(
        [BUILD / "pillion", f"--socket={path}", "ip", "-4"], stdout=subprocess.PIPE, text=True
    )
    with localapi(path):
        assert waiting.communicate(timeout=TIMEOUT)[0] == "100.64.0.1\n"


@pytest.mark.parametrize("name, seconds", [("sleep", 2), ("tailscaled", 5)])
def test_how_long_a_daemon_is_waited_for(tmp_path, name, seconds):
    """Longer while there is one that may be on its way."""
    program = tmp_path / name
    program.write_bytes(Path("/bin/sleep").read_bytes())
    program.chmod(0o755)
    script = f"{program} 60 & exec {BUILD / 'pillion'} --socket={tmp_path}/none.sock status"
    began = time.monotonic()
    done = subprocess.run(
        ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", script],
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == FAILS and "no daemon answers" in done.stderr
    assert seconds <= time.monotonic() - began < seconds + 2.5


class Unapproved(http.server.BaseHTTPRequestHandler):
    """The LocalAPI of a node that waits for an administrator's approval."""

    server_url = ""

    def do_GET(self):
        self.send_response(200)
        if "watch-ipn-bus" in self.path:
            self.end_headers()
            self.server.stop.wait()
            return
        text = json.dumps(
            {"ControlURL": self.server_url}
            if "prefs" in self.path
            else {"BackendState": "NeedsMachineAuth", "HaveNodeKey": True}
        ).encode()
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    do_PATCH = do_POST = do_GET

    def address_string(self):
        return "unix"

    def log_message(self, *_):
        pass


@pytest.mark.parametrize(
    "url, page",
    [
        ("https://vpn.example.com", "https://vpn.example.com/admin"),
        ("https://controlplane.tailscale.com", "https://login.tailscale.com/admin"),
    ],
)
def test_who_waits_for_approval_reads_where_it_is_given(tmp_path, url, page):
    class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
        stop = threading.Event()
        daemon_threads = True

    handler = type("Handler", (Unapproved,), {"server_url": url})
    path = tmp_path / "node.sock"
    with Server(str(path), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        up = pillion("--socket", path, "up", "--timeout=300ms")
        machine = pillion("--socket", path, "up", "--json", "--timeout=300ms")
        server.stop.set()
        server.shutdown()
    assert up.returncode == FAILS and f"\n\t{page}\n" in up.stderr
    assert json.loads(machine.stdout) == {"BackendState": "NeedsMachineAuth"}


def test_down_up_set(node):
    def ask(*arguments):
        return pillion("--socket", node, *arguments)

    assert ask("down").returncode == OK
    stopped = ask("status")
    assert stopped.returncode == FAILS and "pillion up" in stopped.stdout
    up = ask("up", "--hostname=web", "--timeout=10s")
    assert up.returncode == OK
    assert up.stderr == "connected as official.tail.test, 100.64.0.1, fd7a:115c:a1e0::1\n"
    assert ask("status").returncode == OK
    assert ask("set", "--shields-up").returncode == OK
    bad = ask("set", "--hostname=a b")
    assert bad.returncode == USAGE and "letters" in bad.stderr


def test_login_by_a_person_and_by_a_key(node, tmp_path):
    def ask(*arguments, **options):
        return pillion("--socket", node, *arguments, **options)

    again = ask("login")
    assert again.returncode == FAILS and "--force-reauth" in again.stderr
    assert ask("logout").returncode == OK
    assert "Not logged in" in ask("status").stdout
    late = ask("login", "--qr", "--timeout=300ms")
    assert late.returncode == FAILS
    assert "\n\thttps://login.test/1\n" in late.stderr and "█" in late.stderr
    assert "NeedsLogin" in late.stderr
    machine = ask("up", "--json", "--timeout=300ms")
    assert json.loads(machine.stdout)["AuthURL"] == "https://login.test/1"

    nothing = ask("connect", "--if-configured")
    assert nothing.returncode == OK and "nothing to do" in nothing.stderr
    key = tmp_path / "key"
    key.write_text("tskey-1\n")
    joined = ask("connect", variables={"TS_AUTHKEY_FILE": str(key), "TS_HOSTNAME": "web"})
    assert joined.returncode == OK and "connected as" in joined.stderr
    assert "https://" not in joined.stderr
    same = ask("connect", variables={"TS_HOSTNAME": "web"})
    assert same.returncode == OK and same.stderr == "connected already\n"
    other = ask("connect", "--hostname=other", variables={"TS_HOSTNAME": "web"})
    assert other.returncode == OK and "settings were changed" in other.stderr


def test_who_reads_the_url_gets_it_in_one_piece(node):
    """Each write to stderr is a datagram here: a reader of a pipe would see it as it comes."""
    assert pillion("--socket", node, "logout").returncode == OK
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with ours, theirs:
        command = [BUILD / "pillion", f"--socket={node}", "login", "--timeout=300ms"]
        subprocess.run(command, check=False, stderr=theirs, timeout=TIMEOUT)
        ours.setblocking(False)
        pieces = []
        with suppress(BlockingIOError):
            while True:
                pieces.append(ours.recv(65536))
    assert any(b"https://login.test/1\n" in piece for piece in pieces)
    assert all(piece.endswith(b"\n") for piece in pieces)


def test_a_key_is_gone_from_the_command_line_once_read(tmp_path):
    path = tmp_path / "silent.sock"
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(path))
        silent.listen()
        waiting = subprocess.Popen(
            [BUILD / "pillion", "--socket", path, "up", "--auth-key=tskey-secret"],
            stderr=subprocess.DEVNULL,
        )
        connection, _ = silent.accept()
        connection.recv(1)
        command_line = Path(f"/proc/{waiting.pid}/cmdline").read_bytes()
        assert b"--auth-key=xxx" in command_line and b"secret" not in command_line
        waiting.kill()
        waiting.wait()
        connection.close()


def test_disconnect_leaves_other_programs_alone(node):
    done = pillion("--socket", node, "disconnect")
    assert done.returncode == FAILS and "not a 'pillion daemon'" in done.stderr
    assert pillion("--socket", node, "status").returncode == OK


def test_colour_only_on_a_terminal(node):
    assert "\x1b" not in pillion("--socket", node, "up").stderr

    def on_terminal(variables):
        leader, follower = pty.openpty()
        environment = os.environ | {"TERM": "xterm"} | variables
        subprocess.run(
            [BUILD / "pillion", "--socket", node, "up"],
            check=False,
            stderr=follower,
            env=environment,
            timeout=TIMEOUT,
        )
        os.close(follower)
        text = os.read(leader, 4096).decode()
        os.close(leader)
        return text

    assert "\x1b[32mconnected" in on_terminal({})
    assert "\x1b" not in on_terminal({"NO_COLOR": "1"})


def hostile(value):
    """The same with what a terminal obeys in every string: a title, CSI as C1, a direction."""
    if isinstance(value, dict):
        return {name: hostile(member) for name, member in value.items()}
    if isinstance(value, list):
        return [hostile(member) for member in value]
    return value + "\x1b]0;owned\x07\u009b2J\u202e\n" if isinstance(value, str) else value


def on_a_terminal(*command):
    leader, follower = pty.openpty()
    subprocess.run(command, check=False, stdout=follower, stderr=follower, timeout=TIMEOUT)
    os.close(follower)
    text = b""
    with suppress(OSError):
        while more := os.read(leader, 65536):
            text += more
    os.close(leader)
    return text.decode()


def test_no_terminal_obeys_what_others_say(tmp_path):
    """Every string of a status and a whois comes from an engine that was taken over."""
    status, whois = (json.loads((DATA / f"{n}.json").read_text()) for n in ("status", "whois"))
    status["Health"] = ["wrong"]
    broken = hostile(status) | {"BackendState": "Running"}
    (tmp_path / "status.json").write_text(json.dumps(broken))
    (tmp_path / "whois.json").write_text(json.dumps(hostile(whois)))
    path = tmp_path / "node.sock"
    with localapi(path, tmp_path / "status.json", tmp_path / "whois.json"):
        for command in (
            ["status"],
            ["status", "--json"],
            ["ip"],
            ["ip", "laptop"],
            ["whois", "100.64.0.2"],
            ["whois", "--json", "100.64.0.2"],
            ["version", "--daemon"],
            ["version", "--daemon", "--json"],
            ["ping", "-c", "1", "laptop"],
            ["up"],
            ["login"],
            ["connect"],
        ):
            said = on_a_terminal(BUILD / "pillion", f"--socket={path}", *command)
            coloured = re.sub(r"\x1b\[\d+m", "", said.replace("\r\n", "\n"))
            assert said and re.findall(r"[^\n\t -~\u00a0-\u200d]", coloured) == [], command


def test_completion_and_manual_are_well_formed():
    bash = pillion("completion", "bash").stdout
    assert subprocess.run(["bash", "-n"], check=False, input=bash, text=True).returncode == OK
    complete = (
        bash + "COMP_WORDS=(pillion conn); COMP_CWORD=1; _pillion; echo ${COMPREPLY[@]}\n"
        "COMP_WORDS=(pillion up --hostn); COMP_CWORD=2; _pillion; echo ${COMPREPLY[@]}\n"
    )
    done = subprocess.run(["bash"], check=False, input=complete, capture_output=True, text=True)
    assert done.stdout == "connect\n--hostname=\n"
    for shell in ("zsh", "fish"):
        assert "--hostname" in pillion("completion", shell).stdout.replace("-l ", "--")
    manual = pillion("manual").stdout
    assert manual.startswith(".TH PILLION 1") and ".SS pillion connect" in manual
