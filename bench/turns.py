"""Two servers under the same load, one with castaway, that take turns of a quarter of a second; and what of the
throughput is left, and what requests took, in turns beside each other.

A shared machine is now faster and now slower, by more than what is to be measured, and whole runs one after the other
differ by a tenth or more. What lasts longer than a turn slows both sides here.
"""
import math
import signal
import statistics
import threading
import time
from bisect import bisect_left
from dataclasses import dataclass

TURN = 0.25  # seconds
# After a turn's begin until answers count: caches are the other server's, and requests are answered that had to wait.
SETTLING = 25_000_000  # ns
SECOND = 10**9
AROUND = 2_000_000  # ns in which a safepoint is prepared, and in which its processes end


@dataclass
class Turn:
    side: int  # 0 or 1
    begin: int  # ns of the wall clock
    end: int


class Turns:
    """Lets one of two loads run at a time. Each side, in a thread of its own, calls meet() when it is ready to start its
    load, and take_part() with its process."""

    def __init__(self, warm_up, seconds):
        self.seconds = warm_up, seconds
        self.turns = []
        self._loads = {}
        self._ready, self._both = threading.Barrier(2), threading.Barrier(2, action=self._start)
        self._thread = threading.Thread(target=self._take_turns)

    def load_seconds(self):
        """How long a load has to last."""
        return math.ceil(sum(self.seconds)) + 1

    def meet(self):
        self._ready.wait(60)

    def take_part(self, side, process):
        self._loads[side] = process
        self._both.wait(60)

    def abort(self):
        self._ready.abort()
        self._both.abort()

    def finish(self):
        if self._thread.is_alive():
            self._thread.join()

    def between(self, begin, seconds):
        """The turns of this time, which begins so many seconds after the first one."""
        begin = self.turns[0].begin + round(begin * SECOND)
        return [turn for turn in self.turns if begin <= turn.begin and turn.end <= begin + round(seconds * SECOND)]

    def _start(self):
        self._thread.start()

    def _take_turns(self):
        warm_up, seconds = self.seconds
        time.sleep(warm_up)
        end = time.monotonic() + seconds
        side = 0
        while time.monotonic() < end and all(load.poll() is None for load in self._loads.values()):
            self._loads[1 - side].send_signal(signal.SIGSTOP)
            self._loads[side].send_signal(signal.SIGCONT)
            begin = time.time_ns()
            time.sleep(TURN)
            self.turns.append(Turn(side, begin, time.time_ns()))
            side = 1 - side
        for load in self._loads.values():
            load.send_signal(signal.SIGCONT)


@dataclass
class Served:
    """Requests, in the order of their answers; times are ns of the wall clock."""

    times: list
    latencies: list

    def between(self, begin, end):
        return bisect_left(self.times, begin), bisect_left(self.times, end)

    def rate(self, begin, end):
        """Answers per second."""
        first, last = self.between(begin, end)
        return (last - first) * SECOND / (end - begin)

    def latencies_in(self, begin, end):
        """Of requests that were sent and answered in that time."""
        first, last = self.between(begin, end)
        return [self.latencies[i] for i in range(first, last) if self.times[i] - self.latencies[i] >= begin]


def p99(latencies):
    """In us."""
    return sorted(latencies)[len(latencies) * 99 // 100] / 1e3 if latencies else None


def overlaps(turn, windows):
    return [(max(turn.begin, begin), min(turn.end, end)) for begin, end in windows if begin < turn.end and turn.begin < end]


def joined(windows):
    """The same time without overlaps."""
    found = []
    for begin, end in sorted(windows):
        if found and begin <= found[-1][1]:
            found[-1] = (found[-1][0], max(end, found[-1][1]))
        else:
            found.append((begin, end))
    return found


def ratios(turns, values):
    """Of each turn of side 1 between two of side 0 that have a value too: its own, by their mean."""
    found = []
    for turn, before, own, after in zip(turns[1:], values, values[1:], values[2:]):
        if turn.side == 1 and None not in (before, own, after):
            found.append(2 * own / (before + after))
    return found


def usual_near(turns, values, i):
    """The median of this side's turns around turn `i` that have a value."""
    near = [values[j] for j in range(max(i - 16, 0), min(i + 17, len(turns)))
            if turns[j].side == turns[i].side and values[j] is not None]
    return statistics.median(near) if near else None


def compare(turns, plain, ours, windows):
    """{key: number}; `windows`: when castaway's safepoints were made. A safepoint takes time from whichever server
    has its turn."""
    windows = joined((begin - AROUND, end + AROUND) for begin, end in windows)
    sides = (plain, ours)
    rates, tails = [], []
    for turn in turns:
        begin, outside = turn.begin + SETTLING, not overlaps(turn, windows)
        rates.append(sides[turn.side].rate(begin, turn.end) if outside else None)
        tails.append(p99(sides[turn.side].latencies_in(begin, turn.end)) if outside else None)
    lost, inside, within = 0, 0, []
    for i, turn in enumerate(turns):
        usual = usual_near(turns, rates, i)
        for begin, end in overlaps(turn, windows):
            inside += end - begin
            settled = max(begin, turn.begin + SETTLING)
            if settled >= end or not usual:
                continue
            lost += (end - begin) * (1 - sides[turn.side].rate(settled, end) / usual)
            if turn.side == 1:
                within += ours.latencies_in(settled, end)
    total = sum(turn.end - turn.begin for turn in turns)
    by_rate, by_tail = ratios(turns, rates), ratios(turns, tails)
    found = {"outside_ratio": statistics.median(by_rate),
             "lost_percent": 100 * lost / total, "inside_percent": 100 * inside / total,
             "ratio": statistics.median(by_rate) * (1 - lost / total), "p99_ratio": statistics.median(by_tail)}
    for name, values, side in (("plain_per_second", rates, 0), ("per_second", rates, 1), ("plain_p99_us", tails, 0),
                               ("p99_us", tails, 1)):
        found[name] = statistics.median(value for turn, value in zip(turns, values) if turn.side == side and value)
    for name, side in (("plain_longest_ms", 0), ("longest_ms", 1)):
        found[name] = max(max(sides[side].latencies_in(turn.begin, turn.end), default=0)
                          for turn in turns if turn.side == side) / 1e6
    if within:
        found["inside_p99_us"] = p99(within)
    return found
