# SPDX-License-Identifier: BSD-3-Clause
"""What the coordination server offers beside joining: its configuration and commands, keys of
each kind, approval in the page, DNS, the DNS hook, confirmation of SSH sessions.
"""

import json
import os
import re
import socket
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from http import HTTPStatus
from pathlib import Path

import pytest
from lab import raw_http2 as h2
from lab import wait_for
from lab.build import BUILD
from lab.loopback_control import JoinedNode, joined
from lab.process import children
from lab.raw_http2 import NoiseConnection, request
from lab.relay_tool import free_port

NAMESPACE = ["unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh"]


def node_id(server, name):
    return server.cli("nodes", "show", name)["id"]


def rpc(node, method, path, body=None, timeout=20):
    """A request over TS2021 as the node; (status, the answer's text)."""
    number = ask(node, method, path, body)
    return wait_for(lambda: answer(node, number), timeout, node.text)


def ask(node, method, path, body=None):
    node.asked = getattr(node, "asked", 0) + 1
    node.say(f"rpc {method} {path}" + (f" {json.dumps(body)}" if body else ""))
    return node.asked


def answer(node, number):
    found = re.search(rf"^\S+ rpc {number} (-?\d+) (.*)$", node.text(), re.MULTILINE)
    return found and (int(found.group(1)), found.group(2))


# Configuration


def test_serve_in_an_empty_folder(tmp_path):
    """Without a flag, a file or a variable; its commands find it without one too."""
    control = [BUILD / "pillion-server", "control"]
    plain = {"PATH": os.environ["PATH"]}
    log = tmp_path / "log"
    folder = tmp_path / "empty"
    folder.mkdir()
    with log.open("wb") as file:
        process = subprocess.Popen(
            [*NAMESPACE, *control, "serve"], cwd=folder, env=plain, stdout=file, stderr=file
        )

    def run(*arguments):
        return subprocess.run(
            [*control, *arguments],
            cwd=folder,
            env=plain,
            capture_output=True,
            text=True,
            check=True,
        ).stdout

    try:
        wait_for(lambda: "serving url=" in log.read_text(), 20, log.read_text)
        assert run("keys", "create").startswith("pillion-auth-")
        assert "default" in run("users")
        assert run("nodes").startswith("ID ")
        assert run("policy", "get") == ""
        text = log.read_text()
        assert re.search(r"serving url=https://\S+:8443 ", text)
        assert "BEGIN CERTIFICATE" in text
        assert "relay listen=" in text
        assert (folder / "pillion-control/control.db").stat().st_mode & 0o777 == 0o600
    finally:
        process.terminate()
        assert process.wait(10) == 0


def test_a_folder_remembers_its_name(tmp_path):
    """Started again without --url and --base-domain it goes on as before; differences are reported."""
    state = tmp_path / "state"

    def serve(*flags):
        command = [
            *[BUILD / "pillion-server", "control", "serve", f"--state={state}", "--relay=off"],
            *[f"--listen=127.0.0.1:{free_port()}", *flags],
        ]
        log = tmp_path / "log"
        with log.open("wb") as file:
            process = subprocess.Popen(command, stdout=file, stderr=file)
        try:
            wait_for(
                lambda: "serving url=" in log.read_text() or process.poll() is not None,
                20,
                log.read_text,
            )
        finally:
            process.terminate()
            status = process.wait(10)
        return status, log.read_text()

    names = ("--url=https://vpn.test:8443", "--base-domain=tail.test")
    status, text = serve(*names, "--node-expiry=4320h")
    assert status == 0
    assert "served before" not in text
    certificate = (state / "server.pem").read_bytes()

    status, text = serve()
    assert status == 0
    assert "serving url=https://vpn.test:8443 " in text
    assert (state / "server.pem").read_bytes() == certificate
    assert "base_domain is" not in text
    assert "node_expiry is 0s; it was 15552000s" in text

    status, text = serve("--url=https://other.test:8443")
    assert status == 0
    assert "url is https://other.test:8443; it was https://vpn.test:8443" in text
    assert "base_domain is" not in text
    # The new name is what is remembered now.
    assert "serving url=https://other.test:8443 " in serve()[1]

    (state / "settings.json").write_text("")
    status, text = serve(*names)
    assert status == 2
    assert "settings.json holds no settings: move it away" in text

    # The folder may belong to another user: root neither waits there nor reads elsewhere.
    elsewhere = tmp_path / "elsewhere.json"
    elsewhere.write_text('{"url": "https://elsewhere.test:8443"}')
    for trap in (os.mkfifo, lambda path: path.symlink_to(elsewhere)):
        (state / "settings.json").unlink()
        trap(state / "settings.json")
        status, text = serve()
        assert status == 2
        assert "elsewhere.test" not in text


