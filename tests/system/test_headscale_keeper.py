# SPDX-License-Identifier: BSD-3-Clause
"""`pillion headscale run` and `logs`, with a script in the place of Headscale.

tests/interop/test_headscale_run.py runs the real one.
"""

import contextlib
import json
import os
import re
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
from lab.build import build_folder
from lab.process import children
from lab.waiting import wait_for

PATIENCE = 5  # seconds between SIGTERM and SIGKILL
SANITIZERS = ("AddressSanitizer", "LeakSanitizer", "runtime error:")

# The variable STUB sets its behaviour: say (lines at its start), deaf (to SIGTERM), end (its exit
# code, at once), leave (a child that outlives it), ends (its exit codes, one a start).
STUB = f"""#!{sys.executable}
import json, os, signal, subprocess, sys, time
do = json.loads(os.environ.get("STUB", "{{}}"))
config = sys.argv[sys.argv.index("--config") + 1]
if sys.argv[1] == "configtest":
    if "broken" in open(config).read():
        sys.exit("Error: configuration error: a line is broken")
    sys.exit(0)
def say(text):
    try:
        os.write(1, (text + "\\n").encode())
    except BrokenPipeError:
        if not do.get("deaf"):
            raise
def term(number, frame):
    say("stub got " + signal.Signals(number).name)
    if number == signal.SIGTERM and not do.get("deaf"):
        sys.exit(0)
for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
    signal.signal(number, term)
starts = os.path.dirname(config) + "/starts"
with open(starts, "a") as file:
    file.write(str(time.monotonic()) + "\\n")
number = len(open(starts).readlines())
for line in do.get("say", []):
    say(line)
if "leave" in do:
    subprocess.Popen(["/bin/sleep", str(do["leave"])])
say(f"stub {{number}} serves as {{os.getpid()}}")
ends = do.get("ends", [])
if len(ends) >= number:
    sys.exit(ends[number - 1])
while True:
    time.sleep(0.05)
    while os.path.exists(os.path.dirname(config) + "/flood"):
        with open(os.path.dirname(config) + "/flood") as file:
            count = int(file.read() or 0)
        for i in range(count):
            say(f"flood {{i}}")
        os.remove(os.path.dirname(config) + "/flood")
"""


