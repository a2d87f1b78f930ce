"""Servers under load, for bench.py: each a function of a visit and a time that returns what its requests took."""
import array
import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor

from turns import SECOND, Served
from visit import Broken, Visit, free_port, installed

CLIENTS = 8
# The server, and whatever castaway starts from it, has the first processor alone, the load the last one. So the server
# is what limits the load, and all work of castaway's takes time from the server.
SERVER_CPU, LOAD_CPU = (["taskset", "-c", str(cpu)] for cpu in (0, os.cpu_count() - 1))


class Loaded(Visit):
    """A visit whose load takes turns with another one's, as this side of theirs, once the server is up for so many
    seconds."""

    def __init__(self, turns, side, up, *rest):
        super().__init__(*rest)
        self.turns, self.side, self.up = turns, side, up

    def measure(self, *command):
        time.sleep(self.up)
        self.turns.meet()
        self.load(*LOAD_CPU, *command, started=lambda process: self.turns.take_part(self.side, process))


def visit_both(build, name, turns, up, prefix, environment):
    """What two servers of that name have served, plain and with this prefix and environment, once they are up for so
    many seconds."""
    sides = [Loaded(turns, 0, up, build, turns.load_seconds(), SERVER_CPU),
             Loaded(turns, 1, up, build, turns.load_seconds(), SERVER_CPU + prefix, environment)]
    serve, _ = SERVERS[name]

    def serve_side(side):
        try:
            return serve(side, turns.load_seconds())
        except BaseException:
            turns.abort()
            raise

    try:
        with ThreadPoolExecutor(2) as pool:
            both = [pool.submit(serve_side, side) for side in sides]
            return [each.result() for each in both]
    finally:
        turns.finish()
        for side in sides:
            side.close()


def end(visit, server, how):
    """A report that is still being made is waited for: its safepoint has to count."""
    time.sleep(1)
    visit.finish(server, how)


def request_load(visit, protocol, port, seconds):
    path = visit.directory / "measured"
    visit.measure(visit.build / "bin/request_load", protocol, port, CLIENTS, seconds, path)
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
    visit.measure(installed("pgbench"), *there, "-n", "-b", "select-only", "-c", CLIENTS, "-j", "1", "-T", seconds, "-l",
                  f"--log-prefix={visit.directory}/latency", "postgres")
    end(visit, server, signal.SIGINT)
    answers = sorted((int(words[4]) * SECOND + int(words[5]) * 1000, int(words[2]) * 1000)
                     for path in visit.directory.glob("latency*")
                     for words in map(str.split, path.read_text().splitlines()))
    if not answers:
        raise Broken("pgbench: no transactions")
    return Served(*map(list, zip(*answers)))


SERVERS = {"redis": (redis, ["redis-server"]), "memcached": (memcached, ["memcached"]), "nginx": (nginx, ["nginx"]),
           "postgresql": (postgresql, ["postgres", "pgbench"])}
