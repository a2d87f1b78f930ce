"""One visit to a program of the zoo: how it is started, with and without castaway, and what is expected of it.

A program is a function of a Visit that starts it, loads it for the visit's time, ends it, and notes its answers: what
must be the same with and without castaway. It runs twice, without castaway first and for a short time.
"""
import contextlib
import hashlib
import os
import pathlib
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time

PATH = "/usr/sbin:/usr/bin:/sbin:/bin:" + os.environ["PATH"]  # the system's own first: those are what is tested


def installed(name):
    """The full path of a program; of PostgreSQL's, which are in no usual place, too."""
    places = [PATH] + [str(path) for path in sorted(pathlib.Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)]
    return shutil.which(name, path=":".join(places))


def free_port(given=set()):
    """Never the same one twice: whoever gets it does not listen yet."""
    while True:
        with socket.socket() as one:
            one.bind(("127.0.0.1", 0))
            port = one.getsockname()[1]
        if port not in given:
            given.add(port)
            return port


class Broken(Exception):
    """An expectation that the rest of the visit cannot do without."""


class Visit:
    def __init__(self, build, seconds, prefix=(), environment=()):
        self.build = build
        self.seconds = seconds
        self.prefix = list(prefix)
        self.environment = {**os.environ, "LC_ALL": "C.UTF-8", **dict(environment)}
        self.answers = {}
        self.broken = []
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="castaway-zoo-"))
        self.directory.chmod(0o755)
        self.user = None
        self._started = []
        self._end = None

    def close(self):
        for process in self._started:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        shutil.rmtree(self.directory, ignore_errors=True)

    # Expectations.

    def expect(self, fine, text):
        if not fine and text not in self.broken:
            self.broken.append(text)
        return fine

    def answer(self, name, value):
        """Must be the same in each round and each run; long ones are kept as their hash and end."""
        value = str(value)
        if len(value) > 2000:
            value = hashlib.sha256(value.encode()).hexdigest() + " ..." + value[-200:]
        if name in self.answers:
            self.expect(self.answers[name] == value, f"{name} changed: {self.answers[name][-500:]} -> {value[-500:]}")
        self.answers.setdefault(name, value)

    # Programs.

    def as_user(self, name):
        """Runs everything that follows as this user, for servers that refuse root."""
        if os.geteuid() != 0:
            return
        user = pwd.getpwnam(name)
        os.chown(self.directory, user.pw_uid, user.pw_gid)
        if "CASTAWAY_OUTPUT" in self.environment:
            os.chown(pathlib.Path(self.environment["CASTAWAY_OUTPUT"]).parent, user.pw_uid, user.pw_gid)
        self.user = [installed("setpriv"), f"--reuid={name}", f"--regid={name}", "--clear-groups"]

    def _popen(self, command, profiled, **options):
        program = installed(str(command[0]))
        if not program:
            raise Broken(f"{command[0]} is not installed")
        words = (self.user or []) + (self.prefix if profiled else []) + [program] + [str(word) for word in command[1:]]
        environment = {**self.environment, **options.pop("more", {})}
        options.setdefault("cwd", self.directory)
        return subprocess.Popen(words, env=environment, start_new_session=True, **options)

    def start(self, *command, **options):
        """Starts the program itself, below castaway; its output goes to files."""
        out = open(self.directory / f"out.{len(self._started)}", "w+b")
        errors = open(self.directory / f"errors.{len(self._started)}", "w+b")
        process = self._popen(command, True, stdin=subprocess.PIPE, stdout=out, stderr=errors, **options)
        process.out, process.errors = pathlib.Path(out.name), pathlib.Path(errors.name)
        self._started.append(process)
        return process

    def finish(self, process, stop=None, most=120):
        """Ends it by this signal, or waits for its end; its status."""
        if stop is not None:
            process.send_signal(stop)
        try:
            process.stdin.close()
            return process.wait(most)
        except subprocess.TimeoutExpired:
            raise Broken(f"still running after {most} s: {' '.join(map(str, process.args[-6:]))}") from None

    def same(self, *command, name=None, status=0, with_errors=True, most=600, **options):
        """Runs the program to its end; its output is an answer."""
        process = self.start(*command, **options)
        got = self.finish(process, most=most)
        text = process.out.read_text(errors="replace")
        errors = process.errors.read_text(errors="replace")
        self.expect(got == status, f"{name or command[0]}: status {got}: {errors[-500:]}")
        self.answer(name or " ".join(map(str, command)), text + (errors if with_errors else ""))
        self._started.remove(process)
        return text

    def load(self, *command, most=600, status=0, started=None, **options):
        """Runs something that is not the program: a load, a preparation. `started` is called with its process."""
        process = self._popen(command, False, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              **options)
        if started:
            started(process)
        try:
            out, errors = process.communicate(timeout=most)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            raise Broken(f"still running after {most} s: {' '.join(map(str, command))}") from None
        text, errors = out.decode(errors="replace"), errors.decode(errors="replace")
        if status is not None and process.returncode != status:
            raise Broken(f"{command[0]}: status {process.returncode}: {text[-500:]} {errors[-500:]}")
        return text

    # Time.

    def rounds(self):
        """Once, and again until the visit's time is over or something is broken."""
        self._end = time.monotonic() + self.seconds
        yield 0
        count = 1
        while time.monotonic() < self._end and not self.broken:
            yield count
            count += 1

    def until(self, what, fine, most=60):
        end = time.monotonic() + most
        while time.monotonic() < end:
            if fine():
                return
            time.sleep(0.1)
        raise Broken(f"{what}: not within {most} s")

    def accepts(self, process, port):
        def connects():
            if process.poll() is not None:
                raise Broken(f"ended: {process.returncode}: {process.errors.read_text(errors='replace')[-500:]}")
            with socket.socket() as one:
                return one.connect_ex(("127.0.0.1", port)) == 0

        self.until(f"port {port} open", connects)
