# SPDX-License-Identifier: BSD-3-Clause
"""Each block of code in README.md and docs/ as it stands: run, or read by the program it is for.

A block that no check takes fails. What needs other hosts runs on one machine that has their names;
the proxies' configurations run in test_proxy.py.
"""

import json
import os
import re
import shlex
import subprocess
from dataclasses import dataclass

import pytest
import yaml
from lab.build import BUILD, ROOT
from lab.machine import Machine
from test_funnel_ingress import POLICY as FUNNEL_POLICY
from test_funnel_ingress import SERVE as FUNNEL_SERVE
from test_proxy import snippet, terminate
from test_serve import EXAMPLES

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
COMPOSE_FILES = [ROOT / "compose.yaml", ROOT / "pillion-demo/compose.yaml"]


@dataclass
class Block:
    page: str
    line: int
    language: str
    text: str

    def __str__(self):
        return f"{self.page}:{self.line}"

    def commands(self):
        """Word lists, one a command; comments, continuations and && are the shell's."""
        for line in self.text.replace("\\\n", " ").splitlines():
            for part in line.split("&&"):
                words = shlex.split(part, comments=True)
                if words:
                    yield words[1:] if words[0] == "sudo" else words


def blocks_of(page):
    found, start = [], None
    for number, line in enumerate(page.read_text().splitlines(), 1):
        fence = re.match(r" *```(.*)$", line)
        if fence and start is None:
            start, language, lines = number, fence[1], []
        elif fence:
            found.append(Block(page.name, start, language, "\n".join(lines) + "\n"))
            start = None
        elif start is not None:
            lines.append(line)
    assert start is None, f"{page.name}:{start} has no end"
    return found


SOURCE = re.compile(r"\.(c|h|py|cmake)$")
BLOCKS = [block for page in PAGES for block in blocks_of(page)]


def run(*words, check=True, **options):
    done = subprocess.run(
        list(map(str, words)),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=options.pop("cwd", ROOT),
        **options,
    )
    assert not check or done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
    return done


def flags_of(words):
    return [word.split("=")[0] for word in words if word.startswith("--")]


def check_pillion(words):
    """All before --help is parsed first: an unknown command or flag ends with 2."""
    assert "sage:" in run(BUILD / "pillion", *words[1:], "--help").stdout


def check_script(words):
    program = ROOT / words[0]
    wanted = flags_of(word.strip("[]") for word in words[1:])
    said = run(program, "--help").stdout if wanted or words[0] != "scripts/peers" else ""
    for flag in wanted:
        assert re.search(rf"{flag}\b", said), f"{words[0]} has no {flag}"


def check_cmake(words):
    presets = json.loads((ROOT / "CMakePresets.json").read_text())["configurePresets"]
    if words[1] == "--preset":
        assert words[2] in [preset["name"] for preset in presets]
    else:
        assert words[1] == "--build" and words[2].removeprefix("build/") in [
            preset["name"] for preset in presets
        ]


def check_docker(words):
    assert words[1] == "compose", words
    files, rest = [], words[2:]
    while rest[0] == "-f":
        files += rest[:2]
        rest = rest[2:]
    services = run("docker-compose", *files, "config", "--services").stdout.split()
    said = run("docker-compose", rest[0], "--help").stdout
    for flag in [word for word in rest[1:] if word.startswith("-")]:
        assert re.search(rf"(?<!\S){flag}\b", said), f"docker compose {rest[0]} has no {flag}"
    names = [word for word in rest[1:] if not word.startswith("-")]
    if rest[0] == "exec":
        check_pillion(names[1:])
        names = names[:1]
    assert set(names) <= set(services), names


def check_copy(words):
    assert (ROOT / words[1]).is_file()


PROGRAMS = {
    "pillion": check_pillion,
    "cmake": check_cmake,
    "docker": check_docker,
    "cp": check_copy,
}


def check_commands(block, tmp_path):
    commands = list(block.commands())
    assert commands
    for words in commands:
        name = words[0].removeprefix("./")
        if name.startswith(("scripts/", "bench/")):
            check_script([name, *words[1:]])
        else:
            PROGRAMS[name](words)


