#!/usr/bin/env python3
"""Recall: how many of the leaks that were planted are found, over compilers, levels, kinds of executable and allocators.

Builds the positive programs of tests/programs (waits, blocks) at -O0 to -O3 with GCC and Clang, position-independent and
not, runs every case over four allocators, and counts the planted leaked threads and blocks that a profile shows. Each
miss is explained by `castaway why`. Exit status 1 where less than 99 % of either are found, or anything that was not
planted.

Usage: recall.py BUILD [--runs N] [--levels 0,2] [--cases cond,tree] [--allocators glibc,jemalloc] [--compilers g++]
                 [--kinds pie,fixed]
"""

import argparse
import collections
import concurrent.futures
import glob
import gzip
import itertools
import os
import re
import shutil
import subprocess
import sys
import tempfile

SOURCE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PROGRAMS = ["waits", "blocks"]  # each of all sources whose names begin so
COMPILERS = {"g++": "g++", "clang++": "clang++"}
KINDS = {"pie": ["-fPIE", "-pie"], "fixed": ["-fno-pie", "-no-pie"]}
ALLOCATORS = {"glibc": "", "jemalloc": "libjemalloc.so.2", "tcmalloc": "libtcmalloc_minimal.so.4",
              "mimalloc": "libmimalloc.so.2.0"}
# Planted threads, where it is not one.
THREADS = {"abba": 2, "three_cycle": 3, "abandoned": 2, "abandoned_recursive": 2, "abandoned_errorcheck": 2,
           "abandoned_heap": 2, "join_chain": 3, "join_leaked": 2, "mutex_of_leaked": 2, "only_pointer": 2,
           "crossed_stacks": 2, "stuck_once": 2, "thousand": 1000}
# Chains that lead from a root: nothing is lost there.
REACHED = {"chain_1", "chain_2", "chain_5", "chain_6", "chain_7", "chain_8"}
BAR = 0.99
TIMEOUT = 60


def build_variant(directory, program, compiler, level, kind):
    name = f"{program}.{compiler}.O{level}.{kind}"
    path = os.path.join(directory, name)
    patterns = [f"{program}.cc", f"{program}_*.cc", "support.cc", "plugin_load.cc"]
    sources = [path for pattern in patterns for path in sorted(glob.glob(os.path.join(SOURCE, "programs", pattern)))]
    newest = max(os.path.getmtime(source) for source in sources)
    if not os.path.exists(path) or os.path.getmtime(path) < newest:
        plugin = os.path.join(os.path.dirname(directory), "tests", "programs", "libplugin.so")
        command = [COMPILERS[compiler], "-std=c++20", "-g", "-fsized-deallocation", f"-O{level}", f'-DPLUGIN_PATH="{plugin}"', *KINDS[kind],
                   *sources, "-o", path, "-pthread", "-ldl", "-lrt"]
        subprocess.run(command, check=True)
    return path


def cases_of(path):
    return subprocess.run([path, "--list"], check=True, capture_output=True, text=True).stdout.split()


class Run:
    """One program with its leaks, and what a profile says of it."""

    def __init__(self, build, path, case, allocator):
        self.build, self.path, self.case, self.allocator = build, path, case, allocator
        self.output = tempfile.mkdtemp(prefix="castaway-recall.")

    def __enter__(self):
        preload = f"{self.build}/lib/libcastaway.so {ALLOCATORS[self.allocator]}".strip()
        environment = dict(os.environ, LD_PRELOAD=preload, CASTAWAY_INTERVAL="0", CASTAWAY_LOG="quiet",
                           CASTAWAY_SYMBOLIZE="off", CASTAWAY_OUTPUT=self.output, SAY_BLOCKS="1")
        self.process = subprocess.Popen([self.path, self.case, "leak"], env=environment, stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True)
        self.said = collections.defaultdict(list)
        for line in self.process.stdout:
            if line == "READY\n":
                return self
            name, _, number = line.partition(" ")
            self.said[name].append(int(number))
        raise RuntimeError(f"{self.path} {self.case} ended before it was ready")

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()
        shutil.rmtree(self.output)

    def ask(self, *command):
        pid = str(self.process.pid)
        words = [f"{self.build}/bin/castaway", command[0], *(["--wait"] if command[0] == "snap" else []), pid, *command[1:]]
        return subprocess.run(words, capture_output=True, text=True, timeout=TIMEOUT)

    def found(self):
        snap = self.ask("snap")
        if snap.returncode != 0:
            raise RuntimeError(f"{self.path} {self.case} over {self.allocator}: {snap.stderr}")
        with gzip.open(snap.stdout.strip()) as file:
            text = file.read()
        totals = re.search(rb"unconfirmed: (\d+) threads, (\d+) bytes retained, (\d+) objects", text)
        return int(totals[1]), int(totals[3])

    def explain(self, threads):
        """What keeps alive what was missed: the last lines of each chain that does not end in a leak."""
        subjects = os.listdir(f"/proc/{self.process.pid}/task")[1:9] if threads else map(hex, self.said["block"][:40])
        for subject in subjects:
            chain = self.ask("why", subject).stdout.rstrip()
            if chain and "leaked" not in chain.splitlines()[-1] and "main thread" not in chain.splitlines()[0]:
                yield "        " + chain.replace("\n", "\n        ")


