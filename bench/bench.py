#!/usr/bin/env python3
"""Benchmarks: castaway and its rivals in turn on this machine, and beside each figure the bar that castaway must meet.

    bench.py [--build DIR] [--quick] [PART...]

Ratios count; what a machine adds to both sides cancels out of them. Still, use a quiet machine. Each part that is run
in full replaces its section of bench/RESULTS.md; all parts take more than an hour. A rival that is not installed is
"-". Exit status 0 also where a bar is missed.
"""
import argparse
import datetime
import itertools
import json
import os
import pathlib
import platform
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from threading import BrokenBarrierError

from measure import Bench, in_turn
from plot import bar_chart, number
from profiles import processes, safepoint_times
from server_load import SERVERS, visit_both
from turns import Turns, compare
from visit import Broken, installed

HERE = pathlib.Path(__file__).resolve().parent
MIB = 1024  # in KiB, as resident memory is counted
WARM_UP = 1.5  # seconds of load before a server is measured
# The ratio of two plain PostgreSQL servers has a standard deviation of 0.04 from visit to visit.
VISITS = {"redis": 5, "memcached": 5, "nginx": 5, "postgresql": 12}
SHORT_VISITS = 24  # to a server in several rows


# Tables.


@dataclass
class Table:
    title: str
    header: list
    rows: list = field(default_factory=list)
    bars: list = field(default_factory=list)
    plot: tuple = ()  # (unit, columns to draw, whether the axis is logarithmic)

    def chart(self):
        """The table's chart as SVG, None where it has none."""
        if not self.plot:
            return None
        unit, columns, logarithmic = self.plot
        rows = [(row[0], [number(row[column]) for column in columns]) for row in self.rows if len(row) > max(columns)]
        return bar_chart(self.title, unit, [self.header[column] for column in columns], rows, logarithmic)

    def bar(self, text, value, met):
        """`value` is what was measured for `text`; `met` is None where a rival was missing."""
        self.bars.append(("-" if met is None else "yes" if met else "NO", text, value))

    def bar_at_most(self, text, value, limit, form="{:.2f}"):
        known = value is not None and limit is not None
        self.bar(text, form.format(value) + (f" of at most {form.format(limit)}" if known else "") if value is not None
                 else "-", value <= limit if known else None)

    def bar_at_least(self, text, value, limit, form="{:.2f}"):
        self.bar(text, "-" if value is None else f"{form.format(value)} of at least {form.format(limit)}",
                 None if value is None else value >= limit)

    def markdown(self):
        lines = [f"## {self.title}", ""] + markdown_rows(self.header, self.rows)
        bars = [(text, value, met) for met, text, value in self.bars]
        if bars:
            lines += [""] + markdown_rows(["bar", "measured", "met"], bars)
        return "\n".join(lines) + "\n"

    def text(self):
        lines = [self.title] + text_rows([self.header] + self.rows)
        lines += [f"    bar met: {met:3}  {text}: {value}" for met, text, value in self.bars]
        return "\n".join(lines) + "\n"


def markdown_rows(header, rows):
    def line(cells):
        return "| " + " | ".join(map(str, cells)) + " |"

    return [line(header), line(["---"] + ["---:"] * (len(header) - 1))] + [line(row) for row in rows]


def text_rows(rows):
    widths = [max(len(str(row[i])) for row in rows) for i in range(len(rows[0]))]
    return ["    " + "  ".join(str(cell).rjust(width) if i else str(cell).ljust(width)
                               for i, (cell, width) in enumerate(zip(row, widths))).rstrip() for row in rows]


def shown(value, form="{:.2f}"):
    return "-" if value is None else form.format(value)


def ratio(value, base):
    return value / base if value is not None and base else None


def get(results, name, key):
    return results.get(name, {}).get(key)


# Parts: each a function of a Bench that returns tables.


def in_turn_computing(bench, what, repeats, runs):
    """As in_turn(), and says whether two threads had a whole processor each meanwhile."""
    computing = {"computing": lambda: bench.target("glibc", ["--seconds", 0, "--compute", 2])}
    results = in_turn(repeats, {**computing, **runs})
    slower = get(results, "computing", "slower")
    bench.remark(f"{what}: meanwhile two threads that only compute took {shown(slower)} times as long as one alone.")
    return results


def malloc(bench):
    return [malloc_with(bench, threads) for threads in (1, 2)]


