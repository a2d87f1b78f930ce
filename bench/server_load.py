"""Servers under load, for bench.py: each a function of a zoo Visit and a time that returns requests per second and the
latency below which 99 % of them were answered."""
import csv
import io
import re
import signal

from visit import Broken, free_port

CLIENTS = 8


def redis(visit, seconds, _build):
    port = free_port()
    server = visit.start("redis-server", "--port", port, "--dir", visit.directory, "--save", "")
    visit.accepts(server, port)

    def load(count):
        text = visit.load("redis-benchmark", "-p", port, "-c", CLIENTS, "-n", count, "-r", 100000, "-d", 100, "-t",
                          "set,get", "--csv")
        rows = list(csv.DictReader(io.StringIO(text)))
        per_second = len(rows) / sum(1 / float(row["rps"]) for row in rows)
        return per_second, max(float(row["p99_latency_ms"]) for row in rows) * 1e3

    per_second, _ = load(20000)  # fills the keys, and says how many requests take that long
    result = load(int(per_second * seconds / 2))
    visit.finish(server, signal.SIGTERM)
    return result


def memcached(visit, seconds, build):
    port = free_port()
    server = visit.start("memcached", "-p", port, "-U", "0", "-l", "127.0.0.1", "-u", "root", "-t", "2")
    visit.accepts(server, port)
    text = visit.load(build / "bin/memcached_load", port, CLIENTS, seconds)
    visit.finish(server, signal.SIGTERM)
    values = dict(line.split() for line in text.splitlines())
    return float(values["per_second"]), float(values["p99_us"])


def nginx(visit, seconds, _build):
    port = free_port()
    (visit.directory / "index.html").write_text("p" * 4000)
    configuration = visit.directory / "nginx.conf"
    configuration.write_text(
        f"daemon off; worker_processes 2; pid {visit.directory}/pid; error_log stderr warn; "
        f"events {{ worker_connections 512; }} http {{ access_log off; keepalive_requests 1000000000; server {{ "
        f"listen 127.0.0.1:{port}; location / {{ root {visit.directory}; }} }} }}")
    server = visit.start("nginx", "-c", configuration)
    visit.accepts(server, port)
    text = visit.load("wrk", "-t", "1", "-c", CLIENTS, "-d", f"{seconds}s", "--latency", f"http://127.0.0.1:{port}/")
    visit.finish(server, signal.SIGQUIT)
    per_second, p99 = re.search(r"Requests/sec:\s+([\d.]+)", text), re.search(r"99%\s+([\d.]+)(us|ms|s)", text)
    if not per_second or not p99 or "Non-2xx" in text:
        raise Broken(f"wrk: {text[-300:]}")
    return float(per_second[1]), float(p99[1]) * {"us": 1, "ms": 1e3, "s": 1e6}[p99[2]]


def postgresql(visit, seconds, _build):
    visit.as_user("postgres")
    files, port = visit.directory / "db", free_port()
    visit.load("initdb", "-D", files, "-A", "trust", "-N")
    server = visit.start("postgres", "-D", files, "-p", port, "-k", visit.directory)
    there = ["-h", visit.directory, "-p", port]
    visit.until("postgres", lambda: "accepting connections" in visit.load("pg_isready", *there, status=None))
    visit.load("pgbench", *there, "-n", "-i", "-q", "-s", "2", "postgres")
    text = visit.load("pgbench", *there, "-n", "-b", "select-only", "-c", CLIENTS, "-j", "2", "-T", seconds, "-l",
                      f"--log-prefix={visit.directory}/latency", "postgres")
    visit.finish(server, signal.SIGINT)
    latencies = sorted(int(line.split()[2]) for path in visit.directory.glob("latency*")
                       for line in path.read_text().splitlines())
    per_second = re.search(r"tps = ([\d.]+)", text)
    if not per_second or not latencies:
        raise Broken(f"pgbench: {text[-300:]}")
    return float(per_second[1]), float(latencies[len(latencies) * 99 // 100])


SERVERS = {"redis": (redis, ["redis-server", "redis-benchmark"]), "memcached": (memcached, ["memcached"]),
           "nginx": (nginx, ["nginx", "wrk"]), "postgresql": (postgresql, ["postgres", "pgbench"])}