def run_once(build, path, case, allocator):
    with Run(build, path, case, allocator) as run:
        is_thread = os.path.basename(path).startswith("waits")
        planted = THREADS.get(case, 1) if is_thread else run.said["objects"][0]
        threads, objects = run.found()
        found, other = (threads, objects) if is_thread else (objects, threads)
        miss = []
        if found < planted:
            miss = [f"{os.path.basename(path)} {case} over {allocator}: {found} of {planted}", *run.explain(is_thread)]
        elif found > planted or other:
            miss = [f"NOT PLANTED: {os.path.basename(path)} {case} over {allocator}: {found} of {planted}, {other} others"]
        return is_thread, allocator, planted, min(found, planted), max(found - planted, 0) + other, miss


def jobs_of(arguments):
    directory = os.path.join(arguments.build, "recall")
    os.makedirs(directory, exist_ok=True)
    variants = itertools.product(PROGRAMS, arguments.compilers, arguments.levels, arguments.kinds)
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        paths = list(pool.map(lambda variant: build_variant(directory, *variant), variants))
    cases = [(path, case) for path in paths for case in cases_of(path)
             if case not in REACHED and (not arguments.cases or case in arguments.cases)]
    # All of them before any again: a run that is interrupted has fewer of each.
    for _ in range(arguments.runs):
        yield from ((path, case, allocator) for path, case in cases for allocator in arguments.allocators)


def main():
    words = lambda text: text.split(",")
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("build")
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--levels", type=words, default=["0", "1", "2", "3"])
    parser.add_argument("--compilers", type=words, default=list(COMPILERS))
    parser.add_argument("--kinds", type=words, default=list(KINDS))
    parser.add_argument("--allocators", type=words, default=list(ALLOCATORS))
    parser.add_argument("--cases", type=words, default=[])
    arguments = parser.parse_args()
    arguments.build = os.path.abspath(arguments.build)

    jobs = list(jobs_of(arguments))
    # [kind, allocator] -> planted, found, runs, runs with all
    sums = collections.defaultdict(lambda: [0, 0, 0, 0])
    false = 0
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        results = pool.map(lambda job: run_once(arguments.build, *job), jobs)
        try:
            for done, (is_thread, allocator, planted, found, extra, miss) in enumerate(results, 1):
                for key in (is_thread, allocator), (is_thread, "all"):
                    row = sums[key]
                    row[0], row[1], row[2] = row[0] + planted, row[1] + found, row[2] + 1
                    row[3] += found == planted
                false += extra
                for line in miss:
                    print(line, flush=True)
                if sys.stderr.isatty() and done % 10 == 0:
                    print(f"\r{done} of {len(jobs)}", end="", file=sys.stderr)
        except KeyboardInterrupt:
            print(f"interrupted: {done} of {len(jobs)} runs")
            pool.shutdown(cancel_futures=True)

    print(f"\n{'':8} {'over':10} {'runs':>6} {'planted':>9} {'found':>9} {'recall':>8} {'runs with all':>14}")
    good = false == 0
    for (is_thread, allocator), (planted, found, runs, whole) in sorted(sums.items(), reverse=True):
        print(f"{'threads' if is_thread else 'blocks':8} {allocator:10} {runs:6} {planted:9} {found:9} "
              f"{found / planted:8.2%} {whole / runs:14.2%}")
        # Every run counts the same too: a thousand threads of one must not hide another that missed its only one.
        good &= allocator != "all" or min(found / planted, whole / runs) >= BAR
    print(f"not planted: {false}")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
