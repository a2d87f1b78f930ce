"""Programs that run to their end: the same output and status in every round, with and without castaway."""
import pathlib
import random

HERE = pathlib.Path(__file__).parent


def python(visit):
    process = visit.start("python3", HERE.parent / "e2e/load.py")
    for count in visit.rounds():
        # Some of these tests are about time: what fails on a busy machine gets a second chance (-w), and says more.
        done = visit.start("python3", "-m", "test", "-w", ["test_thread", "test_queue", "test_threading"][count % 3])
        status = visit.finish(done, most=300)
        said = done.out.read_text(errors="replace") + done.errors.read_text(errors="replace")
        visit.expect(status == 0, f"python3's own tests: {status}: {said[-4000:]}")
    visit.answer("load.py", visit.finish(process))
    visit.answer("load.py's output", process.out.read_text())


def python_objects(visit):
    for _ in visit.rounds():
        visit.same("python3", HERE / "objects.py", str(min(visit.seconds, 10)), name="objects.py")


def node(visit):
    for _ in visit.rounds():
        visit.same("node", HERE / "load.js", str(min(visit.seconds, 20)), name="load.js")


def java(visit):
    for _ in visit.rounds():
        visit.same("java", HERE / "Load.java", str(min(visit.seconds, 20)), name="Load.java")


def gcc(visit):
    (visit.directory / "source.cc").write_text("#include <algorithm>\n#include <map>\n#include <regex>\n#include <string>\n#include <vector>\n"
                      + "".join(f"template <int> struct T{i} {{ std::map<std::string, std::vector<int>> m; "
                                f"int f(int x) {{ std::regex r(\"a{i}\"); std::vector<int> v(x); std::sort(v.begin(), "
                                f"v.end()); m[\"{i}\"] = v; return v[0] + int(m.size()); }} }};\n"
                                f"int g{i}(int x) {{ return T{i}<{i}>().f(x); }}\n" for i in range(14)))
    for _ in visit.rounds():
        visit.same("g++", "-O2", "-g", f"-ffile-prefix-map={visit.directory}=.", "-c", "source.cc", name="g++")
        visit.answer("source.o", visit.load("sha256sum", visit.directory / "source.o").split()[0])


def git(visit):
    random.seed(1)
    history = ["blob\nmark :1\ndata 6\nhello\n\n"]
    for commit in range(1, 3001):
        text = "".join(f"line {random.randrange(10**6)}\n" for _ in range(120))
        history.append(f"commit refs/heads/main\ncommitter Zoo <zoo@example.org> {1600000000 + commit} +0000\n"
                       f"data {len(str(commit))}\n{commit}\n"
                       f"M 644 inline d{commit % 7}/f{commit % 300}\ndata {len(text)}\n{text}\n")
    stream = visit.directory / "stream"
    stream.write_text("".join(history))
    settings = {"HOME": str(visit.directory), "GIT_CONFIG_NOSYSTEM": "1"}
    for count in visit.rounds():
        at = visit.directory / f"repository{count}"
        visit.load("git", "init", "-q", "-b", "main", at, more=settings)

        def same(*words, at=at, **options):
            visit.same("git", "-C", at, *words, name=" ".join(words), more=settings, **options)

        with open(stream) as source:
            process = visit.start("git", "-C", at, "fast-import", "--quiet", more=settings)
            for part in iter(lambda: source.read(1 << 16), ""):
                process.stdin.write(part.encode())
            visit.expect(visit.finish(process) == 0, "fast-import failed")
        same("rev-parse", "main")
        same("repack", "-adfq", "--depth=50", "--window=30", "--threads=2")
        same("fsck", "--full", "--no-progress")
        same("log", "-p", "--stat", "main")
        same("checkout", "-q", "-f", "main")
        same("blame", "-s", "d1/f1")
        same("grep", "-c", "--threads=2", "line 12", "main")
        same("gc", "--quiet", "--aggressive")
        same("count-objects")
        visit.load("rm", "-rf", at)


def sqlite(visit):
    for count in visit.rounds():
        file = visit.directory / f"database{count}"
        visit.same("sqlite3", "-batch", file, f".read {HERE}/load.sql", name="load.sql")
        file.unlink()


def openssl(visit):
    (visit.directory / "data").write_bytes(random.Random(2).randbytes(64 << 20))
    for _ in visit.rounds():
        visit.same("openssl", "dgst", "-sha3-512", "data")
        visit.same("openssl", "enc", "-aes-256-ctr", "-pbkdf2", "-iter", "2000000", "-S", "0001020304050607", "-pass",
                   "pass:zoo", "-in", "data", "-out", "encrypted", name="enc")
        visit.answer("encrypted", visit.load("sha256sum", visit.directory / "encrypted").split()[0])
        visit.same("openssl", "req", "-x509", "-newkey", "rsa:4096", "-nodes", "-subj", "/CN=zoo", "-keyout", "key.pem",
                   "-out", "certificate.pem", name="req", with_errors=False)
        visit.same("openssl", "verify", "-CAfile", "certificate.pem", "certificate.pem", name="verify")