def alive(pid):
    """Whether a process runs: one that waits to be reaped doesn't."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


class Keeper:
    """`pillion headscale run` for one folder; start() again after it has ended."""

    def __init__(self, folder):
        self.folder = folder
        self.state = folder / "state"
        self.program = folder / "bin" / "headscale"
        self.program.parent.mkdir()
        self.program.write_text(STUB)
        self.program.chmod(0o755)
        self.config = self.state / "config.yaml"
        self.pid_file = self.state / "headscale.pid"
        self.log = folder / "run.log"
        self.process = None
        self.strays = []
        self.wrap = []

    def command(self, *flags):
        program = build_folder() / "pillion"
        return [*self.wrap, program, "headscale", "run", f"--state={self.state}", *flags]

    def environment(self, stub):
        path = f"{self.program.parent}:{os.environ['PATH']}"
        return {**os.environ, "PATH": path, "STUB": json.dumps(stub)}

    def start(self, *flags, serves=True, **stub):
        said = len(self.text())
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command(*flags),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self.environment(stub),
            )
        if serves:
            wait_for(lambda: "serves as" in self.text()[said:], 20, self.text)
            self.strays.append(self.child())
        return self

    def run(self, *flags, **stub):
        """To its end."""
        return subprocess.run(
            self.command(*flags),
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
            env=self.environment(stub),
        )

    def text(self):
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def wait_text(self, text, timeout=20, since=0):
        wait_for(lambda: text in self.text()[since:], timeout, lambda: f"{text}: {self.text()}")

    def child(self):
        """The process id in the file."""
        return int(self.pid_file.read_text().split()[0])

    def starts(self):
        """When each Headscale started."""
        return [float(line) for line in (self.state / "starts").read_text().splitlines()]

    def stop(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        return self.process.wait(30)

    def logs(self, *flags):
        done = subprocess.run(
            [build_folder() / "pillion", "headscale", "logs", f"--state={self.state}", *flags],
            capture_output=True,
            text=True,
            check=False,
            timeout=20,
        )
        return done

    def lines(self, *flags):
        done = self.logs(*flags)
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()


@pytest.fixture
def keeper(tmp_path):
    made = Keeper(tmp_path)
    yield made
    if made.process and made.process.poll() is None:
        made.process.kill()
        made.process.wait(10)
    for pid in made.strays:
        with contextlib.suppress(ProcessLookupError):
            if alive(pid) and str(made.program) in Path(f"/proc/{pid}/cmdline").read_text():
                os.kill(pid, signal.SIGKILL)
    for word in SANITIZERS:
        assert word not in made.text()


def test_makes_a_configuration_once(keeper):
    keeper.start("--url=https://vpn.test:9443", "--base-domain=net.test")
    text = keeper.config.read_text()
    for line in (
        'server_url: "https://vpn.test:9443"',
        'listen_addr: ":9443"',
        f'tls_cert_path: "{keeper.state}/server.pem"',
        'base_domain: "net.test"',
        "magic_dns: true",
        "type: sqlite",
    ):
        assert line in text
    assert stat.S_IMODE(keeper.config.stat().st_mode) == 0o600
    assert stat.S_IMODE(keeper.state.stat().st_mode) == 0o700
    assert "BEGIN CERTIFICATE" in (keeper.state / "ca.pem").read_text()
    assert keeper.stop() == 0
    # The operator's file stays; a flag that contradicts it is reported.
    keeper.config.write_text(text + "# mine\n")
    authority = (keeper.state / "ca.pem").read_text()
    keeper.start("--url=https://other.test")
    assert keeper.config.read_text() == text + "# mine\n"
    assert (keeper.state / "ca.pem").read_text() == authority
    assert "--url is ignored" in keeper.text()
    assert keeper.stop() == 0


def test_relays_by_name(keeper):
    """--derp-map is what `pillion derp` writes; Headscale wants other names."""
    derp_map = keeper.folder / "map.json"
    node = {"Name": "900a", "RegionID": 900, "HostName": "r.test", "CertName": "sha256-raw:00"}
    region = {"RegionID": 900, "RegionCode": "own", "RegionName": "Own", "Nodes": [node]}
    derp_map.write_text(json.dumps({"Regions": {"900": region}}))
    keeper.start("--url=http://127.0.0.1:8080", f"--derp-map={derp_map}")
    text = keeper.config.read_text()
    assert "enabled: false" in text
    assert f'"{keeper.state}/derp.yaml"' in text
    head, line = (keeper.state / "derp.yaml").read_text().splitlines()
    assert head == "regions:"
    number, _, value = line.partition(":")
    assert number.strip() == "900"
    made = json.loads(value)
    assert made["regioncode"] == "own"
    assert made["nodes"][0]["certname"] == "sha256-raw:00"
    assert keeper.stop() == 0


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--url=http://127.0.0.1:8080"], "leaves nodes without a relay"),
        (["--url=ftp://x"], "--url ftp://x"),
        (["--listen=nonsense"], "is not a valid ADDRESS:PORT"),
        (["--stun-listen=3478"], "is not a valid ADDRESS:PORT"),
        (["--certificate=/etc/hostname"], "must be given together"),
        (["--certificate=/no/such", "--key=/no/such"], "/no/such"),
        (["--derp-map=/etc/hostname"], "line 1"),
        (["--config=/no/such.yaml"], "/no/such.yaml"),
        (["--what"], "--what"),
    ],
)
def test_wrong_flags_are_said_and_nothing_is_made(keeper, flags, words):
    done = keeper.run(*flags)
    assert done.returncode == 2
    assert words in done.stderr
    assert not keeper.config.exists()


def test_a_program_that_is_not_there(keeper):
    keeper.program.unlink()
    done = keeper.run()
    assert done.returncode == 1
    assert "there is no headscale in PATH" in done.stderr
    assert "--headscale" in done.stderr
    done = keeper.run("--headscale=/no/such/headscale")
    assert done.returncode == 1
    assert "/no/such/headscale" in done.stderr
    # One that no kernel runs.
    keeper.program.write_text("#!/no/such/interpreter\n")
    keeper.program.chmod(0o755)
    done = keeper.run()
    assert done.returncode == 1
    assert f"run {keeper.program}: No such file" in done.stderr


def test_a_configuration_that_headscale_refuses(keeper):
    keeper.state.mkdir()
    keeper.config.write_text("broken\n")
    done = keeper.run()
    assert done.returncode == 2
    assert f"Headscale refuses {keeper.config}" in done.stderr
    assert "a line is broken" in done.stderr
    assert not (keeper.state / "starts").exists()


def test_a_port_that_is_taken(keeper):
    taken = ["Error: listen tcp :8443: bind: address already in use"]
    done = keeper.run(say=taken, ends=[1])
    assert done.returncode == 1
    assert "another program has its port" in done.stderr
    assert taken[0] in done.stderr
    assert len(keeper.starts()) == 1
    # Once it has served the port comes back, so it is tried again.
    (keeper.state / "starts").unlink()
    keeper.start(ends=[0])
    keeper.wait_text("stub 2 serves")
    assert keeper.stop() == 0


def test_is_started_again_ever_more_slowly(keeper):
    keeper.start(serves=False, ends=[1, 0, 3])
    keeper.wait_text("stub 4 serves")
    first, *later = keeper.starts()
    gaps = [b - a for a, b in zip([first, *later], later, strict=False)]
    # 0, 0.2 and 1 s, and the time that a start takes.
    assert gaps[1] >= 0.2
    assert gaps[2] >= 1
    assert "died (ended with code 3)" in keeper.text()
    # One that is killed too.
    os.kill(keeper.child(), signal.SIGKILL)
    keeper.wait_text("died (killed by SIGKILL)")
    assert keeper.process.poll() is None
    assert keeper.stop() == 0


def test_stops_in_time(keeper):
    keeper.start()
    child = keeper.child()
    began = time.monotonic()
    assert keeper.stop() == 0
    assert time.monotonic() - began < PATIENCE
    assert "stub got SIGTERM" in keeper.text()
    assert not alive(child)
    assert not keeper.pid_file.exists()
    # While it waits for the next start, too.
    keeper.start(serves=False, ends=[1] * 20)
    keeper.wait_text("the next starts in 5.0 s")
    began = time.monotonic()
    assert keeper.stop(signal.SIGINT) == 0
    assert time.monotonic() - began < PATIENCE


def test_one_that_is_deaf_is_killed(keeper):
    keeper.start(deaf=True)
    child = keeper.child()
    began = time.monotonic()
    assert keeper.stop() == 0
    assert PATIENCE <= time.monotonic() - began < 4 * PATIENCE
    assert "did not end in time and is killed" in keeper.text()
    assert not alive(child)


def test_who_asks_twice_does_not_wait(keeper):
    keeper.start(deaf=True)
    keeper.process.send_signal(signal.SIGINT)
    keeper.wait_text("stub got SIGTERM")
    began = time.monotonic()
    assert keeper.stop(signal.SIGINT) == 0
    assert time.monotonic() - began < PATIENCE


def test_what_it_leaves_behind_goes_too(keeper):
    keeper.start(leave=1000, ends=[])
    (left,) = children(keeper.child())
    os.kill(keeper.child(), signal.SIGKILL)
    keeper.wait_text("stub 2 serves")
    wait_for(lambda: not alive(left), 10, "the child of the dead one to be gone")
    assert keeper.stop() == 0


def test_a_keeper_that_is_killed_takes_it_along(keeper):
    keeper.start()
    child = keeper.child()
    keeper.stop(signal.SIGKILL)
    wait_for(lambda: not alive(child), 10, "the child to hear of it")


def test_an_orphan_is_ended_by_the_next(keeper):
    """It ignores SIGTERM and outlives its parent."""
    keeper.start(deaf=True)
    orphan = keeper.child()
    keeper.stop(signal.SIGKILL)
    assert alive(orphan)
    began = time.monotonic()
    keeper.start()
    assert time.monotonic() - began >= PATIENCE
    assert not alive(orphan)
    assert f"ending process {orphan} of an earlier 'run'" in keeper.text()
    assert keeper.child() != orphan
    assert keeper.stop() == 0


def test_a_foreign_process_with_its_number_is_left_alone(keeper):
    """Its number may stand in the file: only a process that holds the lock is ended."""
    keeper.start()
    assert keeper.pid_file.read_text() == f"{keeper.child()}\n"
    keeper.stop()
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)"]) as stranger:
        try:
            for text in ("", f"{stranger.pid}\n", f"{stranger.pid}\n1 boot\n/x\n", "nonsense"):
                keeper.pid_file.write_text(text)
                keeper.start()
                assert stranger.poll() is None
                assert keeper.child() != stranger.pid
                assert keeper.stop() == 0
            assert "of an earlier 'run'" not in keeper.text()
        finally:
            stranger.kill()


def test_an_orphan_of_an_older_version_is_named(keeper):
    """That version wrote the start time and the boot into the file, and took no lock."""
    keeper.start()
    keeper.stop()
    boot = Path("/proc/sys/kernel/random/boot_id").read_text()
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)"]) as orphan:
        fields = Path(f"/proc/{orphan.pid}/stat").read_text().rsplit(")", 1)[1].split()
        text = f"{orphan.pid}\n{fields[19]} {boot}/usr/bin/headscale\n"
        try:
            keeper.pid_file.write_text(text)
            done = keeper.run()
            assert done.returncode == 1
            assert f"process {orphan.pid}, which an older pillion started" in done.stderr
            assert f"kill -9 {orphan.pid}" in done.stderr
            assert orphan.poll() is None
            assert keeper.pid_file.read_text() == text
        finally:
            orphan.kill()
    keeper.start()
    assert keeper.stop() == 0


def test_an_orphan_of_another_container_is_named(keeper):
    """The kernel has no number for the holder of the lock in another PID namespace."""
    keeper.start(deaf=True)
    keeper.stop(signal.SIGKILL)
    keeper.wrap = ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--mount-proc"]
    done = keeper.run()
    assert done.returncode == 1
    assert "in another container (PID namespace)" in done.stderr
    assert str(keeper.state) in done.stderr
    assert keeper.pid_file.exists()
    assert alive(keeper.child())


def test_without_locks(keeper):
    """On a network file system without locks it runs, and warns."""
    inject = ["-e", "trace=flock", "-e", "inject=flock:error=ENOLCK"]
    keeper.wrap = ["strace", "-f", "-qq", "-o", "/dev/null", *inject]
    keeper.start()
    assert "can't be locked" in keeper.text()
    status = Path(f"/proc/{keeper.child()}/status").read_text()
    os.kill(int(re.search(r"PPid:\t(\d+)", status)[1]), signal.SIGTERM)
    assert keeper.process.wait(30) == 0


def test_one_for_a_folder(keeper):
    keeper.start()
    done = keeper.run()
    assert done.returncode == 1
    assert "another 'pillion headscale run' uses" in done.stderr
    assert alive(keeper.child())
    assert keeper.stop() == 0


def test_reload_is_passed_on(keeper):
    keeper.start()
    keeper.process.send_signal(signal.SIGHUP)
    keeper.wait_text("stub got SIGHUP")
    assert keeper.process.poll() is None
    assert keeper.stop() == 0


def test_logs(keeper):
    done = keeper.logs()
    assert done.returncode == 1
    assert "--state" in done.stderr
    keeper.start(say=["first \x1b[31mred", "x" * 10000])
    lines = keeper.lines()
    assert "first ?[31mred" in lines
    # Cut, and nothing of it lost.
    assert [len(line) for line in lines if set(line) == {"x"}] == [4095, 4095, 1810]
    assert any("started" in line for line in lines)
    assert keeper.lines("-n", "1") == [f"stub 1 serves as {keeper.child()}"]
    assert keeper.lines("-n=0") == []
    (keeper.state / "flood").write_text("2500")
    keeper.wait_text("flood 2499")
    lines = keeper.lines()
    assert lines == [f"flood {i}" for i in range(1500, 2500)]
    assert stat.S_IMODE((keeper.state / "headscale.log").stat().st_mode) == 0o600
    # They are there after the end, whoever ended.
    keeper.stop(signal.SIGKILL)
    assert keeper.lines("-n", "3")[-1].startswith(("flood 2499", "stub got SIGTERM"))


def test_logs_are_followed_over_changes_of_files(keeper):
    keeper.start()
    out = keeper.folder / "followed"
    with out.open("wb") as file:
        follower = subprocess.Popen(
            [
                *[build_folder() / "pillion", "headscale", "logs", f"--state={keeper.state}"],
                *["-n=1", "--follow"],
            ],
            stdout=file,
        )
    try:
        wait_for(lambda: "stub 1 serves" in out.read_text(), 10, "the last line")
        for n in range(1, 4):
            (keeper.state / "flood").write_text("700")
            wait_for(lambda n=n: out.read_text().count("flood 699\n") == n, 20, "it to be followed")
            wait_for(lambda: not (keeper.state / "flood").exists(), 20, "the flood to be over")
        # Nothing twice, nothing left out, though the file changed twice.
        lines = out.read_text().splitlines()
        assert lines[1:] == [f"flood {i}" for i in range(700)] * 3
        # And over another start.
        keeper.stop()
        keeper.start()
        wait_for(lambda: "stub 2 serves" in out.read_text(), 10, "the second start")
    finally:
        follower.terminate()
        follower.wait(10)
    keeper.stop()


def test_a_follower_ends_when_nobody_reads(keeper):
    keeper.start()
    reader, writer = os.pipe()
    follower = subprocess.Popen(
        [build_folder() / "pillion", "headscale", "logs", f"--state={keeper.state}", "-f"],
        stdout=writer,
    )
    os.close(writer)
    assert os.read(reader, 65536)
    os.close(reader)
    assert follower.wait(10) == 0
    keeper.stop()


def test_a_reader_of_stderr_who_stands_still_stops_nothing(keeper):
    reader, writer = os.pipe()
    process = subprocess.Popen(
        keeper.command(),
        stdin=subprocess.DEVNULL,
        stdout=writer,
        stderr=writer,
        env=keeper.environment({}),
    )
    os.close(writer)
    try:
        wait_for(keeper.pid_file.exists, 20, "it to start")
        wait_for(lambda: keeper.lines("-n=1")[0].startswith("stub 1 serves"), 20, "it to serve")
        (keeper.state / "flood").write_text("20000")
        wait_for(lambda: keeper.lines("-n=1") == ["flood 19999"], 30, "the flood to be over")
    finally:
        process.terminate()
        assert process.wait(30) == 0
        os.close(reader)


def test_help_has_examples():
    for words in ([], ["run"], ["logs"], ["provision"]):
        done = subprocess.run(
            [build_folder() / "pillion", "headscale", *words, "--help"],
            capture_output=True,
            text=True,
            check=False,
            timeout=10,
        )
        assert done.returncode == 0
        assert "Examples:\n  pillion headscale" in done.stdout
    done = subprocess.run(
        [build_folder() / "pillion", "headscale", "nonsense"],
        capture_output=True,
        text=True,
        check=False,
        timeout=10,
    )
    assert done.returncode == 2
    assert "nonsense" in done.stderr


def test_lost_settings_are_no_first_start(keeper):
    """Without them the nodes would look for a server of another name."""
    keeper.start("--url=https://vpn.test:9443")
    keeper.stop()
    text = keeper.config.read_text()
    (keeper.state / "db.sqlite").write_text("data")
    keeper.config.write_text("")
    done = keeper.run()
    assert done.returncode == 2
    assert "config.yaml is empty" in done.stderr
    keeper.config.unlink()
    done = keeper.run()
    assert done.returncode == 2
    assert "config.yaml is missing" in done.stderr and "--url" in done.stderr
    assert not keeper.config.exists()
    keeper.start("--url=https://vpn.test:9443")
    assert keeper.config.read_text() == text