def malloc_with(bench, threads):
    pairs = bench.choose(1_000_000, 4_000_000)

    def run(name):
        count = pairs // bench.rivals[name].slowness
        return lambda: bench.target(name, ["--seconds", 0, "--pairs", count, "--pair-threads", threads])

    repeats, runs = bench.choose(5, 25), {name: run(name) for name in bench.rivals}
    alone = threads == 1
    results = in_turn(repeats, runs) if alone else in_turn_computing(bench, f"{threads} threads", repeats, runs)
    table = Table(f"malloc and free of 64 bytes, {threads} thread{'s' * (threads > 1)}",
                  ["", "ns per pair", "ratio to glibc", "ratio to the same allocator"], plot=("ns per pair", [1], True))
    times = {name: get(results, name, "pair_ns") for name in bench.rivals}
    for name, value in times.items():
        below = times.get(name.removeprefix("castaway over ")) if " over " in name else None
        table.rows.append([name, shown(value), shown(ratio(value, times["glibc"])), shown(ratio(value, below))])
    table.bar_at_most("castaway, ratio to glibc", ratio(times["castaway"], times["glibc"]), 1.25)
    for rival in ("LeakSanitizer", "tcmalloc heap profiler", "tcmalloc heap checker", "heaptrack", "valgrind"):
        table.bar_at_most(f"castaway, ns, under {rival}", times["castaway"], times[rival])
    for rival in ("LeakSanitizer", "heaptrack"):
        table.bar_at_most(f"castaway with every stack, ns, under {rival}", times["castaway, every stack"], times[rival])
    return table


STOPS = {"CASTAWAY_SYMBOLIZE": "off"}


def spread(values):
    """From the first to the third quartile, of the median."""
    if len(values) < 2:
        return None
    first, middle, third = statistics.quantiles(values, n=4, method="inclusive")
    return (third - first) / middle


def sampling(bench):
    """What it costs a thread that allocates 100 MB in a second, of a size of which blocks are lost, that this size is
    looked at more closely: the same process before and after its only safepoint, as a ratio, by that of blocks of
    another size."""
    seconds = bench.choose(5, 10)
    settings = {**STOPS, "CASTAWAY_INTERVAL": f"{seconds * 500}ms"}
    ratios = {0: [], 100: []}

    def run(leak):
        values = bench.target("castaway", ["--seconds", 0, "--traffic", seconds, "--leak", leak], settings)
        if values:
            ratios[leak].append(values["ratio"])
        return values

    results = in_turn(bench.choose(3, 15), {leak: lambda leak=leak: run(leak) for leak in ratios})
    table = Table("malloc and free of 64 bytes, 1.6 million in a second, before and after a safepoint",
                  ["blocks lost per second", "ns before", "ns after", "ratio", "half of the runs within"])
    for leak, found in ratios.items():
        table.rows.append([leak or "none", *(shown(get(results, leak, key)) for key in ("early_ns", "late_ns")),
                           shown(statistics.median(found) if found else None, "{:.3f}"),
                           shown(spread(found), "{:.1%}")])
    table.bar_at_most("100 blocks lost: ratio", statistics.median(ratios[100]) if ratios[100] else None, 1.01, "{:.3f}")
    return [table]


def pause(bench):
    return [pause_at(bench, mib) for mib in bench.choose((512,), (1024, 4096))]


def pause_at(bench, mib):
    in_order = ["--heap", mib, "--seconds"]
    heap, seconds = ["--shuffled", 1, *in_order], bench.choose(4, 7)
    results = in_turn(bench.choose(1, 3), {
        "plain": lambda: bench.target("glibc", [*heap, seconds]),
        "bare fork": lambda: bench.target("glibc", [*heap, seconds, "--stop", "fork"]),
        "castaway": lambda: bench.target("castaway", [*heap, 2, "--stop", "snap"], STOPS),
    })
    results |= in_turn(1, {  # takes minutes, and is far from any limit
        "LeakSanitizer": lambda: bench.target("LeakSanitizer", [*heap, 2, "--stop", "lsan"]),
        "LeakSanitizer, blocks in order": lambda: bench.target("LeakSanitizer", [*in_order, 2, "--stop", "lsan"]),
    })
    gaps = {name: get(results, name, "largest_gap_us") for name in results}
    table = Table(f"Largest gap in a thread's loop, list of 64-byte blocks in random order, {mib} MiB",
                  ["", "ms", "ratio to a bare fork"], plot=("ms", [1], True))
    for name, gap in gaps.items():
        table.rows.append([name, shown(ratio(gap, 1e3), "{:.3f}"), shown(ratio(gap, gaps["bare fork"]))])
    own = get(results, "castaway", "pause_us")
    table.rows.append(["castaway, as its profile says", shown(ratio(own, 1e3), "{:.3f}"),
                       shown(ratio(own, gaps["bare fork"]))])
    limit = None if gaps["bare fork"] is None else 1.3 * gaps["bare fork"] + 15
    table.bar_at_most("castaway, us, at most 1.3 x bare fork + 15 us", gaps["castaway"], limit, "{:.0f}")
    stops = ratio(gaps["LeakSanitizer"], gaps["castaway"])
    table.bar_at_least("LeakSanitizer's stop / castaway's", stops, 50, "{:.0f}")
    return table