def test_flags_win_over_variables_and_those_over_the_file(tmp_path, server):
    server.stop()
    file = tmp_path / "config.json"
    settings = {
        "base_domain": "of-the-file.test",
        "ephemeral_timeout": "5m",
        "log_level": "debug",
        "dns": {
            "Resolvers": [{"Addr": "192.0.2.53"}],
            "Routes": {"corp.test": [{"Addr": "192.0.2.54"}]},
            "ExtraRecords": [{"Name": "db.corp.test", "Value": "192.0.2.9"}],
        },
    }
    file.write_text(json.dumps(settings))

    def netmap(environment, *flags):
        os.environ.update(environment)
        try:
            server.start(f"--config={file}", *flags)
        finally:
            for name in environment:
                del os.environ[name]
        made = joined(JoinedNode(server, server.cli("keys", "create")["key"], tmp_path))
        try:
            return server.cli("debug", "netmap", str(max(ids(server))))
        finally:
            made.close()
            server.stop()

    variable = {"PILLION_CONTROL_BASE_DOMAIN": "of-the-variable.test"}
    first = netmap({})
    assert first["Domain"] == "of-the-file.test"
    assert first["Node"]["Name"].endswith(".of-the-file.test.")
    dns = first["DNSConfig"]
    assert dns["Proxied"] is True
    assert dns["Domains"] == ["of-the-file.test"]
    assert dns["Resolvers"] == [{"Addr": "192.0.2.53"}]
    assert dns["Routes"] == {"corp.test": [{"Addr": "192.0.2.54"}]}
    assert dns["ExtraRecords"] == [{"Name": "db.corp.test", "Value": "192.0.2.9"}]
    assert "CertDomains" not in dns
    # The client is instructed to keep its logs.
    assert first["Debug"] == {"DisableLogTail": True}
    assert first["CollectServices"] is False
    assert netmap(variable)["Domain"] == "of-the-variable.test"
    assert netmap(variable, "--base-domain=of-the-flag.test")["Domain"] == "of-the-flag.test"


