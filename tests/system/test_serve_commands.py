# SPDX-License-Identifier: BSD-3-Clause
"""Ports served by command: `pillion serve`, and the LocalAPI's serve-config."""

import json
import os
import re
import shlex
from pathlib import Path

import pytest
from lab import wait_for
from lab.app import PORT
from lab.build import build_folder
from lab.process import command_name, descendants

PAGE = Path(__file__).parents[2] / "docs/serve.md"
COMMANDS = [
    line.split("#")[0].split()
    for line in PAGE.read_text().partition("## The internet")[0].splitlines()
    if line[:13] == "pillion serve" and "Ctrl-C" not in line
]


@pytest.fixture
def node(world):
    return world.sidecar.join()


@pytest.fixture
def fetch_at(world):
    """What the laptop gets of a URL of a node, as NAME, or curl's error."""

    def for_node(node):
        name, address = name_of(node), node.addresses()[0]

        def fetched(url):
            at = f"{name}::{address}:"
            command = ["curl", "-skS", "--max-time", "10", "--connect-to", at]
            done = world.laptop.box.run(*command, url.replace("NAME", name), check=False)
            return done.stdout or done.stderr

        return fetched

    return for_node


@pytest.fixture
def fetch(fetch_at, node):
    return fetch_at(node)


def name_of(node):
    return node.status()["Self"]["DNSName"].rstrip(".")


def wait_page(fetch, url, page, timeout=20):
    wait_for(lambda: fetch(url) == page, timeout, lambda: f"{url}: {fetch(url)}")


def ask(node, method="GET", body=None, *headers):
    """The LocalAPI's answer: status, ETag, text."""
    command = ["curl", "-sS", "--unix-socket", node.socket, "-X", method, "-D", "-"]
    command += ["-d", body] if body is not None else []
    for header in headers:
        command += ["-H", header]
    said = node.box.run(*command, "http://local-tailscaled.sock/localapi/v0/serve-config").stdout
    head, _, text = said.replace("\r", "").partition("\n\n")
    etag = re.search(r"^etag: (\w+)$", head, re.I | re.M)
    return int(head.split()[1]), etag and etag[1], text


def test_the_commands_of_the_page(node, fetch, world):
    """Each command of docs/serve.md; what they serve, and what is left at the end."""
    assert len(COMMANDS) == 7
    name = name_of(node)
    said = [node.pillion(*command[1:]).stdout for command in COMMANDS[:4]]
    assert f"https://{name}/\n|-- proxy http://127.0.0.1:8080" in said[0]
    assert "To disable the proxy, run: pillion serve --https=443 off" in said[0]
    assert f"https://{name}/api\n|-- proxy http://127.0.0.1:9000" in said[1]
    assert "|--> tcp://127.0.0.1:5432" in said[2]
    assert all(line in said[3] for line in ("|-- /api proxy", f"tcp://{name}:5432"))
    status = json.loads(node.pillion("serve", "status", "--json").stdout)
    assert set(status["TCP"]) == {"443", "5432"}
    wait_page(fetch, "https://NAME/", world.sidecar_app.page)
    for command in COMMANDS[4:6]:
        node.pillion(*command[1:])
    left = json.loads(node.pillion("serve", "status", "--json").stdout)
    assert set(left["TCP"]) == {"443"} and len(list(left["Web"].values())[0]["Handlers"]) == 1
    node.pillion(*COMMANDS[6][1:])
    assert node.pillion("serve", "status").stdout == "No serve config\n"
    wait_for(lambda: world.sidecar_app.page not in fetch("https://NAME/"), 20, "the port to close")
    wait_for(
        lambda: "pillion-service" not in map(command_name, descendants(node.process.pid)),
        20,
        "the services to end",
    )


def test_it_outlives_a_crash_and_a_restart(node, fetch, world):
    node.pillion("serve", "--bg", "--http=80", "text:hello")
    wait_page(fetch, "http://NAME/", "hello")
    before = ask(node)
    node.kill_engine()
    wait_page(fetch, "http://NAME/", "hello", 30)
    node.kill()
    node.start()
    node.wait_running()
    wait_page(fetch, "http://NAME/", "hello", 30)
    assert ask(node) == before
    node.cli("logout")
    wait_for(lambda: ask(node)[2] == "{}", 10, "the profile's ports to go")


def test_two_programs_do_not_undo_each_other(node):
    status, none, text = ask(node)
    assert (status, text) == (200, "{}") and len(none) == 64
    first = '{"TCP":{"80":{"HTTP":true}}}'
    assert ask(node, "POST", first, f"If-Match: {none}")[0] == 200
    status, now, text = ask(node)
    assert (status, text) == (200, first) and now != none
    status, _, text = ask(node, "POST", "{}", f"If-Match: {none}")
    assert status == 412 and "etag mismatch" in text
    assert ask(node, "POST", "{}", f"If-Match: {now}")[0] == 200
    assert ask(node)[1] == none


