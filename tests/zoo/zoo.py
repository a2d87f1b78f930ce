#!/usr/bin/env python3
"""The zoo: programs of other people under load, with a safepoint every second. Nothing of theirs may be reported that is
not true, nothing reported may come to life, and their output and exit status are those of a run without castaway.

    zoo.py [--build DIR] [--seconds N] [--storms] [NAME...]

A leak that is reported and that known_leaks.txt does not list is broken trust until somebody has looked at it. Exit
status 0, 1 when an expectation is broken, 77 when nothing could be run. docs/zoo.md tells what was found.

With --storms, our own programs that hand pointers about under a safepoint every 10 ms come first.
"""
import argparse
import pathlib
import re
import shutil
import signal
import sys
import tempfile
import time
from dataclasses import dataclass, field

import batch
import profiles
import servers
import storms
from visit import Broken, Visit, installed

HERE = pathlib.Path(__file__).parent


@dataclass
class Item:
    run: object
    needs: list
    refusal: str = ""  # where castaway makes no safepoint, it has to say why, in these words
    settings: dict = field(default_factory=lambda: {"CASTAWAY_INTERVAL": "1s"})


ITEMS = {
    "redis": Item(servers.redis, ["redis-server", "redis-cli", "redis-benchmark"]),
    "memcached": Item(servers.memcached, ["memcached"]),
    "nginx": Item(servers.nginx, ["nginx", "wrk"]),
    "postgresql": Item(servers.postgresql, ["postgres", "pgbench"]),
    "mariadb": Item(servers.mariadb, ["mariadbd", "mariadb-slap"]),
    "chromium": Item(servers.chromium, ["chromium"], refusal="cannot be seen"),
    "python": Item(batch.python, ["python3"]),
    "python_objects": Item(batch.python_objects, ["python3"]),
    "node": Item(batch.node, ["node"], refusal="MADV_DONTFORK"),
    "java": Item(batch.java, ["javac"]),
    "git": Item(batch.git, ["git"]),
    "sqlite": Item(batch.sqlite, ["sqlite3"]),
    "openssl": Item(batch.openssl, ["openssl"]),
    "gcc": Item(batch.gcc, ["g++"]),
}

STORMS = {name: Item(storms.storm(name), [], settings={"CASTAWAY_INTERVAL": "10ms", "CASTAWAY_SYMBOLIZE": "off"})
          for name in storms.CASES}
ALL = {**STORMS, **ITEMS}


@dataclass
class Known:
    item: str
    process: str
    function: re.Pattern
    blocks: int  # per process, at most
    bytes: int  # each, at most


def read_known(path):
    """Lines `ITEM PROCESS BLOCKS BYTES FUNCTION`: in each such process so many blocks of so many bytes, each at most, with
    this function on their stack."""
    lines = [line.split("#")[0].split(None, 4) for line in path.read_text().splitlines()]
    return [Known(words[0], words[1], re.compile(words[4].strip()), int(words[2]), int(words[3]))
            for words in lines if words]


@dataclass
class Result:
    name: str
    processes: int = 0
    safepoints: int = 0
    threads: int = 0
    blocks: int = 0
    known: int = 0
    refuted: int = 0
    pause_ms: float = 0
    seconds: float = 0
    broken: list = field(default_factory=list)
    remarks: list = field(default_factory=list)

    HEADER = ("program", "seconds", "processes", "safepoints", "leaked threads", "leaked blocks", "known true", "refuted",
              "largest pause ms", "result")

    def row(self):
        return (self.name, f"{self.seconds:.0f}", self.processes, self.safepoints, self.threads, self.blocks, self.known,
                self.refuted, f"{self.pause_ms:.1f}", "BROKEN" if self.broken else "ok")


def describe(sample):
    what = f"{sample.threads} threads" if sample.threads else f"{sample.objects} blocks, {sample.bytes} bytes"
    labels = " ".join(f"{key}={value}" for key, value in sample.labels.items())
    return "\n        ".join([f"{what}, {labels}"] + sample.functions[:14])


def judge(result, found, known):
    """Counts what the profiles say; per process its worst profile counts, for a leak stays one."""
    for process, all_of_it in found.items():
        result.processes += 1
        result.safepoints += len(all_of_it)
        worst = max(all_of_it, key=lambda profile: (profile.total("threads"), profile.total("objects")))
        result.threads += worst.total("threads")
        result.blocks += worst.total("objects")
        refuted = all_of_it[-1].refuted()
        result.refuted += refuted
        result.pause_ms = max([result.pause_ms] + [profile.pause_ms() for profile in all_of_it])
        if refuted:
            result.broken.append(f"{process}: refuted {all_of_it[-1].comment('refuted')}")
        for profile in all_of_it:
            for note in profile.notes():
                if note not in result.remarks:
                    result.remarks.append(note)
        room = {id(each): each.blocks for each in known}
        for sample in worst.samples:
            fits = next((each for each in known if process.startswith(each.process + ".") and
                         0 < sample.objects <= room[id(each)] and sample.bytes <= sample.objects * each.bytes and
                         any(map(each.function.search, sample.functions))), None)
            if fits:
                room[id(fits)] -= sample.objects
                result.known += sample.objects
            else:
                result.broken.append(f"{process}, safepoint {worst.comment('safepoint')}: {describe(sample)}")