def ids(server):
    return [node["id"] for node in server.cli("nodes", "list")["nodes"]]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('{"base_domian": "x"}', "unknown setting 'base_domian'"),
        ('{"relay": true}', "relay is a string"),
        ('{"dns": []}', "dns is an object"),
        ('{"dns": {"routes": {}}}', "dns: unknown member 'routes'"),
        ('{"base_domain": ".x."}', "is not a valid domain"),
        ('{"base_domain": "Upper.test"}', "is not a valid domain"),
        ('{"node_expiry": "soon"}', "is not a valid duration"),
        ('{"node_expiry": "100000d"}', "node-expiry is at most 36500d"),
        ('{"ephemeral_timeout": "-5m"}', "negative"),
        ('{"dns_hook": "no-path"}', "is not the path"),
        ('{"dns_hook": "/nowhere/hook"}', "can't be run"),
        ('{"dns_hook": "/bin/true", "dns_hook_timeout": "1ms"}', "at least 1s"),
        ('{"dns_hook_timeout": "5s"}', "has no effect without dns-hook"),
        ('{"url": "ftp://x"}', "url"),
        ('{"listen": "ftp://[::]:1"}', "is not a valid ADDRESS:PORT"),
        (
            '{"listen": "http://[::1]:1", "certificate": "a", "key": "b"}',
            "the proxy needs the certificate",
        ),
        (
            '{"url": "http://vpn.test:8080", "certificate": "a", "key": "b"}',
            "url and listen are plain HTTP",
        ),
        ('{"derp_map": {}}', "a DERP map has an object 'Regions'"),
        ("[]", "no JSON object"),
        ("{", "line 1"),
    ],
)
def test_a_wrong_configuration_is_refused(tmp_path, text, says):
    file = tmp_path / "config.json"
    file.write_text(text)
    done = subprocess.run(
        [
            *[BUILD / "pillion-server", "control", "serve", f"--config={file}", "--relay=off"],
            *[f"--state={tmp_path / 'state'}"],
            *([] if "listen" in text else [f"--listen=127.0.0.1:{free_port()}"]),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=20,
    )
    assert done.returncode == 2, done.stderr
    assert says in done.stderr


def test_a_name_that_is_reserved_later(tmp_path, server, nodes):
    """A node loses the name that the configuration gives away at the next start."""
    joined(nodes(server.cli("keys", "create")["key"]))
    assert server.cli("nodes", "rename", "1", "wiki") is not None
    server.stop()
    file = tmp_path / "config.json"
    record = {"Name": "wiki.tailnet.internal", "Value": "192.0.2.9"}
    file.write_text(json.dumps({"dns": {"ExtraRecords": [record]}}))
    server.start(f"--config={file}")
    assert server.cli("nodes", "show", "1")["name"] == "wiki-1"
    assert "node=1 is now called wiki-1" in server.log.read_text()
    refused = server.run("nodes", "rename", "1", "wiki")
    assert refused.returncode == 1 and "DNS record" in refused.stderr


# Keys and nodes


def test_keys_of_each_kind(server, nodes):
    """Keys for one use, reusable, tagged, ephemeral, expired, without expiry: as listed."""
    once = server.cli("keys", "create", "--expiry", "0")
    many = server.cli("keys", "create", "--reusable", "--ephemeral", "--tags", "tag:a,tag:b")
    over = server.cli("keys", "create")
    assert "expiry" not in once
    assert server.cli("keys", "expire", over["prefix"]) is not None
    first = joined(nodes(once["key"]))
    second = nodes(once["key"])
    wait_for(lambda: "already used" in second.text(), 20, second.text)
    third = nodes(over["key"])
    wait_for(lambda: "auth key expired" in third.text(), 20, third.text)
    joined(nodes(many["key"]))
    joined(nodes(many["key"]))
    made = server.cli("nodes", "list")["nodes"]
    assert [n["tags"] for n in made] == [[], ["tag:a", "tag:b"], ["tag:a", "tag:b"]]
    assert [n["ephemeral"] for n in made] == [False, True, True]
    assert [n["name"] for n in made] == ["control-join", "control-join-1", "control-join-2"]
    assert len({address for n in made for address in n["addresses"]}) == 6
    states = {k["prefix"]: (k["valid"], k["used"]) for k in server.cli("keys", "list")}
    assert states[once["prefix"]] == (False, True)
    assert states[many["prefix"]] == (True, True)
    assert states[over["prefix"]] == (False, False)
    table = server.run("keys", "list").stdout
    assert re.search(rf"{once['prefix']}\s+default\s+used\s+once\s+never", table)
    assert re.search(rf"{over['prefix']}\s+default\s+expired", table)
    assert first.registered()
    for expiry in ("-1h", "200000h"):
        assert server.run("keys", "create", f"--expiry={expiry}").returncode != 0


def test_an_ephemeral_node_goes_after_its_time(tmp_path, server, nodes):
    server.stop()
    server.start("--ephemeral-timeout=1s")
    key = server.cli("keys", "create", "--ephemeral")["key"]
    node = joined(nodes(key))
    stays = joined(nodes(server.cli("keys", "create")["key"]))
    node.close()
    wait_for(lambda: len(ids(server)) == 1, 40, "the ephemeral node to be gone")
    wait_for(lambda: "peer-removed 1" in stays.text(), 10, stays.text)


def test_an_idle_map_is_kept_alive(server):
    """Proxies end connections after 50 s of silence: a message comes before."""
    key, node_key = server.cli("keys", "create")["key"], "nodekey:" + os.urandom(32).hex()
    body = {"Version": 138, "NodeKey": node_key, "Auth": {"AuthKey": key}}
    connection = NoiseConnection(server).start()
    try:
        connection.send(request(1, "/machine/register", body))
        wait_for(lambda: any(k == h2.DATA for k, *_ in connection.frames()), 10, "an answer")
        connection.send(request(3, "/machine/map", {**body, "Stream": True, "KeepAlive": True}))
        wait_for(
            lambda: any(
                b'"KeepAlive":true' in p
                for k, _, s, p in connection.frames()
                if (k, s) == (h2.DATA, 3)
            ),
            48,
            "a keep-alive",
        )
    finally:
        connection.close()


def test_node_expiry(server, nodes):
    """A login lasts as long as the server says; tagged nodes stay."""
    server.stop()
    server.start("--node-expiry=2s")
    plain = joined(nodes(server.cli("keys", "create")["key"]))
    joined(nodes(server.cli("keys", "create", "--tags=tag:a")["key"]))
    wait_for(lambda: "key-expired" in plain.text(), 20, plain.text)
    first, second = server.cli("nodes", "list")["nodes"]
    assert first["expired"]
    assert not second["expired"]
    assert "expiry" not in second
    assert re.search(r"control-join\s.*\sexpired", server.run("nodes").stdout)


def test_nodes_as_tables_and_json(server, nodes):
    node = joined(nodes(server.cli("keys", "create", "--user=alice")["key"]))
    node.say("route 10.1.0.0/16")
    shown = wait_for(
        lambda: (n := server.cli("nodes", "show", "control-join"))["advertised_routes"] and n,
        10,
        node.text,
    )
    assert shown["advertised_routes"] == ["10.1.0.0/16"]
    assert shown["approved_routes"] == []
    assert server.cli("nodes", "approve-routes", "control-join", "10.1.0.0/16") is not None
    assert server.cli("nodes", "show", "100.64.0.1")["serving_routes"] == ["10.1.0.0/16"]
    assert server.cli("nodes", "rename", "1", "router") is not None
    assert server.cli("nodes", "tag", "router", "tag:net") is not None
    text = server.run("nodes", "show", "router").stdout
    for line in (
        r"^name +router$",
        r"^tags +tag:net$",
        r"^addresses +100\.64\.0\.1,fd7a:115c:a1e0::1$",
        r"^serving_routes +10\.1\.0\.0/16$",
        r"^online +yes$",
    ):
        assert re.search(line.replace("$", " *$"), text, re.MULTILINE), text
    assert re.search(r"router\s+100\.64\.0\.1\s+tag:net\s+online", server.run("nodes").stdout)
    assert server.cli("nodes", "approve-routes", "router", "") is not None
    assert server.cli("nodes", "show", "router")["serving_routes"] == []
    assert server.cli("nodes", "tag", "router", "") is not None
    assert server.cli("nodes", "show", "router")["user"] == "alice"
    assert server.cli("nodes", "delete", "router") is not None
    assert ids(server) == []


def test_empty_flags_of_keys(server):
    """A variable of a script that is empty makes no key with other rights than were meant."""
    for flag in ("--tags=", "--tags=, ,", "--user="):
        done = server.run("keys", "create", flag)
        assert done.returncode == 2
        assert f"{flag.split('=')[0]} is empty" in done.stderr
    assert server.cli("keys", "list") == []


def test_a_key_that_outlives_all(server):
    """How long a key may be good is checked before it is added to the time."""
    for flag in ("--expiry=100000d", "--expiry=3651d"):
        done = server.run("keys", "create", flag)
        assert done.returncode == 1
        assert "10 years" in done.stderr
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(20)
        s.connect(str(server.socket))
        body = b'{"expiry_seconds": 9223372036854775807}'
        s.sendall(
            b"POST /v1/keys HTTP/1.1\r\nHost: control\r\nContent-Length: %d\r\n\r\n" % len(body)
        )
        s.sendall(body)
        assert b" 400 " in s.recv(4096)
    assert server.cli("keys", "list") == []


def test_policy_commands(server, tmp_path):
    good = (
        '// who may reach whom\n{"acls": [{"action": "accept", "src": ["*"], "dst": ["*:*"]}],}\n'
    )
    bad = '{"acls": [], "tests": [{"src": "100.64.0.1", "accept": ["100.64.0.2:80"]}]}'
    file = tmp_path / "policy.hujson"
    file.write_text(good)
    assert server.run("policy", "check", file).returncode == 0
    assert server.run("policy", "get").stdout == ""
    assert server.run("policy", "set", file).returncode == 0
    assert server.run("policy", "get").stdout == good
    for order in ("check", "set"):
        done = server.run("policy", order, "-", stdin=bad)
        assert done.returncode == 1
        assert "must reach" in done.stderr
        wrong = '{"acls": [{"action": "deny",\n"src": ["tag:x"], "dst": ["*:http"]}]}'
        lines = server.run("policy", order, "-", stdin=wrong).stderr.splitlines()
        assert [line.split(": ")[1] for line in lines] == [
            "line 1, column 22",
            "line 2, column 9",
            "line 2, column 27",
        ]
    assert server.run("policy", "get").stdout == good
    # What is empty, cut off or unreadable opens nothing.
    for order in ("check", "set"):
        for nothing in ("", " \n", "// to be written\n"):
            done = server.run("policy", order, "-", stdin=nothing)
            assert done.returncode == 1
            assert "policy delete" in done.stderr
        done = server.run("policy", order, str(tmp_path))
        assert done.returncode == 1
        assert f"read {tmp_path}: Is a directory" in done.stderr
    done = server.run("policy", "delete")
    assert done.returncode == 2
    assert "every node may reach every other" in done.stderr
    assert server.run("policy", "get").stdout == good
    assert server.run("policy", "delete", "--yes").returncode == 0
    assert server.run("policy", "get").stdout == ""


# Approval in the page


def post(url, **fields):
    """(status, page)"""
    data = urllib.parse.urlencode(fields).encode()
    try:
        with urllib.request.urlopen(url, data, timeout=10) as reply:
            return reply.status, reply.read().decode()
    except urllib.error.HTTPError as refusal:
        return refusal.code, refusal.read().decode()


def get(url):
    try:
        with urllib.request.urlopen(url, timeout=10) as reply:
            return reply.status, reply.read().decode(), reply.headers
    except urllib.error.HTTPError as refusal:
        return refusal.code, refusal.read().decode(), refusal.headers


def login_url(node):
    return wait_for(
        lambda: (f := re.search(r"auth-url (\S+)", node.text())) and f.group(1), 10, node.text
    )


def test_a_login_is_approved_in_the_page(server, nodes):
    """Only with the page key, which the operator makes; without one there is no form."""
    node = nodes("")
    url = login_url(node)
    status, page, headers = get(url)
    assert status == HTTPStatus.OK
    assert "control-join" in page
    assert "<form" not in page
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert post(url, user="alice", key="", verdict="approve")[0] == HTTPStatus.FORBIDDEN
    key = server.cli("page-key", "create")["key"]
    assert "<form" in get(url)[1]
    assert post(url, user="alice", key="wrong")[0] == HTTPStatus.FORBIDDEN
    assert post(url, user="a b", key=key, new="yes")[0] == HTTPStatus.BAD_REQUEST
    # A mistyped name makes no user.
    status, page = post(url, user="alice", key=key, verdict="approve")
    assert status == HTTPStatus.BAD_REQUEST and "Unknown user" in page
    assert ids(server) == []
    assert post(url, user="alice", key=key, new="yes")[0] == HTTPStatus.OK
    joined(node)
    assert server.cli("nodes", "show", "control-join")["user"] == "alice"
    assert get(url)[0] == HTTPStatus.NOT_FOUND
    # The key outlives a crash; a new one ends it, and none ends all.
    server.kill()
    server.start()
    other = nodes("")
    second = server.cli("page-key", "create")["key"]
    assert post(login_url(other), user="bob", key=key)[0] == HTTPStatus.FORBIDDEN
    assert server.cli("page-key", "delete") is not None
    assert post(login_url(other), user="bob", key=second)[0] == HTTPStatus.FORBIDDEN
    assert len(ids(server)) == 1
    assert key not in server.log.read_text()


def test_a_login_is_rejected(server, nodes):
    """In the page or by the command: the node hears it, and a later login is another one."""
    key = server.cli("page-key", "create")["key"]
    node = nodes("")
    url = login_url(node)
    assert post(url, key="wrong", verdict="reject")[0] == HTTPStatus.FORBIDDEN
    status, page = post(url, key=key, verdict="reject")
    assert status == HTTPStatus.OK and "Rejected" in page
    wait_for(lambda: "the operator refused this login" in node.text(), 20, node.text)
    assert get(url)[0] == HTTPStatus.NOT_FOUND
    assert post(url, key=key, user="default", verdict="approve")[0] == HTTPStatus.NOT_FOUND
    second = nodes("")
    url = login_url(second)
    server.cli("nodes", "reject", url)
    assert server.run("nodes", "approve", url).returncode == 1
    wait_for(lambda: "the operator refused this login" in second.text(), 20, second.text)
    assert ids(server) == []


def test_the_page_says_whose_the_machine_is(server, nodes):
    """And wraps on a small screen: what is long may break anywhere."""
    key = server.cli("page-key", "create")["key"]
    node = nodes("")
    url = login_url(node)
    page = get(url)[1]
    assert "This machine has" not in page
    assert "overflow-wrap:anywhere" in page and "pre-wrap" in page
    assert post(url, user="default", key=key)[0] == HTTPStatus.OK
    joined(node)
    server.run("nodes", "expire", "1")
    node.say("login")
    url = wait_for(lambda: server.cli("nodes", "list")["logins"], 20, node.text)[0]["id"]
    page = get(f"{server.url}/register/{url}")[1]
    assert "This machine has the node <b>control-join</b> of <b>default</b>" in page


def test_no_page_key_in_plain_text(server, nodes):
    """Where the pages are plain HTTP on a network, there is no form and no key for one."""
    key = server.cli("page-key", "create")["key"]
    server.stop()
    server.start("--url=http://192.0.2.1", f"--listen=127.0.0.1:{server.port}")
    done = server.run("page-key", "create")
    assert done.returncode == 1
    assert "plain text" in done.stderr
    path = urllib.parse.urlsplit(login_url(nodes(""))).path
    assert "<form" not in get(server.url + path)[1]
    assert post(server.url + path, user="alice", key=key)[0] == HTTPStatus.FORBIDDEN
    assert "admin: created page key" in server.log.read_text()
    assert key not in server.log.read_text()


def test_names_of_strangers_are_text_in_the_page(server, nodes):
    node = nodes("")
    login_url(node)
    node.say("hostname <script>alert(1)</script>")
    node.say("login")
    wait_for(lambda: "script" in json.dumps(server.cli("nodes", "list")), 10, node.text)
    for login in server.cli("nodes", "list")["logins"]:
        page = get(f"{server.url}/register/{login['id']}")[1]
        assert "<script" not in page


# The DNS hook

HOOK = """#!/bin/sh
echo "$@" >>{folder}/calls
case "$3" in
fail) echo "no such zone" >&2; exit 1 ;;
hang) sleep 1000 ;;
esac
"""


@pytest.fixture
def hooked(server, tmp_path):
    """The server with a DNS hook, and the file that it adds a line to at each call."""
    hook = tmp_path / "hook"
    hook.write_text(HOOK.format(folder=tmp_path))
    hook.chmod(0o700)
    server.stop()
    server.start(f"--dns-hook={hook}", "--dns-hook-timeout=2s", "--base-domain=t.test")
    return server, tmp_path / "calls"


def set_dns(node, value, name="_acme-challenge.control-join.t.test", kind="TXT"):
    body = {"Version": 138, "NodeKey": "$NODEKEY", "Name": name, "Type": kind, "Value": value}
    return rpc(node, "POST", "/machine/set-dns", body)


def test_a_node_sets_its_acme_record(hooked, nodes):
    server, calls = hooked
    node = joined(nodes(server.cli("keys", "create")["key"]))
    netmap = server.cli("debug", "netmap", "control-join")
    assert netmap["DNSConfig"]["CertDomains"] == ["control-join.t.test"]
    assert set_dns(node, "-aB_9") == (HTTPStatus.OK, "{}")
    assert calls.read_text() == "present _acme-challenge.control-join.t.test -aB_9\n"
    # At once again: one node can't have the program run all the time.
    assert set_dns(node, "x")[0] == HTTPStatus.TOO_MANY_REQUESTS
    assert len(calls.read_text().splitlines()) == 1


def test_what_a_node_may_not_set(hooked, nodes):
    server, calls = hooked
    key = server.cli("keys", "create", "--reusable")["key"]
    node, other = joined(nodes(key)), joined(nodes(key))
    forbidden = HTTPStatus.FORBIDDEN
    for name in (
        "_acme-challenge.control-join-1.t.test",
        "control-join.t.test",
        "_acme-challenge.t.test",
        "_acme-challenge.x.control-join.t.test",
        "_acme-challenge.control-join.t.test.evil.test",
    ):
        assert set_dns(node, "x", name)[0] == forbidden, name
    assert set_dns(node, "x", kind="A")[0] == forbidden
    assert set_dns(node, "x" * 256)[0] == HTTPStatus.BAD_REQUEST
    assert set_dns(node, "x y")[0] == HTTPStatus.BAD_REQUEST
    assert set_dns(node, "$(reboot)")[0] == HTTPStatus.BAD_REQUEST
    # Another's node key is of no use on this machine.
    body = {"NodeKey": other.registered(), "Type": "TXT", "Value": "x"}
    body["Name"] = "_acme-challenge.control-join-1.t.test"
    assert rpc(node, "POST", "/machine/set-dns", body)[0] == HTTPStatus.NOT_FOUND
    assert rpc(node, "GET", "/machine/set-dns")[0] == HTTPStatus.METHOD_NOT_ALLOWED
    assert not calls.exists()


def test_a_hook_that_fails_or_hangs(hooked, nodes):
    """The node gets an error, the log has the reason, and others are served meanwhile."""
    server, calls = hooked
    key = server.cli("keys", "create", "--reusable")["key"]
    first, second, third = joined(nodes(key)), joined(nodes(key)), joined(nodes(key))
    names = [f"_acme-challenge.control-join{suffix}.t.test" for suffix in ("", "-1", "-2")]
    body = {"NodeKey": "$NODEKEY", "Type": "TXT", "Value": "hang", "Name": names[0]}
    hangs = ask(first, "POST", "/machine/set-dns", body)
    wait_for(calls.exists, 10, "the hook to run")
    assert set_dns(second, "fine", names[1]) == (HTTPStatus.OK, "{}")
    status, text = set_dns(third, "fail", names[2])
    assert status == HTTPStatus.BAD_GATEWAY
    assert "no such zone" not in text
    assert "no such zone" in server.log.read_text()
    status, text = wait_for(lambda: answer(first, hangs), 20, first.text)
    assert (status, text) == (HTTPStatus.BAD_GATEWAY, "the DNS hook took too long")
    assert "killed after 2 s" in server.log.read_text()
    assert server.healthy()


def test_the_helper_has_nothing_and_ends_with_the_server(hooked):
    """One descriptor beside its output, no thread more, and gone after kill -9."""
    server, _ = hooked
    (helper,) = children(server.process.pid)
    folder = Path(f"/proc/{helper}")
    assert (folder / "comm").read_text() == "pillion-dns\n"
    assert sorted(entry.name for entry in (folder / "fd").iterdir())[:3] == ["0", "1", "2"]
    (last,) = [entry for entry in (folder / "fd").iterdir() if int(entry.name) > 2]
    assert last.readlink().name.startswith("socket:")
    assert [thread.name for thread in (folder / "task").iterdir()] == [str(helper)]
    server.kill()

    def gone():
        # A process without a waiting parent is a zombie.
        return not folder.exists() or "\nState:\tZ" in (folder / "status").read_text()

    wait_for(gone, 10, "the helper to end")
    server.start()


def test_without_a_hook(server, nodes):
    node = joined(nodes(server.cli("keys", "create")["key"]))
    assert set_dns(node, "x")[0] == HTTPStatus.NOT_IMPLEMENTED
    assert "CertDomains" not in server.cli("debug", "netmap", "control-join")["DNSConfig"]


# SSH sessions that have to be confirmed

SSH = {
    "tagOwners": {"tag:db": ["alice@"]},
    "acls": [{"action": "accept", "src": ["*"], "dst": ["*:*"]}],
    "ssh": [
        {
            "action": "check",
            "src": ["alice@"],
            "dst": ["tag:db"],
            "users": ["root"],
            "checkPeriod": "1h",
        },
        {"action": "accept", "src": ["alice@"], "dst": ["tag:db"], "users": ["deploy"]},
    ],
}


@pytest.fixture
def session(server, nodes):
    """(server, the node that sessions go to, a function that makes the URL for a user)"""
    assert server.run("policy", "set", "-", stdin=json.dumps(SSH)).returncode == 0
    joined(nodes(server.cli("keys", "create", "--user=alice")["key"]))
    target = joined(nodes(server.cli("keys", "create", "--user=alice", "--tags=tag:db")["key"]))
    return server, target, lambda user: f"/machine/ssh/action/1/to/2?ssh_user={user}"


def begin(target, url):
    """The first answer to a session: (message, where to wait)"""
    status, text = rpc(target, "GET", url)
    assert status == HTTPStatus.OK
    action = json.loads(text)
    found = re.search(r"/ssh/([0-9a-f]{32})", action["message"])
    where = action["holdAndDelegate"].removeprefix("https://unused")
    for name, value in (("$SRC_NODE_ID", "1"), ("$DST_NODE_ID", "2"), ("$SSH_USER", "root")):
        where = where.replace(name, value)
    return found.group(1), where.replace("$LOCAL_USER", "root")


def test_the_ssh_policy_reaches_the_node(session):
    server, _, _ = session
    policy = server.cli("debug", "netmap", "2")["SSHPolicy"]
    check, accept = policy["rules"]
    assert {"nodeIP": "100.64.0.1"} in check["principals"]
    assert check["sshUsers"] == {"root": "root"}
    assert check["action"]["holdAndDelegate"].startswith("https://unused/machine/ssh/action/")
    assert accept["action"]["accept"] is True
    assert server.cli("debug", "netmap", "1")["SSHPolicy"] == {"rules": []}


def test_a_session_is_approved_by_command(session):
    server, target, url = session
    assert json.loads(rpc(target, "GET", url("deploy"))[1])["accept"] is True
    assert json.loads(rpc(target, "GET", url("mallory"))[1])["reject"] is True
    check, where = begin(target, url("root"))
    (listed,) = server.cli("ssh", "list")
    assert listed == {"id": check, "from": "control-join", "to": "control-join-1", "user": "root"}
    assert re.search(rf"{check}\s+control-join\s+control-join-1\s+root", server.run("ssh").stdout)
    waits = ask(target, "GET", where)
    # Held: the answer to a later question is there first.
    assert json.loads(rpc(target, "GET", url("deploy"))[1])["accept"] is True
    assert answer(target, waits) is None
    assert server.cli("ssh", "approve", check) is not None
    status, text = wait_for(lambda: answer(target, waits), 10, target.text)
    assert (status, json.loads(text)["accept"]) == (HTTPStatus.OK, True)
    # For an hour the server asks for no further confirmation.
    assert json.loads(rpc(target, "GET", url("root"))[1])["accept"] is True
    assert server.cli("ssh", "list") == []
    assert server.run("ssh", "approve", check).returncode == 1


def test_a_session_is_decided_in_the_page(session):
    server, target, url = session
    check, where = begin(target, url("root"))
    page = f"{server.url}/ssh/{check}"
    status, text, _ = get(page)
    assert status == HTTPStatus.OK
    assert "control-join-1" in text
    assert f"pillion control ssh approve {check}" in text
    key = server.cli("page-key", "create")["key"]
    waits = ask(target, "GET", where)
    assert post(page, key="wrong", verdict="approve")[0] == HTTPStatus.FORBIDDEN
    assert post(page, key=key, verdict="reject")[0] == HTTPStatus.OK
    _, text = wait_for(lambda: answer(target, waits), 10, target.text)
    assert json.loads(text)["reject"] is True
    assert get(page)[0] == HTTPStatus.NOT_FOUND
    check, where = begin(target, url("root"))
    waits = ask(target, "GET", where)
    assert post(f"{server.url}/ssh/{check}", key=key, verdict="approve")[0] == HTTPStatus.OK
    _, text = wait_for(lambda: answer(target, waits), 10, target.text)
    assert json.loads(text)["accept"] is True


def test_only_the_target_may_ask(session, nodes):
    server, _, url = session
    other = joined(nodes(server.cli("keys", "create", "--user=mallory")["key"]))
    assert rpc(other, "GET", url("root"))[0] == HTTPStatus.NOT_FOUND
    assert rpc(other, "POST", url("root"), {"a": 1})[0] == HTTPStatus.METHOD_NOT_ALLOWED
    for path in ("/machine/ssh/action/", "/machine/ssh/action/1/to/x?ssh_user=root"):
        assert rpc(other, "GET", path)[0] == HTTPStatus.BAD_REQUEST
    assert server.cli("ssh", "list") == []