def test_a_file_goes_before_commands(world):
    """Its configuration is shown, and changes are refused with its path."""
    node = world.sidecar
    file = node.box.folder / "serve.json"
    file.write_text(
        '{"TCP": {"80": {"HTTP": true}},'
        ' "Web": {"${TS_CERT_DOMAIN}:80": {"Handlers": {"/": {"Text": "file"}}}}}'
    )
    node.start(world.headscale.auth_key(), {"TS_SERVE_CONFIG": str(file)})
    node.wait_running()
    site = f"{name_of(node)}:80"
    wait_for(lambda: site in ask(node)[2], 10, "the file to be in force")
    assert 'text  "file"' in node.pillion("serve", "status").stdout
    status, _, text = ask(node, "POST", "{}")
    assert status == 409 and str(file) in json.loads(text)["error"]
    done = node.pillion("serve", "reset", check=False)
    assert done.returncode == 1 and str(file) in done.stderr
    assert site in ask(node)[2]


def test_the_variable_with_the_json_itself(world, fetch_at):
    """TS_SERVE_CONFIG_JSON: as a file; commands are refused; a broken one is named, and both too."""
    node = world.sidecar
    text = (
        '{"TCP": {"80": {"HTTP": true}},'
        ' "Web": {"${TS_CERT_DOMAIN}:80": {"Handlers": {"/": {"Text": "inline"}}}}}'
    )
    node.start(world.headscale.auth_key(), {"TS_SERVE_CONFIG_JSON": text})
    node.wait_running()
    fetch = fetch_at(node)
    wait_page(fetch, "http://NAME/", "inline")
    done = node.pillion("serve", "reset", check=False)
    assert done.returncode == 1 and "TS_SERVE_CONFIG_JSON is in force" in done.stderr
    node.kill_engine()
    wait_page(fetch, "http://NAME/", "inline", 30)
    node.stop()
    node.start(environment={"TS_SERVE_CONFIG_JSON": text[:-1]})
    node.wait_running()
    wait_for(
        lambda: any(
            "TS_SERVE_CONFIG_JSON is not used: line 1" in line for line in node.status()["Health"]
        ),
        10,
        lambda: node.status()["Health"],
    )
    node.stop()
    node.start(environment={"TS_SERVE_CONFIG_JSON": text, "TS_SERVE_CONFIG": "/x"})
    assert node.process.wait(10) == 2
    assert "are both set" in node.process.text()


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["--tcp=443", "8080"], 1, "listener already exists for port 443"),
        (["--bg", "--http=80", "/etc"], 1, "--serve-root"),
        (["--bg", "--http=80", "/no/such"], 1, "invalid path"),
        (["--bg", "--http=80", "unix:/run/app"], 1, "--serve-root"),
        (["--bg", "--http=80", "unix:run/app"], 1, "is not a valid socket"),
        (["--bg", "--http=80", "http://a b"], 1, "is not a valid target"),
        (["--bg", "--tcp=443", "1"], 1, "already serving web on port 443"),
        (["--bg", "--http=443", "1"], 1, 'port 443 is already serving "https"'),
        (["--bg", "--http=80", "--https=443", "1"], 2, "name only one of"),
        (["--http=80", "off"], 1, "handler does not exist"),
        (["--tcp=80", "off"], 1, "no TCP is served on port 80"),
        (["--bg", "--set-path=/a/../b", "1"], 2, "invalid mount point"),
        (["--bg", "--https=70000", "1"], 2, "65535"),
        (["--bg", "--http=80", "app"], 1, '"app" is not a valid target: write a port, HOST:PORT'),
        ([], 2, "name one target"),
    ],
)
def test_mistakes_change_nothing(node, arguments, code, says):
    node.pillion("serve", "--bg", str(PORT))
    before = ask(node)
    done = node.pillion("serve", *arguments, check=False)
    assert done.returncode == code
    assert says in done.stderr
    assert ask(node) == before


def test_several_handlers_need_a_yes(node):
    node.pillion("serve", "--bg", "1")
    node.pillion("serve", "--bg", "--set-path=/two/", "2")
    node.pillion("serve", "--bg", "--set-path", "two", "3")
    # On a terminal only: scripts of the official command add none.
    off = shlex.join(map(str, [build_folder() / "pillion", "serve", "off"]))
    asked = node.box.run(
        *["script", "-qec", off, "/dev/null"],
        check=False,
        environment={"PATH": os.environ["PATH"], "TS_SOCKET": str(node.socket)},
    )
    assert asked.returncode == 1 and "delete 2 handlers under port 443: add --yes" in asked.stdout
    node.pillion("serve", "off")
    assert ask(node)[2] == '{"TCP":{},"Web":{}}'


def test_the_old_form_of_funnel_ends_no_port(node):
    """`funnel 443 off` ended Funnel alone; a target and `off` would end the whole port."""
    node.pillion("serve", "--bg", "1")
    before = ask(node)
    done = node.pillion("funnel", "443", "off", check=False)
    assert done.returncode == 2 and "pillion funnel --https=443 off" in done.stderr
    assert ask(node) == before