def after(bench):
    huge = " in huge pages", {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}
    return [after_at(bench, mib, *how) for how in ((), huge) for mib in bench.choose((512,), (1024, 4096))]


def after_at(bench, mib, where="", more=()):
    """What a thread that writes to random places notices of a stop, in the pause and after it."""
    settings = {**STOPS, **dict(more)}

    def run(name, *words):
        return lambda: bench.target(name, [mib, *words], settings, program="writer_target")

    own = bench.target("castaway", [mib, "snap"], settings, program="writer_target")
    hold = round(own.get("own_mark_ns", 0) / 1e6)  # so long a copy is needed
    runs = {"castaway": run("castaway", "snap"), "bare fork": run("glibc", "fork", hold),
            "nothing": run("glibc", "none"), "no copy": run("glibc", "written", hold)}
    results = in_turn(bench.choose(2, 3), runs)
    table = Table(f"Random writes to {mib} MiB of 64-byte blocks{where}, and a stop whose copy lasts for {hold} ms", [
        "", "largest gap, ms", "lost in two seconds, ms", "writes in the end, of those before"], plot=("ms", [1, 2], True))
    for name in runs:
        gap, lost = get(results, name, "largest_gap_us"), get(results, name, "lost_ms")
        table.rows.append([name, shown(gap and gap / 1e3, "{:.1f}"), shown(lost, "{:.0f}"),
                           shown(get(results, name, "in_the_end"))])
    if where:
        table.bar_at_least(f"writes in the end{where}", get(results, "castaway", "in_the_end"), 0.95)
    parts = [get(results, "no copy", key) for key in ("protect_us", "list_us", "written_pages")]
    if all(parts):
        what = f"no copy: to protect {parts[0] / 1e3:.1f} ms beside the program; to list {parts[2]:.0f} pages"
        table.rows.append([what, f"{parts[1] / 1e3:.2f}", "", ""])
    return table


SHAPES = ("list", "tree", "graph", "strings")
MARKERS = {"castaway": "castaway", "boehm": "glibc", "lsan": "LeakSanitizer"}


def mark_shape(bench, shape, count):
    """{marker: (ns for all, blocks, bytes)}."""
    if not (bench.build / "bin/mark_target").exists():
        bench.remark("mark: mark_target was not built, libgc-dev is not there")
        return {}

    def run(marker):
        settings = {**STOPS, "CASTAWAY_MARKERS": "1"}
        return lambda: bench.target(MARKERS[marker], [marker, shape, count], settings, program="mark_target")

    results = in_turn(bench.choose(1, 2), {marker: run(marker) for marker in MARKERS})
    if leaked := get(results, "castaway", "leaked"):
        bench.remark(f"mark {shape}: castaway found {leaked:.0f} leaked blocks where all is live")
    for each in results.values():
        each["mark_ns"] = each.get("own_mark_ns", each.get("mark_ns"))
    return results


def mark(bench):
    table = Table("Mark, one thread, ns per block", [
        "", "blocks", "castaway", "Boehm GC", "LeakSanitizer", "Boehm / castaway", "LeakSanitizer / castaway",
        "castaway's memory, % of the heap"], plot=("ns per block", [2, 3, 4], False))
    count = bench.choose(1 << 20, 8 << 20)
    for shape in SHAPES:
        results = mark_shape(bench, shape, count)
        times = [ratio(get(results, marker, "mark_ns"), get(results, marker, "blocks")) for marker in MARKERS]
        to_boehm, to_lsan = ratio(times[1], times[0]), ratio(times[2], times[0])
        scan, heap = get(results, "castaway", "scan_mib"), get(results, "castaway", "heap_bytes")
        share = None if None in (scan, heap) else 100 * scan * 2**20 / heap
        table.rows.append([shape, shown(get(results, "castaway", "blocks"), "{:.0f}"),
                           *map(shown, [*times, to_boehm, to_lsan, share])])
        table.bar_at_least(f"{shape}: times faster than Boehm", to_boehm, 4)
        table.bar_at_least(f"{shape}: times faster than LeakSanitizer", to_lsan, 10)
        table.bar_at_most(f"{shape}: memory of the scan, % of the heap", share, 4)
    table.rows.append(["list, the program's own walk", *walk_list(bench, count), *["-"] * 5])
    return [table, mark_buffers(bench), mark_together(bench)]