class OnceOnly(yaml.SafeLoader):
    """YAML without a key twice in a mapping."""

    def construct_mapping(self, node, deep=False):
        names = [self.construct_object(key) for key, _ in node.value if key.tag[-6:] != ":merge"]
        assert len(names) == len(set(names)), names
        return super().construct_mapping(node, deep)


def check_compose_text(text, folder):
    """By docker-compose itself; and our variables are ones that we know."""
    (folder / "compose.yaml").write_text(text)
    run("docker-compose", "config", "-q", cwd=folder, env={**os.environ, "AUTHKEY": "key"})
    known = variables()
    for service in yaml.load(text, OnceOnly)["services"].values():
        for name in service.get("environment", {}):
            assert name in known, f"{name} is not in `pillion run --help`"


def check_yaml(block, tmp_path):
    value = yaml.load(block.text, OnceOnly)
    if "services" in value:
        check_compose_text(block.text, tmp_path)
        return
    # Traefik's dynamic configuration; Debian has no Traefik.
    assert set(value) == {"http"} and set(value["http"]) == {"routers", "services"}
    for router in value["http"]["routers"].values():
        assert router["service"] in value["http"]["services"]
        assert re.fullmatch(r"Host\(`[a-z.]+`\)", router["rule"])
    for service in value["http"]["services"].values():
        assert [set(server) for server in service["loadBalancer"]["servers"]] == [{"url"}]


def check_control_config(block, tmp_path):
    """As the server's own file; the URL's name is that of this machine."""
    machine = Machine(tmp_path, ["vpn.example.com"], ["/run"])
    try:
        machine.put("/run/config.json", block.text)
        arguments = ["--config=/run/config.json", "--state=/run/state", "--relay=off"]
        machine.start("control.log", BUILD / "pillion-server", "control", "serve", *arguments)
        machine.wait_text("control.log", "serving url=https://vpn.example.com")
        assert "unknown" not in (tmp_path / "control.log").read_text()
    finally:
        machine.close()


def check_hook(block, tmp_path):
    """With an nsupdate that prints its arguments and input."""
    hook = tmp_path / "hook"
    hook.write_text(block.text)
    run("shellcheck", hook)
    stub = tmp_path / "nsupdate"
    stub.write_text('#!/bin/sh\necho "$@"\nexec cat\n')
    stub.chmod(0o755)
    path = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    name = "_acme-challenge.web.tail.example.com"
    said = run("sh", hook, "present", name, "-value_", env=path).stdout
    assert said.splitlines() == [
        "-k /etc/pillion/tsig.key",
        "server ns1.example.com",
        f'update add {name} 60 TXT "-value_"',
        "send",
    ]


def check_proxy(heading):
    def check(block, tmp_path):
        assert block.text == snippet(heading), "test_proxy.py runs another block"

    return check


def check_json(block, tmp_path):
    if block.page == "funnel.md":
        assert json.loads(block.text) in (FUNNEL_SERVE, FUNNEL_POLICY)
    elif '"TCP"' in block.text:
        assert block.text in EXAMPLES, "test_serve.py runs another block"
    else:
        check_control_config(block, tmp_path)


def check_drawing(block, tmp_path):
    assert "┌──" in block.text


def checker(block):
    if "┌──" in block.text:
        return check_drawing
    if block.text.startswith("#!/bin/sh\n"):
        return check_hook
    if block.page == "proxy.md" and block.text.startswith("vpn.example.com {"):
        return check_proxy("Caddy")
    return {
        "": check_commands,
        "sh": check_commands,
        "yaml": check_yaml,
        "json": check_json,
        "nginx": check_proxy("nginx"),
        "haproxy": check_proxy("HAProxy"),
    }[block.language]


def variables():
    """Those of the table in the help."""
    said = run(BUILD / "pillion", "run", "--help").stdout
    return re.findall(r"^  (TS_[A-Z0-9_]+)\b", said, re.M)


@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_block(block, tmp_path):
    checker(block)(block, tmp_path)


