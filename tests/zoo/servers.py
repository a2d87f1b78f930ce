"""Servers under load: every answer is checked, and they end as they should."""
import html
import http.server
import re
import signal
import socket
import threading
import time
import urllib.request

from visit import Broken, free_port


def redis(visit):
    port = free_port()
    server = visit.start("redis-server", "--port", port, "--dir", visit.directory, "--save", "")
    visit.accepts(server, port)

    def ask(*words):
        return visit.load("redis-cli", "-p", port, *words)

    for _ in visit.rounds():
        ask("bgsave")
        text = visit.load("redis-benchmark", "-p", port, "-q", "-n", "20000", "-r", "10000", "-t",
                          "set,get,lpush,lpop,sadd,zadd,hset,mset", most=120)
        visit.expect("Error" not in text, text)
        visit.until("background save", lambda: "rdb_bgsave_in_progress:0" in ask("info", "persistence"))
        visit.expect("rdb_last_bgsave_status:ok" in ask("info", "persistence"), "background save failed")
    ask("flushall")
    ask("eval", "for i = 1, 20000 do redis.call('set', 'k' .. i, string.rep('v', i % 500)) end", "0")
    visit.answer("sum", ask("eval", "local n = 0 for i = 1, 20000 do n = n + #redis.call('get', 'k' .. i) end return n",
                            "0"))
    visit.answer("status", visit.finish(server, signal.SIGTERM))


def memcached(visit):
    port = free_port()
    server = visit.start("memcached", "-p", port, "-U", "0", "-l", "127.0.0.1", "-u", "root", "-t", "4")
    visit.accepts(server, port)
    stored = 0
    for _ in visit.rounds():
        with socket.create_connection(("127.0.0.1", port)) as connection:
            lines = connection.makefile("rwb")
            for stored in range(stored + 1, stored + 2001):
                key, value = b"key%d" % (stored % 5000), b"v" * (stored % 3000)
                lines.write(b"set %s 0 0 %d\r\n%s\r\nget %s\r\n" % (key, len(value), value, key))
                lines.flush()
                got = [lines.readline().strip() for _ in range(4)]
                if not visit.expect(got == [b"STORED", b"VALUE %s 0 %d" % (key, len(value)), value, b"END"], got):
                    break
    visit.answer("status", visit.finish(server, signal.SIGTERM))


def nginx(visit):
    port = free_port()
    page = "p" * 20000
    (visit.directory / "index.html").write_text(page)
    configuration = visit.directory / "nginx.conf"
    configuration.write_text(
        f"daemon off; worker_processes 2; pid {visit.directory}/pid; error_log stderr warn; "
        f"events {{ worker_connections 512; }} http {{ access_log off; gzip on; gzip_types *; server {{ "
        f"listen 127.0.0.1:{port}; location / {{ root {visit.directory}; }} }} }}")
    server = visit.start("nginx", "-c", configuration)
    visit.accepts(server, port)
    address = f"http://127.0.0.1:{port}/"
    for count in visit.rounds():
        text = visit.load("wrk", "-t", "2", "-c", "20", "-d", f"{min(visit.seconds, 5)}s", "-H",
                          "Accept-Encoding: gzip" if count % 2 else "Accept: */*", address)
        visit.expect("Socket errors" not in text and "Non-2xx" not in text, text)
        with urllib.request.urlopen(address) as answer:
            visit.answer("page", answer.read().decode())
        server.send_signal(signal.SIGHUP)  # new workers, the old ones end
        time.sleep(0.5)
    visit.expect("exited on signal" not in server.errors.read_text(), server.errors.read_text())
    visit.answer("status", visit.finish(server, signal.SIGQUIT))


def postgresql(visit):
    visit.as_user("postgres")
    files, port = visit.directory / "db", free_port()
    visit.load("initdb", "-D", files, "-A", "trust", "-N")
    server = visit.start("postgres", "-D", files, "-p", port, "-k", visit.directory)
    there = ["-h", visit.directory, "-p", port]
    visit.until("postgres", lambda: visit.load("pg_isready", *there, status=None).strip().endswith("accepting connections"))
    visit.load("pgbench", *there, "-n", "-i", "-q", "-s", "2", "postgres")
    for count in visit.rounds():
        kind = ["tpcb-like", "select-only"][count % 2]
        text = visit.load("pgbench", *there, "-n", "-b", kind, "-c", "4", "-j", "2", "-T", min(visit.seconds, 10),
                          "postgres")
        visit.expect("number of failed transactions: 0 " in text, text)
        visit.load("psql", *there, "-qc", "vacuum analyze", "postgres")
        wrong = visit.load("psql", *there, "-Atc", "select (select coalesce(sum(delta), 0) from pgbench_history) = all "
                           "(array[(select sum(abalance) from pgbench_accounts), (select sum(tbalance) from "
                           "pgbench_tellers), (select sum(bbalance) from pgbench_branches)])", "postgres").strip()
        visit.answer("balances agree", wrong)
    visit.answer("status", visit.finish(server, signal.SIGINT))
    visit.expect("PANIC" not in server.errors.read_text(errors="replace"), "PANIC")