def walk_list(bench, count):
    """The limit of any marker: one access after the other."""
    words = ["walk", "list", count]
    result = in_turn(3, {"": lambda: bench.target("glibc", words, program="mark_target")})[""]
    blocks = result.get("blocks")
    return shown(blocks, "{:.0f}"), shown(ratio(result.get("mark_ns"), blocks))


def mark_together(bench):
    """By one marker and by two, of castaway."""
    table = Table("Mark by several markers, ms", ["", "1 marker", "2 markers", "1 / 2"], plot=("ms", [1, 2], False))
    count = bench.choose(4 << 20, 8 << 20)
    for shape in ("tree", "graph", "strings"):
        def run(markers):
            settings = {**STOPS, "CASTAWAY_MARKERS": str(markers)}
            return lambda: bench.target("castaway", ["castaway", shape, count], settings, program="mark_target")
        results = in_turn_computing(bench, f"{shape}, two markers", bench.choose(2, 3),
                                    {str(markers): run(markers) for markers in (1, 2)})
        one, two = (get(results, key, "own_mark_ns") for key in "12")
        table.rows.append([shape, *(shown(value and value / 1e6, "{:.1f}") for value in (one, two)),
                           shown(ratio(one, two))])
        table.bar_at_least(f"{shape}: times faster with two markers", ratio(one, two), 1.7)
    return table


def scanner_alone(bench):
    """GB/s over buffers in fresh huge pages, not in a copy of a process and at no low priority."""
    words = [bench.build / "bin/mark_bench", "--benchmark_filter=buffers", "--benchmark_format=json"]
    text = bench.run("glibc", words) if words[0].exists() else None
    return {"gbs": json.loads(text)["benchmarks"][0]["bytes_per_second"] / 1e9} if text else {}


def mark_buffers(bench):
    count = bench.choose(4096, 16384)
    limits = in_turn(bench.choose(1, 3), {
        "": lambda: bench.target("glibc", ["--seconds", 0, "--bandwidth", 512]), "alone": lambda: scanner_alone(bench)})
    results = mark_shape(bench, "buffers", count)
    table = Table(f"Mark of {count} buffers of 64 KiB without pointers, one thread", ["", "GB/s", "of streaming reads"],
                  plot=("GB/s", [1], False))
    read = get(limits, "", "read_gbs")
    forked = get(limits, "", "forked_gbs")
    rates = {"streaming read": read, "memcpy": get(limits, "", "copy_gbs"), "first read of a fork's 4 KiB pages": forked}
    for marker, name in zip(MARKERS, ("castaway", "Boehm GC", "LeakSanitizer")):
        rates[name] = ratio(get(results, marker, "bytes"), get(results, marker, "mark_ns"))
    rates["castaway's scanner alone, huge pages"] = get(limits, "alone", "gbs")
    for name, rate in rates.items():
        table.rows.append([name, shown(rate), shown(ratio(rate, read))])
    table.bar_at_least("castaway, of streaming reads", ratio(rates["castaway"], read), 0.6)
    table.bar_at_least("castaway, of the first read in a fork", ratio(rates["castaway"], forked), 0.6)
    return table


def threads(bench):
    table = Table("Pause by waiting threads", ["threads", "stack, KiB", "plain, ms", "castaway, ms",
                                               "as its profile says, ms", "LeakSanitizer, ms",
                                               "castaway, us per thread", "until its profile is there, ms"],
                  plot=("ms", [3, 5], True))
    cases = [(1000, 8192), (5000, 8192), (5000, 64), (10000, 8192)]
    for count, stack in bench.choose(cases[:3], cases):
        words = ["--threads", count, "--stack", stack, "--seconds"]
        results = in_turn(bench.choose(1, 3), {
            "plain": lambda words=words: bench.target("glibc", [*words, 3]),
            "castaway": lambda words=words: bench.target("castaway", [*words, 2, "--stop", "snap"], STOPS),
            "lsan": lambda words=words: bench.target("LeakSanitizer", [*words, 2, "--stop", "lsan"]),
        })
        gaps = [get(results, name, "largest_gap_us") for name in ("plain", "castaway", "lsan")]
        own = get(results, "castaway", "pause_us")
        known = [value for value in (gaps[1], own) if value is not None]
        each = ratio(max(known), count) if known else None  # main goes on first, others may be stopped for longer
        times = [shown(ratio(value, 1e3)) for value in (gaps[0], gaps[1], own, gaps[2])]
        written = ratio(get(results, "castaway", "written_us"), 1e3)
        table.rows.append([count, stack, *times, shown(each, "{:.1f}"), shown(written, "{:.0f}")])
        table.bar_at_most(f"{count} threads of {stack} KiB: us per thread", each, 30, "{:.1f}")
    return [table]