def test_pages_have_blocks():
    assert len(BLOCKS) >= 15
    assert {block.page for block in BLOCKS} >= {"README.md", "control.md", "proxy.md"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_within_sentences(page):
    """Commands of pillion and of compose; "…" is left for the reader to fill in."""
    for line in set(re.findall(r"`((?:pillion|docker compose) [^`…]+)`", page.read_text())):
        words = shlex.split(line)
        if words[0] == "docker":
            check_docker(words)
            continue
        # A flag may stand there without its value.
        names = [word for word in words[1:] if not word.startswith("-")]
        said = run(BUILD / "pillion", *names, "--help").stdout
        for flag in flags_of(words):
            assert flag == "--help" or re.search(rf"{flag}\b", said), f"{line}: no {flag}"


def test_each_variable_in_a_page_is_one():
    known = variables()
    for page in [*PAGES, ROOT / "CHANGELOG.md", ROOT / ".env.example"]:
        for name in re.findall(r"\bTS_[A-Z0-9_]+\b", page.read_text()):
            assert name in known, f"{page.name} names {name}, `pillion run --help` doesn't"


def names_of_files(page):
    """The paths that stand as code in the sentences of a page."""
    text = re.sub(r"^ *```.*?^ *```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    for name in re.findall(r"`([\w.*-]+(?:/[\w.*-]+)*/?)`", text):
        # Files of the build, and of a user, are not in the repository.
        if ("/" in name and not name.startswith(("build/", "./"))) or SOURCE.search(name):
            yield name


def exists(name):
    """Whether a path is one below the root, src or tests, or, without a folder, anywhere."""
    if "/" not in name:
        return any(ROOT.glob(f"{folder}/**/{name}") for folder in ("src", "netlink", "tests"))
    found = [f"{below}{name}{end}" for below in ("", "src/", "tests/") for end in ("", ".c", ".h")]
    return any(any(ROOT.glob(path.rstrip("/"))) for path in found)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_that_a_page_names_exist(page):
    missing = [name for name in names_of_files(page) if not exists(name)]
    for target in re.findall(r"\]\(([^)#]+)", page.read_text()):
        if "://" not in target and not (page.parent / target).exists():
            missing.append(target)
    assert not missing


def library(name):
    """A library's name without what differs between its package, its module and its own name."""
    name = re.sub(r"^lib|[-.]|[\d.]+$", "", name.lower())
    return "openssl" if name in ("ssl", "crypto") else name


def test_libraries_that_the_architecture_names():
    """All that the build takes, and no others."""
    text = (ROOT / "docs/architecture.md").read_text()
    rows = re.search(r"^\| for \| library \| why \|\n\|[-|]+\n((?:\|.*\n)+)", text, re.M)[1]
    cells = [row.split("|")[2].split(";")[0] for row in rows.splitlines()]
    named = {library(name.split()[0]) for cell in cells for name in cell.split(",")}
    modules = (ROOT / "cmake/libraries.cmake").read_text()
    taken = {
        library(name) for name in re.findall(r"^\s*pillion_library\(\w+ (\S+)\)", modules, re.M)
    }
    assert taken <= named
    # A library of headers alone, a mode of SQLite, a part of clang, a program, one loaded at run time.
    assert named - taken <= {"uthash", "wal", "fuzzer", "pytest", "intelipsecmb"} | {"nl"}


@pytest.mark.parametrize("file", COMPOSE_FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_shipped_compose_file(file, tmp_path):
    check_compose_text(file.read_text(), tmp_path)


def test_the_demo_shares_nothing_with_the_own_tailnet():
    """Another project and other volumes, with each setting that .env may hold."""
    own, demo = (yaml.load(file.read_text(), OnceOnly) for file in COMPOSE_FILES)
    assert not set(own["volumes"]) & set(demo["volumes"])
    assert not set(own["services"]) & set(demo["services"])
    for file in (own, demo):
        assert not [s for s in file["services"].values() if "profiles" in s]
    assert COMPOSE_FILES[0].parent != COMPOSE_FILES[1].parent


@pytest.mark.parametrize("ca", ["", "/srv/pillion/ca.pem"])
def test_the_example_of_settings_fills_the_compose_file(ca, tmp_path):
    """With `pillion control`: its authority's certificate is where the sidecar looks."""
    example = (ROOT / ".env.example").read_text()
    assert "\nCA_FILE=\n" in example
    (tmp_path / ".env").write_text(example.replace("\nCA_FILE=\n", f"\nCA_FILE={ca}\n"))
    (tmp_path / "compose.yaml").write_text(COMPOSE_FILES[0].read_text())
    sidecar = yaml.safe_load(run("docker-compose", "config", cwd=tmp_path).stdout)["services"][
        "pillion"
    ]
    assert sidecar["environment"]["TS_CA_FILE"] == ca
    mounts = [f"{ca}:{ca}:ro"] if ca else ["/dev/null:/etc/no-ca.pem:ro"]
    serve = f"{tmp_path}/serve.json:/config/serve.json:ro"
    assert [m for m in sidecar["volumes"] if not m.startswith("state:")] == [serve, *mounts]


def test_the_shipped_serve_config_is_the_one_of_the_page():
    """Only the app's port differs: nginx listens at 80."""
    text = (ROOT / "README.md").read_text()
    page = re.search(r"with this `serve.json`.*?```json\n(.*?)```", text, re.S)[1]
    shipped = (ROOT / "serve.json").read_text()
    assert json.loads(shipped) == json.loads(page.replace(":8080", ":80"))


def test_the_image_has_labels_a_health_check_and_the_manual(tmp_path):
    """What can be seen without a container engine; tests/containers asks the image itself."""
    text = (ROOT / "Containerfile").read_text().replace("\\\n", " ")
    version = re.search(r"project\(pillion VERSION (\S+)", (ROOT / "CMakeLists.txt").read_text())[1]
    assert f'org.opencontainers.image.version="{version}"' in text
    check = re.search(r"^HEALTHCHECK .*CMD (.*)$", text, re.M)[1]
    run("sh", "-nc", check)
    check_pillion(shlex.split(check.split("||")[1]))
    run("cmake", "--install", BUILD, "--prefix", tmp_path)
    page = tmp_path / "share/man/man1/pillion.1"
    assert page.read_text().startswith(".TH PILLION 1")


@pytest.fixture
def machine(tmp_path):
    """That the pages' hosts are, with our programs in its path and sudo, which changes nothing."""
    made = Machine(
        tmp_path, ["headscale.example.com", "vpn.example.com"], ["/run", "/var/lib", "/root"]
    )
    (tmp_path / "bin").mkdir()
    sudo = tmp_path / "bin/sudo"
    sudo.write_text('#!/bin/sh\nexec "$@"\n')
    sudo.chmod(0o755)
    made.path = f"PATH={tmp_path}/bin:{BUILD}:/usr/sbin:/usr/bin:/sbin:/bin"
    try:
        yield made
    finally:
        made.close()


def only_block(page, start):
    found = [b for b in BLOCKS if b.page == page and b.text.startswith(start)]
    assert len(found) == 1
    return found[0]


def test_start_of_a_server(machine, tmp_path):
    """control.md: in an empty folder, and the key from there too."""
    serve, named, keys = only_block("control.md", "pillion control serve").commands()
    for line in (serve, named):
        machine.run("rm", "-rf", "/run/folder")
        machine.run("mkdir", "/run/folder")
        at_hand = ["env", "-C", "/run/folder", machine.path]
        process = machine.start(f"{len(line)}.log", *at_hand, *line)
        machine.wait_text(f"{len(line)}.log", "serving url=https://")
        assert re.fullmatch(r"\S{20,}\n", machine.run(*at_hand, *keys).stdout)
        assert terminate(process) == 0


def test_a_machine_joins_and_leaves(machine, tmp_path):
    """README: connect, status, disconnect, word by word."""
    block = only_block("README.md", "sudo pillion connect")
    at_hand = ["env", machine.path, "SSL_CERT_FILE=/run/control/ca.pem", "TS_ACCEPT_DNS=false"]
    machine.start(
        "control.log",
        *[*at_hand, "pillion", "control", "serve", "--state=/run/control"],
        *["--url=https://headscale.example.com", "--listen=127.0.0.1:443"],
    )
    machine.wait_text("control.log", "serving url=https://headscale.example.com")
    key = machine.run(
        *at_hand, "pillion", "control", "keys", "create", "--socket=/run/control/control.sock"
    ).stdout
    machine.run("mkdir", "/run/secrets")
    machine.put("/run/secrets/key", key)
    done = machine.run(*at_hand, "sh", "-ec", block.text, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "100.64.0.1" in done.stdout