# Moves money between accounts, in transactions that must leave the sum alone.
TRANSFERS = """
create table if not exists account(id int primary key, balance bigint, note varchar(200), key(balance)) engine=innodb;
insert ignore into account select seq, 1000, repeat('n', seq % 200) from seq_1_to_5000;
delimiter //
create or replace procedure transfer(rounds int)
begin
  declare i int default 0; declare one int; declare other int;
  declare continue handler for 1213 begin end;
  while i < rounds do
    set one = 1 + floor(rand() * 5000), other = 1 + floor(rand() * 5000);
    start transaction;
    select balance from account where id in (one, other) order by id for update;
    update account set balance = balance - 7 where id = one;
    update account set balance = balance + 7 where id = other;
    commit;
    set i = i + 1;
  end while;
end//
"""


def mariadb(visit):
    visit.as_user("mysql")
    files, at = visit.directory / "db", visit.directory / "socket"
    visit.load("mariadb-install-db", "--no-defaults", f"--datadir={files}", "--auth-root-authentication-method=normal",
               "--skip-test-db")
    server = visit.start("mariadbd", "--no-defaults", f"--datadir={files}", f"--socket={at}", "--skip-networking",
                         f"--pid-file={visit.directory}/pid", "--innodb-buffer-pool-size=64M",
                         "--innodb-flush-log-at-trx-commit=2")
    there = ["--no-defaults", f"--socket={at}", "-uroot"]
    visit.until("mariadbd", lambda: "alive" in visit.load("mariadb-admin", *there, "ping", status=None))

    def ask(text, database="zoo"):
        return visit.load("mariadb", *there, "-N", "-e", text, database)

    ask("create database zoo", "mysql")
    ask(TRANSFERS)
    for _ in visit.rounds():
        failures = []

        def transfer():
            try:
                ask("call transfer(300)")
            except Broken as broken:
                failures.append(str(broken))

        threads = [threading.Thread(target=transfer) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        visit.expect(not failures, failures[:1])
        visit.load("mariadb-slap", *there, "--auto-generate-sql", "--concurrency=4", "--number-of-queries=400")
        visit.answer("sum", ask("select sum(balance), count(*) from account"))
        visit.answer("joined", ask("select count(*), sum(a.id * b.id % 97) from account a join account b on b.id = a.id * "
                                   "17 % 5000 order by 1"))
    visit.answer("status", visit.finish(server, signal.SIGTERM))


# Fills and drops canvases, nodes, strings and workers until the server answers the request for the picture.
PAGE = """<!doctype html><title>zoo</title><body><div id=list></div><script>
let wrong = 0;
const worker = new Worker(URL.createObjectURL(new Blob([`onmessage = (e) => {
  let sum = 0; for (let i = 0; i < 200000; ++i) sum += ({ i }).i % 7; postMessage([e.data, sum]); }`])));
let asked = 0, answered = 0;
worker.onmessage = (e) => { ++answered; if (e.data[1] !== 599994) ++wrong; };
function step() {
  worker.postMessage(++asked);
  const list = document.getElementById('list');
  list.replaceChildren(...Array.from({ length: 300 }, (_, i) => {
    const each = document.createElement('p'); each.textContent = 'item ' + i; return each; }));
  if (list.children.length !== 300 || list.lastChild.textContent !== 'item 299') ++wrong;
  const canvas = document.createElement('canvas'); canvas.width = canvas.height = 300;
  const context = canvas.getContext('2d'); context.fillStyle = '#123456'; context.fillRect(0, 0, 300, 300);
  const pixel = context.getImageData(5, 5, 1, 1).data; if (pixel[0] !== 0x12 || pixel[2] !== 0x56) ++wrong;
  if (JSON.parse(JSON.stringify({ a: Array(1000).fill('text') })).a.length !== 1000) ++wrong;
}
const timer = setInterval(step, 20);
addEventListener('load', () => { clearInterval(timer); worker.terminate();
  document.body.textContent = 'wrong ' + wrong + (asked > 5 && answered > 0 ? '' : ' idle'); });
</script><img src=/wait></body>"""


def chromium(visit):
    span = min(visit.seconds, 15)

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            if self.path == "/wait":
                time.sleep(span)
            self.send_response(200 if self.path == "/" else 404)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(PAGE.encode() if self.path == "/" else b"")

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        for count in visit.rounds():
            process = visit.start("chromium", "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
                                  f"--user-data-dir={visit.directory}/profile{count}", "--timeout=120000", "--dump-dom",
                                  f"http://127.0.0.1:{server.server_port}/")
            status = visit.finish(process, most=300)
            body = re.search("<body>.*</body>", process.out.read_text(errors="replace"), re.S)
            visit.answer("page", html.unescape(body[0]) if body else process.errors.read_text(errors="replace"))
            visit.answer("status", status)
    finally:
        server.shutdown()