def memory(bench):
    table = Table("Resident memory, MiB, blocks of 64 bytes", [
        "heap", "plain", "castaway", "more", "LeakSanitizer, more", "heap profiler, more", "heaptrack, more"],
                  plot=("MiB more than plain", [3, 4, 5, 6], True))
    names = ["glibc", "castaway", "LeakSanitizer", "tcmalloc heap profiler", "heaptrack"]
    for mib in bench.choose((0, 1024), (0, 128, 1024)):
        rivals = names if mib <= 128 else names[:3]  # the others take minutes for so many blocks
        results = in_turn(bench.choose(1, 3), {
            name: lambda name=name, mib=mib: bench.target(name, ["--heap", mib, "--seconds", 0]) for name in rivals})
        kib = [get(results, name, "resident_kib") for name in names]
        more = [None if None in (value, kib[0]) else value - kib[0] for value in kib[1:]]
        table.rows.append([f"{mib} MiB", *(shown(ratio(value, MIB), "{:.1f}") for value in kib[:2]),
                           *(shown(ratio(value, MIB), "{:.1f}") for value in more)])
        # The heap is what the allocator holds for it: a block of 64 bytes takes 80.
        limit = None if kib[0] is None else 0.07 * kib[0] / MIB * (mib > 0) + 4
        table.bar_at_most(f"heap of {mib} MiB: more, MiB, at most 7 % of plain's resident memory + 4 MiB",
                          ratio(more[0], MIB), limit, "{:.1f}")
    return [table]


def startup(bench):
    names = ["glibc", "castaway", "LeakSanitizer", "tcmalloc heap profiler", "heaptrack", "valgrind"]

    def run(name):
        begin = time.perf_counter()
        if bench.run(name, [pathlib.Path("/bin/true")]) is None:
            return {}
        return {"ms": (time.perf_counter() - begin) * 1e3}

    results = in_turn(bench.choose(15, 100), {name: lambda name=name: run(name) for name in names})
    plain = get(results, "glibc", "ms")
    table = Table("Start and end of /bin/true", ["", "ms", "ms more than plain"], plot=("ms", [1], True))
    for name in names:
        value = get(results, name, "ms")
        table.rows.append([name, shown(value), shown(None if value is None else value - plain)])
    ours = get(results, "castaway", "ms")
    table.bar_at_most("castaway, ms more than plain", None if ours is None else ours - plain, 3)
    return [table]


def sync(bench):
    words = ["--seconds", 0, "--sync", bench.choose(1_000_000, 3_000_000)]
    results = in_turn(bench.choose(7, 41), {name: lambda name=name: bench.target(name, words)
                                           for name in ("glibc", "castaway")})
    table = Table("Synchronisation, uncontended, ns", ["", "plain", "castaway", "ratio"],
                  plot=("ns", [1, 2], False))
    for name in ("mutex", "condition", "semaphore"):
        plain, ours = (get(results, rival, f"{name}_ns") for rival in ("glibc", "castaway"))
        table.rows.append([name, shown(plain), shown(ours), shown(ratio(ours, plain))])
        table.bar_at_most(f"{name}: ratio 1.00, and 0.01 for noise", ratio(ours, plain), 1.01)
    return [table]


def visit_server(bench, name, interval, up, phases):
    """{key: number} for each phase of one visit to both servers at once, which are up for so many seconds before the
    load begins; a phase begins so many seconds after that, and lasts so many. None where one is broken. `start` is the
    same in all of them."""
    out = bench.new_directory()
    out.chmod(0o777)
    first = phases[0][0]
    turns = Turns(first, max(begin + seconds for begin, seconds in phases) - first)
    settings = {"CASTAWAY_OUTPUT": str(out / "profiles"), "CASTAWAY_LOG": "quiet", "CASTAWAY_INTERVAL": f"{interval}s"}
    try:
        served = visit_both(bench.build, name, turns, up, [bench.build / "bin/castaway", "run", "--"], settings)
        safepoints = safepoint_times(out / "profiles")
        return [{"start": str(out), **compare(turns.between(begin - first, seconds), *served, safepoints)}
                for begin, seconds in phases]
    except (Broken, BrokenBarrierError, OSError, ValueError, KeyError, statistics.StatisticsError) as broken:
        bench.remark(f"{name}: {' '.join(str(broken).split())[:300]}")
        return []
    finally:
        shutil.rmtree(out, ignore_errors=True)


