"""Rivals and how they are run: in turn on one machine, several times, the median counts.

A rival is an environment or a command to put before the program. One that is not installed, or fails, is said once in a
line and is None in every result: what asks for ratios then prints "-".
"""
import os
import pathlib
import shutil
import signal
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass, field

sys.path.append(str(pathlib.Path(__file__).parents[1] / "tests/zoo"))
import profiles  # noqa: E402

LIBRARIES = pathlib.Path("/usr/lib/x86_64-linux-gnu")
HEAPTRACK = pathlib.Path("/usr/lib/heaptrack/libheaptrack_preload.so")
TCMALLOC, JEMALLOC, MIMALLOC = (LIBRARIES / name for name in
                                ("libtcmalloc.so.4", "libjemalloc.so.2", "libmimalloc.so.2"))


def find_lsan():
    found = sorted(pathlib.Path("/usr/lib/gcc/x86_64-linux-gnu").glob("*/liblsan.so"))
    return found[-1] if found else pathlib.Path("liblsan.so")


@dataclass
class Rival:
    preload: list = field(default_factory=list)
    settings: dict = field(default_factory=dict)
    prefix: list = field(default_factory=list)
    slowness: int = 1  # so many times fewer operations, or the run would take too long

    def missing(self):
        files = [str(path) for path in self.preload if not path.exists()]
        return files + [name for name in self.prefix[:1] if not shutil.which(name)]


def make_rivals(build):
    ours = build / "lib/libcastaway.so"
    quiet = {"CASTAWAY_INTERVAL": "0", "CASTAWAY_LOG": "quiet", "CASTAWAY_OUTPUT": "{out}"}
    every = {**quiet, "CASTAWAY_SAMPLE_BYTES": "1"}
    rivals = {
        "glibc": Rival(),
        "hooks that do nothing": Rival([build / "lib/libbench_bare_hooks.so"]),
        "castaway": Rival([ours], quiet),
        "castaway, every stack": Rival([ours], every, slowness=20),
        "LeakSanitizer": Rival([find_lsan()], {"LSAN_OPTIONS": "leak_check_at_exit=0:exitcode=0"}, slowness=4),
        "tcmalloc heap profiler": Rival([TCMALLOC], {"HEAPPROFILE": "{out}/heap"}, slowness=200),
        "tcmalloc heap checker": Rival([TCMALLOC], {"HEAPCHECK": "normal"}, slowness=200),
        "heaptrack": Rival([HEAPTRACK], {"DUMP_HEAPTRACK_OUTPUT": "{out}/heaptrack"}, slowness=20),
        "valgrind": Rival(prefix=["valgrind", "-q", "--leak-check=no"], slowness=100),
    }
    for name, library in (("tcmalloc", TCMALLOC), ("jemalloc", JEMALLOC), ("mimalloc", MIMALLOC)):
        rivals[name] = Rival([library])
        rivals[f"castaway over {name}"] = Rival([ours, library], quiet)
    return rivals


class Bench:
    """Runs programs below rivals, and keeps what they leave in one directory, which goes away at the end."""

    def __init__(self, build, quick, directory):
        self.build, self.quick, self.directory = build, quick, directory
        self.rivals = make_rivals(build)
        self.remarks = []
        self._runs = 0
        self._running = None

    def say(self, text):
        print(f"  {text}", file=sys.stderr, flush=True)

    def remark(self, text):
        if text not in self.remarks:
            self.remarks.append(text)
            self.say(text)

    def choose(self, quick, full):
        return quick if self.quick else full

    def environment(self, rival, out, settings):
        plain = {key: value for key, value in os.environ.items() if not key.startswith("CASTAWAY_")}
        more = {key: value.format(out=out) for key, value in {**rival.settings, **settings}.items()}
        preload = {"LD_PRELOAD": " ".join(map(str, rival.preload))} if rival.preload else {}
        return {**plain, "LC_ALL": "C", **preload, **more}

    def run(self, name, words, settings=(), most=600, out=None):
        """The output of a program below this rival; None if that was not possible."""
        rival = self.rivals[name]
        if missing := rival.missing():
            return self.remark(f"{name}: {missing[0]} is not there")
        if not out:
            out = self.new_directory()
        program = [*rival.prefix, *map(str, words)]
        self._running = subprocess.Popen(program, env=self.environment(rival, out, dict(settings)), cwd=out,
                                         stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                         start_new_session=True)
        try:
            text, errors = self._running.communicate(timeout=most)
            status = self._running.returncode
        except subprocess.TimeoutExpired:
            return self.remark(f"{name}: {words[0].name} did not end within {most} s")
        finally:
            self.kill()
        if status:
            last = (errors.decode(errors="replace").strip().splitlines() or ["no message"])[-1]
            return self.remark(f"{name}: {' '.join(map(str, words[1:]))}: status {status}: {last[:160]}")
        return text.decode(errors="replace")

    def kill(self):
        """Ends what runs; its children too, which may hold the pipes open."""
        if self._running and self._running.poll() is None:
            os.killpg(self._running.pid, signal.SIGKILL)
            self._running.communicate()
        self._running = None

    def new_directory(self):
        self._runs += 1
        out = self.directory / str(self._runs)
        out.mkdir()
        return out

    def target(self, name, options, settings=(), program="bench_target"):
        """Values that the target prints as `key number`; a key that comes several times counts with its median."""
        out = self.new_directory()
        text = self.run(name, [self.build / "bin" / program, *options], settings, out=out)
        values = {}
        for words in map(str.split, (text or "").splitlines()):
            if len(words) == 2:
                values.setdefault(words[0], []).append(float(words[1]))
        values = {key: statistics.median(numbers) for key, numbers in values.items()}
        if text is not None and "CASTAWAY_OUTPUT" in self.rivals[name].settings:
            values.update(self.read_profiles(out))
        shutil.rmtree(out, ignore_errors=True)
        return values

    def read_profiles(self, out):
        """Of all profiles: the largest pause, the longest time from a safepoint to its profile, the median mark. The
        last reporter may still be at work."""
        time.sleep(0.3)
        found = [each for several in profiles.processes(out).values() for each in several]
        if not found:
            return {}
        marks, scans = ([float(each.comment(key).split()[0]) for each in found] for key in ("mark", "scan"))
        written = max(each.path.stat().st_mtime_ns - each.time_ns for each in found)
        return {"pause_us": max(each.pause_ms() for each in found) * 1e3, "written_us": written / 1e3,
                "own_mark_ns": statistics.median(marks) * 1e6, "scan_mib": max(scans),
                "leaked": max(each.total("objects") for each in found)}


def in_turn(repeats, runs):
    """{name: function that makes one run}: all in turn, there and back, so that none always comes
    after the same one, and finds the caches as that leaves them; {name: {key: median}}."""
    values = {name: {} for name in runs}
    for count in range(repeats):
        turn = list(runs.items())
        for name, run in turn[:: -1 if count % 2 else 1]:
            for key, value in run().items():
                values[name].setdefault(key, []).append(value)
    return {name: {key: statistics.median(numbers) for key, numbers in each.items()} for name, each in values.items()}