def has_safepoints(result, item, seconds):
    if item.refusal and not result.safepoints and any(item.refusal in text for text in result.remarks):
        return True
    return result.safepoints >= max(1, seconds // 10)


def visit_once(item, visit):
    try:
        item.run(visit)
    except (Broken, OSError, ValueError) as broken:
        visit.broken.append(f"{type(broken).__name__}: {broken}")
    finally:
        visit.close()


def visit_item(name, options, known):
    """A short visit may see no safepoint where the machine is busy; it is then made longer."""
    for seconds in [options.seconds] if options.seconds >= 10 else [options.seconds, 5 * options.seconds, 60]:
        result = visit_for(name, seconds, options, known)
        if result.broken or has_safepoints(result, ALL[name], seconds):
            return result
    result.broken.append(f"{result.safepoints} safepoints in {seconds} seconds")
    return result


def visit_for(name, seconds, options, known):
    item, result = ALL[name], Result(name)
    plain = Visit(options.build, min(seconds, 2))
    visit_once(item, plain)
    result.broken += [f"without castaway: {text}" for text in plain.broken]
    home = pathlib.Path(tempfile.mkdtemp(prefix="castaway-zoo-out-"))
    home.chmod(0o755)
    output, log = home / "out" / "profiles", home / "out" / "log"
    output.parent.mkdir()
    output.parent.chmod(0o777)
    settings = {"CASTAWAY_OUTPUT": str(output), "CASTAWAY_LOG": str(log), "CASTAWAY_KEEP": "100000",
                "CASTAWAY_SAMPLE_BYTES": options.sample_bytes, **item.settings}
    visit = Visit(options.build, seconds, [options.build / "bin/castaway", "run", "--"], settings)
    begin = time.monotonic()
    visit_once(item, visit)
    result.seconds = time.monotonic() - begin
    result.broken += visit.broken
    for key in {*plain.answers, *visit.answers}:
        without, got = plain.answers.get(key), visit.answers.get(key)
        if without != got:
            result.broken.append(f"{key}: without castaway {str(without)[-800:]!r}, with it {str(got)[-800:]!r}")
    time.sleep(1)  # for the last reporters
    judge(result, profiles.processes(output), [each for each in known if each.item == name])
    if log.exists():
        said = [line for line in log.read_text(errors="replace").splitlines() if "leaked" not in line]
        result.remarks += dict.fromkeys(said)
    if options.keep:
        print(f"    profiles: {output}")
    else:
        shutil.rmtree(home, ignore_errors=True)
    return result


def show_table(results):
    rows = [Result.HEADER] + [result.row() for result in results]
    widths = [max(len(str(row[i])) for row in rows) for i in range(len(Result.HEADER))]
    for row in rows:
        print("  ".join(str(cell).ljust(width) if i in (0, len(row) - 1) else str(cell).rjust(width)
                        for i, (cell, width) in enumerate(zip(row, widths))).rstrip())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(ALL)}")
    parser.add_argument("--build", type=pathlib.Path, default=HERE.parents[1] / "build")
    parser.add_argument("--seconds", type=int, default=60, help="of load for each (60)")
    parser.add_argument("--sample-bytes", default="1", help="as for castaway run (1: every allocation stack)")
    parser.add_argument("--storms", action="store_true", help="our own storms first")
    parser.add_argument("--keep", action="store_true", help="keeps the profiles and says where")
    options = parser.parse_args()
    if unknown := [name for name in options.names if name not in ALL]:
        parser.error(f"no program '{unknown[0]}' in the zoo")
    options.build = options.build.resolve()
    # In the background it may be ignored; what is started here would inherit that, and CPython's tests fail by it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    names = options.names or [*(STORMS if options.storms else []), *ITEMS]
    known, results = read_known(HERE / "known_leaks.txt"), []
    for number, name in enumerate(names, 1):
        if missing := [program for program in ALL[name].needs if not installed(program)]:
            print(f"{number}/{len(names)} {name}: skipped, {missing[0]} is not installed", flush=True)
            continue
        print(f"{number}/{len(names)} {name}, {options.seconds} s ...", flush=True)
        result = visit_item(name, options, known)
        results.append(result)
        for text in result.broken:
            print(f"    BROKEN {text}", flush=True)
        for text in result.remarks:
            print(f"    {text}", flush=True)
    if not results:
        return 77
    show_table(results)
    return 1 if any(result.broken for result in results) else 0


if __name__ == "__main__":
    sys.exit(main())