def servers(bench):
    seconds, interval = bench.choose((10, 5), (20, 10))
    table = Table(f"Servers under load, a safepoint every {interval} s", [
        "", "requests/s, plain", "castaway, outside safepoints", "ratio outside", "% lost to safepoints",
        "throughput, ratio", "p99 us, plain", "castaway, outside safepoints", "p99, ratio", "inside", "% of time inside",
        "longest, ms, plain", "castaway"], plot=("castaway / plain", [5, 8], False))
    bench.remark("Two servers at a time, one with castaway, under loads that take turns of a quarter of a second. The "
                 "servers, and what castaway starts, have one processor, the loads another one. Ratios are medians of turns "
                 "by the two beside them; throughput's is less by what safepoints took of either. A safepoint lasts from "
                 "the stop until its report is written.")
    bench.remark("PostgreSQL leaks a few blocks before it forks. Until these are known for good to a process, it reads "
                 "shared memory twice, for which all of them have one budget; one that is forked from a process that knows "
                 "need not. So it has several rows: with clients from its start, in their first two safepoints, in the next "
                 "two, and in the first six together; and with clients that come when it has made two safepoints. In all "
                 "other rows there are two safepoints in the time measured of each process that runs; of those that "
                 "hardly do, one in four is made.")
    settled = 2 * interval + 2  # two safepoints are over, with their reports
    for name, (_, programs) in SERVERS.items():
        if missing := [each for each in programs if not installed(each)]:
            bench.remark(f"{name}: {missing[0]} is not installed")
        rows = {0: {name: (WARM_UP, seconds)}}
        if name == "postgresql":
            rows = {0: {"postgresql, just started": (WARM_UP, seconds),
                        "postgresql, from the third safepoint on": (settled, seconds),
                        "postgresql, its first six safepoints": (WARM_UP, 3 * seconds)},
                    settled: {"postgresql, new clients": (WARM_UP, seconds)}}
        of_rows = {}
        for up, phases in rows.items():
            visits = [] if missing else [visit_server(bench, name, interval, up, list(phases.values()))
                                         for _ in range(bench.choose(1, VISITS[name]))]
            for i, title in enumerate(phases):
                of_rows[title] = [phases_found[i] for phases_found in visits if phases_found]
        outside = outside_ratio(bench, name, interval, of_rows) if len(of_rows) > 1 and not missing else None
        for title, visits in of_rows.items():
            table.rows.append([title, *server_cells(bench, table, title, visits, outside)])
    return [table]


def outside_ratio(bench, name, interval, of_rows):
    """Outside of safepoints a server does the same in each row, and two plain ones differ by 4 % from one start to the
    next. So all starts say what that ratio is, and some more that are only for that. (These are short. A server's
    first seconds cost it a little more: all allocations have their chance to be recorded.)"""
    short = [visit_server(bench, name, interval, 0, [(WARM_UP, 4)]) for _ in range(bench.choose(1, SHORT_VISITS))]
    starts = {}  # the phases of each
    for visit in itertools.chain(*of_rows.values(), *short):
        starts.setdefault(visit["start"], []).append(visit["outside_ratio"])
    values = [statistics.mean(phases) for phases in starts.values()]
    if not values:
        return None
    bench.remark(f"{name}: throughput outside of safepoints, by each start: {listed(values, 4)}. That is the ratio "
                 f"outside of each row, and the larger part of its throughput's error.")
    return statistics.mean(values)


def listed(values, digits):
    """All of them, and what is known of their mean, with so many digits."""
    error = statistics.stdev(values) / len(values) ** 0.5 if len(values) > 1 else 0
    return (f"{', '.join(f'{value:.3f}' for value in sorted(values))}; mean {statistics.mean(values):.{digits}f}, "
            f"standard error {error:.{digits}f}")


