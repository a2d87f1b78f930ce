"""Servers under load, for bench.py: each a function of a zoo Visit and a time that returns what its requests took; and
what of that fell into safepoints."""
import array
import os
import signal
import statistics
import time
from bisect import bisect_left
from dataclasses import dataclass

from profiles import safepoint_times
from visit import Broken, free_port, installed

CLIENTS = 8
# The server, and whatever castaway starts from it, has the first processor alone, the load the last one. So the server
# is what limits the load, and all work of castaway's takes time from the server.
SERVER_CPU, LOAD_CPU = (["taskset", "-c", str(cpu)] for cpu in (0, os.cpu_count() - 1))
SECOND = 10**9


@dataclass
class Served:
    """Requests, in the order of their answers; times are ns of the wall clock."""

    times: list
    latencies: list

    def after(self, seconds):
        """What was answered later than this after the first answer."""
        first = bisect_left(self.times, self.times[0] + seconds * SECOND)
        return Served(self.times[first:], self.latencies[first:])

    def quarters(self, windows):
        """(requests per second, p99 in us) of each quarter of a second that lies outside of these [(begin, end)]."""
        quarter = SECOND // 4
        for begin in range(self.times[0], self.times[-1] - quarter, quarter):
            first, last = bisect_left(self.times, begin), bisect_left(self.times, begin + quarter)
            if first < last and not any(one < begin + quarter and begin < end for one, end in windows):
                yield (last - first) * 4, p99(self.latencies[first:last])

    def inside(self, windows):
        """Latencies of what was under way within these."""
        found, longest = {}, max(self.latencies)
        for begin, end in windows:
            at = bisect_left(self.times, begin)
            while at < len(self.times) and self.times[at] - longest <= end:
                if self.times[at] - self.latencies[at] <= end:
                    found[at] = self.latencies[at]
                at += 1
        return list(found.values())

    def covered(self, windows):
        """(ns, answers) within these, of all the time from the first answer to the last."""
        span, answers, at = 0, 0, self.times[0]
        for begin, end in sorted(windows):
            begin, end = max(begin, at), min(end, self.times[-1])
            if begin < end:
                span += end - begin
                answers += bisect_left(self.times, end) - bisect_left(self.times, begin)
            at = max(at, end)
        return span, answers


def p99(latencies):
    """In us."""
    return sorted(latencies)[len(latencies) * 99 // 100] / 1e3


def facts_of(served, profiles):
    """{key: number} of one run; `profiles` is the directory that castaway wrote to, None where it was not there.
    Whatever else disturbs the machine, it does so in bursts: quarter seconds that are as usual tell most."""
    windows = safepoint_times(profiles) if profiles else []
    quarters = list(served.quarters(windows))
    span, answers = served.times[-1] - served.times[0], len(served.times)
    inside_span, inside_answers = served.covered(windows)
    found = {"inside_percent": 100 * inside_span / span, "longest_ms": max(served.latencies) / 1e6}
    if quarters:
        kept = answers / span / ((answers - inside_answers) / (span - inside_span))  # of throughput, with safepoints
        found |= {"per_second": statistics.median(rate for rate, _ in quarters) * kept,
                  "p99_us": statistics.median(each for _, each in quarters)}
    if inside := served.inside(windows):
        found["inside_p99_us"] = p99(inside)
    return found


def end(visit, server, how):
    """A report that is still being made is waited for: its safepoint has to count."""
    time.sleep(1)
    visit.finish(server, how)


def request_load(visit, protocol, port, seconds):
    path = visit.directory / "measured"
    visit.load(*LOAD_CPU, visit.build / "bin/request_load", protocol, port, CLIENTS, seconds, path)
    numbers = array.array("q", path.read_bytes())
    count = numbers[0]
    return Served(numbers[1 : 1 + count], numbers[1 + count :])


def redis(visit, seconds):
    port = free_port()
    server = visit.start("redis-server", "--port", port, "--dir", visit.directory, "--save", "")
    visit.accepts(server, port)
    served = request_load(visit, "redis", port, seconds)
    end(visit, server, signal.SIGTERM)
    return served


def memcached(visit, seconds):
    port = free_port()
    server = visit.start("memcached", "-p", port, "-U", "0", "-l", "127.0.0.1", "-u", "root", "-t", "1")
    visit.accepts(server, port)
    served = request_load(visit, "memcached", port, seconds)
    end(visit, server, signal.SIGTERM)
    return served


def nginx(visit, seconds):
    port = free_port()
    (visit.directory / "index.html").write_text("p" * 4000)
    configuration = visit.directory / "nginx.conf"
    configuration.write_text(
        f"daemon off; worker_processes 1; pid {visit.directory}/pid; error_log stderr warn; "
        f"events {{ worker_connections 512; }} http {{ access_log off; keepalive_requests 1000000000; server {{ "
        f"listen 127.0.0.1:{port}; location / {{ root {visit.directory}; }} }} }}")
    server = visit.start("nginx", "-c", configuration)
    visit.accepts(server, port)
    served = request_load(visit, "http", port, seconds)
    end(visit, server, signal.SIGQUIT)
    return served


def postgresql(visit, seconds):
    visit.as_user("postgres")
    files, port = visit.directory / "db", free_port()
    visit.load("initdb", "-D", files, "-A", "trust", "-N")
    server = visit.start("postgres", "-D", files, "-p", port, "-k", visit.directory)
    there = ["-h", visit.directory, "-p", port]
    visit.until("postgres", lambda: "accepting connections" in visit.load("pg_isready", *there, status=None))
    visit.load("pgbench", *there, "-n", "-i", "-q", "-s", "2", "postgres")
    # Paths of PostgreSQL's programs are not in PATH.
    visit.load(*LOAD_CPU, installed("pgbench"), *there, "-n", "-b", "select-only", "-c", CLIENTS, "-j", "1", "-T",
               seconds, "-l", f"--log-prefix={visit.directory}/latency", "postgres")
    end(visit, server, signal.SIGINT)
    answers = sorted((int(words[4]) * SECOND + int(words[5]) * 1000, int(words[2]) * 1000)
                     for path in visit.directory.glob("latency*")
                     for words in map(str.split, path.read_text().splitlines()))
    if not answers:
        raise Broken("pgbench: no transactions")
    return Served(*map(list, zip(*answers)))


SERVERS = {"redis": (redis, ["redis-server"]), "memcached": (memcached, ["memcached"]), "nginx": (nginx, ["nginx"]),
           "postgresql": (postgresql, ["postgres", "pgbench"])}