def server_cells(bench, table, name, visits, outside):
    """`outside`: the ratio outside of safepoints, where that is not for these visits to say."""
    def median(key):
        values = [visit[key] for visit in visits if key in visit]
        return statistics.median(values) if values else None

    lost = median("lost_percent")
    cells = {"ratio": median("ratio"), "outside_ratio": median("outside_ratio")}
    if outside and lost is not None:
        cells = {"ratio": outside * (1 - lost / 100), "outside_ratio": outside}
    for key, what in (("ratio", "throughput"), ("p99_ratio", "p99")):
        if values := [visit[key] for visit in visits if key in visit]:
            bench.remark(f"{name}: {what} of each visit: {listed(values, 3)}")
    table.bar_at_least(f"{name}: throughput, ratio", cells["ratio"], 0.98, "{:.3f}")
    table.bar_at_most(f"{name}: p99 outside safepoints, ratio", median("p99_ratio"), 1.05)
    return [shown(cells.get(key, median(key)), form) for key, form in (
        ("plain_per_second", "{:.0f}"), ("per_second", "{:.0f}"), ("outside_ratio", "{:.3f}"), ("lost_percent", "{:.1f}"),
        ("ratio", "{:.3f}"), ("plain_p99_us", "{:.0f}"), ("p99_us", "{:.0f}"), ("p99_ratio", "{:.2f}"),
        ("inside_p99_us", "{:.0f}"), ("inside_percent", "{:.1f}"), ("plain_longest_ms", "{:.1f}"),
        ("longest_ms", "{:.1f}"))]


def run_report(bench):
    """Seconds and resident memory of a reporter that makes a profile of a capture with 1000 stacks and more, and seconds
    for the next safepoint's, which has the same stacks."""
    out = bench.new_directory()
    settings = {"CASTAWAY_KEEP_CAPTURES": "1", "CASTAWAY_OUTPUT": str(out)}
    if bench.run("castaway, every stack", [bench.build / "bin/stacks_target"], settings, out=out) is None:
        return {}
    captures = sorted(out.glob("*.capture"))
    if len(captures) != 2:
        return bench.remark(f"report: {len(captures)} captures were kept") or {}
    program = str(bench.build / "bin/castaway")
    (out / "replayed").mkdir()
    values = {}
    for name, capture in zip(("", "again_"), captures):
        begin = time.perf_counter()
        words = [program, "report", str(capture), "--output", str(out / "replayed")]
        silent = [(os.POSIX_SPAWN_OPEN, 1, "/dev/null", os.O_WRONLY, 0)]
        child = os.posix_spawn(program, words, os.environ, file_actions=silent)
        _, status, usage = os.wait4(child, 0)
        if status:
            return bench.remark(f"report: castaway report ended with {os.waitstatus_to_exitcode(status)}") or {}
        values |= {f"{name}seconds": time.perf_counter() - begin, f"{name}resident_kib": usage.ru_maxrss}
    stacks = max(len(each.samples) for several in processes(out / "replayed").values() for each in several)
    return {**values, "stacks": stacks}


def report(bench):
    if not (bench.build / "bin/stacks_target").exists():
        return []
    values = in_turn(bench.choose(2, 5), {"": lambda: run_report(bench)})[""]
    seconds, mib = values.get("seconds"), ratio(values.get("resident_kib"), MIB)
    size = (bench.build / "bin/stacks_target").stat().st_size / 2**20
    table = Table(f"Report of a program of {size:.0f} MiB with debug information", [
        "stacks", "s", "resident MiB", "the next safepoint's, s", "resident MiB"])
    again = values.get("again_seconds"), ratio(values.get("again_resident_kib"), MIB)
    table.rows.append([shown(values.get("stacks"), "{:.0f}"), shown(seconds), shown(mib, "{:.0f}"),
                       shown(again[0]), shown(again[1], "{:.0f}")])
    table.bar_at_most("seconds", seconds, 2)
    table.bar_at_most("resident MiB", mib, 300, "{:.0f}")
    table.bar_at_most("the same stacks again, of the first time", ratio(again[0], seconds), 0.9)
    return [table]


PARTS = {part.__name__: part
         for part in (malloc, sampling, pause, after, mark, threads, memory, startup, sync, servers, report)}


# The report.


def first_line(command):
    try:
        text = subprocess.run(command, capture_output=True, text=True, timeout=20).stdout
        return text.splitlines()[0] if text else ""
    except (OSError, subprocess.TimeoutExpired):
        return ""


def package_versions():
    packages = ["libc6", "liblsan0", "libgoogle-perftools4", "libgc1", "heaptrack", "valgrind", "libjemalloc2",
                "libmimalloc2.0", "redis-server", "memcached", "nginx", "postgresql-15"]
    lines = [first_line(["dpkg-query", "-W", "-f=${Package} ${Version}", name]) for name in packages]
    return ", ".join(line for line in lines if line)


def machine():
    model = re.search(r"model name\s*: (.*)", pathlib.Path("/proc/cpuinfo").read_text())
    memory_kib = int(re.search(r"MemTotal:\s+(\d+)", pathlib.Path("/proc/meminfo").read_text())[1])
    return f"{model[1] if model else platform.machine()}, {os.cpu_count()} cores, {memory_kib / MIB / MIB:.0f} GiB"


def facts(begin):
    commit = first_line(["git", "-C", str(HERE), "describe", "--always", "--dirty"])
    return [("date", begin.strftime("%Y-%m-%d %H:%M")), ("machine", machine()), ("kernel", platform.release()),
            ("load before", f"{os.getloadavg()[0]:.2f}"), ("castaway", commit or "unknown"),
            ("versions", package_versions())]


HEAD = """# Benchmark results

Written by `./dev bench PART...`: castaway and its rivals in turn on one machine, the median of several runs. Each part
says when and where it was measured.
"""


def read_sections(path):
    """{part: text} of an earlier run."""
    text = path.read_text() if path.exists() else ""
    parts = re.split(r"^<!-- (\w+) -->\n", text, flags=re.MULTILINE)
    return dict(zip(parts[1::2], (text.strip("\n") for text in parts[2::2])))


def write_section(path, name, about, tables, remarks):
    text = ["; ".join(f"{key}: {value}" for key, value in about if value) + ".", ""]
    for each, table in enumerate(tables, 1):
        text.append(table.markdown())
        if chart := table.chart():
            file = path.parent / "plots" / f"{name}-{each}.svg"
            file.parent.mkdir(exist_ok=True)
            file.write_text(chart)
            text += [f"![{table.title}](plots/{file.name})", ""]
    if remarks:
        text += ["Remarks:", ""] + [f"- {remark}" for remark in remarks] + [""]
    sections = {**read_sections(path), name: "\n".join(text).strip("\n")}
    ordered = [f"\n<!-- {each} -->\n{sections[each]}\n" for each in PARTS if each in sections]
    part = path.with_suffix(".part")
    part.write_text(HEAD + "".join(ordered))
    part.replace(path)


class Parser(argparse.ArgumentParser):
    def error(self, message):
        self.exit(2, f"bench: {message} (see ./dev bench --help)\n")


def read_options():
    parser = Parser(prog="./dev bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}")
    parser.add_argument("--build", type=pathlib.Path, default=HERE.parent / "build")
    parser.add_argument("--quick", action="store_true", help="in about three minutes, writes nothing")
    parser.add_argument("--check-options", action="store_true", help="does nothing else")
    options = parser.parse_args()
    if unknown := [part for part in options.parts if part not in PARTS]:
        parser.error(f"no part '{unknown[0]}', there are {', '.join(PARTS)}")
    if options.check_options:
        sys.exit(0)
    options.build = options.build.resolve()
    for needed in ("bin/bench_target", "bin/castaway", "lib/libcastaway.so"):
        if not (options.build / needed).exists():
            parser.error(f"{options.build / needed} is not there: ./dev build")
    return options


INTERRUPTS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def run_parts(bench, names, about):
    tables = []
    for number, name in enumerate(names, 1):
        print(f"{number}/{len(names)} {name} ...", file=sys.stderr, flush=True)
        bench.remarks.clear()
        found = PARTS[name](bench)
        for table in found:
            print(table.text(), flush=True)
        tables += found
        if not bench.quick:
            write_section(HERE / "RESULTS.md", name, about, found, bench.remarks)
    return tables


def interrupt(*_):
    for number in INTERRUPTS:
        signal.signal(number, signal.SIG_IGN)  # a second one must not end the cleaning up
    raise KeyboardInterrupt


def main():
    options = read_options()
    for number in INTERRUPTS:
        signal.signal(number, interrupt)
    about = facts(datetime.datetime.now())
    print("\n".join(f"{key}: {value}" for key, value in about))
    names = [name for name in PARTS if not options.parts or name in options.parts]
    with tempfile.TemporaryDirectory(prefix="castaway-bench-", ignore_cleanup_errors=True) as directory:
        pathlib.Path(directory).chmod(0o755)  # servers run as other users
        bench = Bench(options.build, options.quick, pathlib.Path(directory))
        try:
            tables = run_parts(bench, names, about)
        except KeyboardInterrupt:
            return 130
    missed = [text for table in tables for met, text, _ in table.bars if met == "NO"]
    print(f"{len(missed)} bars missed{': ' if missed else ''}{'; '.join(missed)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
