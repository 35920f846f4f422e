"""Single faults of files, for Perennial and for SQLite with Litestream.

Each store gets the same records and is killed (SIGKILL) a few seconds after all are acknowledged, when Litestream has had the
time to copy them. Then, case by case, one file of a copy of the folder gets one fault, and the program is started again as its manual
says: Perennial by its command; SQLite by `litestream restore -if-db-not-exists`, then by opening the file. What is served
then is compared with what was acknowledged. If SQLite does not serve all of it, an operator restores from the replica.
"""

import json
import os
import random
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
import urllib.request

WORK, CASES, SEED = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
PERENNIAL, LITESTREAM = os.environ["PERENNIAL"], os.environ["LITESTREAM"]
RECORDS = {f"r{n:04}": f"{n}:" + "abcdefghij" * 40 for n in range(1000)}
# Litestream copies once a second.
COPIED = 3
READY = 30


def kill(process):
    process.send_signal(signal.SIGKILL)
    process.wait()


class Perennial:
    name = "Perennial"

    def start(self, folder):
        settings = os.path.join(folder, "perennial.toml")
        with open(settings, "w") as file:
            file.write(
                f'server = {{ listen = ["127.0.0.1:0"], admin = "127.0.0.1:0", data = "{folder}/data" }}\n'
                '[resource.books]\naccess = "public"\n'
            )
        log = open(os.path.join(folder, "log"), "w")
        process = subprocess.Popen(
            [PERENNIAL, "--config", settings, "serve"],
            stderr=log,
            stdout=log,
            env={**os.environ, "NO_COLOR": "1"},
        )
        until = time.time() + READY
        while time.time() < until and process.poll() is None:
            text = open(log.name).read()
            found = re.search(r"listening on (http:\S*)", text)
            if found and " ready" in text:
                self.site = found.group(1).rstrip("/")
                return process
            time.sleep(0.01)
        return process

    def make(self, folder):
        process = self.start(folder)
        for key, text in RECORDS.items():
            body = json.dumps({"id": key, "text": text}).encode()
            head = {"Content-Type": "application/json"}
            urllib.request.urlopen(urllib.request.Request(self.site + "/books", body, head)).read()
        time.sleep(COPIED)
        kill(process)

    def serve(self, folder):
        """The records that are served, without anybody's help, or the error; tries for a while, as a client would."""
        process = self.start(folder)
        until, error = time.time() + READY, "it does not run"
        served = {}
        while time.time() < until and process.poll() is None:
            try:
                for page in (1, 2):
                    url = f"{self.site}/books?_page={page}&_limit=500"
                    records = json.load(urllib.request.urlopen(url))
                    served.update({record["id"]: record["text"] for record in records})
                error = None
                break
            except OSError as fault:
                error = str(fault)
                time.sleep(0.05)
        kill(process)
        return served, error

    def operator(self, folder):
        return None


class Sqlite:
    name = "SQLite + Litestream"

    def paths(self, folder):
        return os.path.join(folder, "data", "books.db"), os.path.join(folder, "data", "replica")

    def litestream(self, *words, **more):
        quiet = subprocess.DEVNULL
        return subprocess.Popen([LITESTREAM, *words], stdout=quiet, stderr=quiet, **more)

    def make(self, folder):
        database, replica = self.paths(folder)
        os.makedirs(os.path.dirname(database))
        records = sqlite3.connect(database, isolation_level=None)
        records.execute("PRAGMA journal_mode = WAL")
        records.execute("PRAGMA synchronous = FULL")
        records.execute("CREATE TABLE books (id TEXT PRIMARY KEY, text TEXT)")
        copier = self.litestream("replicate", database, f"file://{replica}")
        time.sleep(1)
        for pair in RECORDS.items():
            records.execute("INSERT INTO books VALUES (?, ?)", pair)
        time.sleep(COPIED)
        kill(copier)
        # As a killed process leaves it: the log is not moved into the file.
        aside = database + ".aside"
        for ending in ("", "-wal"):
            shutil.copy(database + ending, aside + ending)
        records.close()
        for ending in ("", "-wal"):
            os.replace(aside + ending, database + ending)
        if os.path.exists(database + "-shm"):
            os.remove(database + "-shm")

    def serve(self, folder):
        database, replica = self.paths(folder)
        self.litestream("restore", "-if-db-not-exists", "-if-replica-exists", "-o", database, f"file://{replica}").wait()
        return self.read(database)

    def read(self, database):
        try:
            records = sqlite3.connect(f"file:{database}?mode=rw", uri=True)
        except sqlite3.Error as error:
            return {}, str(error)
        try:
            return dict(records.execute("SELECT id, text FROM books NOT INDEXED ORDER BY rowid")), None
        except (sqlite3.Error, UnicodeDecodeError) as error:
            return {}, str(error)
        finally:
            records.close()

    def operator(self, folder):
        _, replica = self.paths(folder)
        restored = os.path.join(folder, "restored.db")
        self.litestream("restore", "-o", restored, f"file://{replica}").wait()
        if not os.path.exists(restored):
            return {}, "no restore"
        return self.read(restored)


def files_below(folder):
    found = []
    for path, _, names in os.walk(folder):
        found += [os.path.join(path, name) for name in names]
    return sorted(path for path in found if os.path.getsize(path) > 0 and not path.endswith(("/lock", "/ballast")))


def choose(data, chance):
    """A file of a folder: each part of the folder is as likely as any other, and in it each file."""
    parts = {}
    for path in files_below(data):
        parts.setdefault(os.path.relpath(path, data).split(os.sep)[0], []).append(path)
    return chance.choice(parts[chance.choice(sorted(parts))])


def used(path):
    """The end of what is not zero: a fault behind it changes nothing."""
    with open(path, "rb") as file:
        return max(1, len(file.read().rstrip(b"\0")))


def flip(path, chance):
    with open(path, "r+b") as file:
        file.seek(chance.randrange(used(path)))
        byte = file.read(1)[0]
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte ^ (1 << chance.randrange(8))]))


def zero(path, chance):
    with open(path, "r+b") as file:
        file.seek(chance.randrange(used(path)) // 4096 * 4096)
        file.write(bytes(min(4096, os.path.getsize(path) - file.tell())))


def cut(path, chance):
    os.truncate(path, chance.randrange(used(path)))


def remove(path, _):
    os.remove(path)


FAULTS = [flip, zero, cut, remove]


def run(system):
    """The table's column of one system."""
    chance = random.Random(SEED)
    made = os.path.join(WORK, system.name.split()[0])
    os.makedirs(made)
    system.make(made)
    column = {"cases": 0, "whole": 0, "refused": 0, "lacking": 0, "wrong": 0, "restored": 0, "never": 0, "slowest": 0.0}
    for case in range(CASES):
        folder = os.path.join(WORK, "case")
        shutil.copytree(made, folder)
        fault = FAULTS[case % len(FAULTS)]
        file = choose(os.path.join(folder, "data"), chance)
        fault(file, chance)
        begun = time.time()
        served, error = system.serve(folder)
        wrong = sum(RECORDS.get(key) != text for key, text in served.items())
        column["cases"] += 1
        if served == RECORDS:
            column["whole"] += 1
            column["slowest"] = max(column["slowest"], time.time() - begun)
        else:
            kind = "refused" if error else "wrong" if wrong else "lacking"
            name = os.path.relpath(file, folder)
            print(f"{system.name}, case {case}: {fault.__name__} {name}: {error or kind}", file=sys.stderr)
            column[kind] += 1
            later = system.operator(folder)
            column["restored" if later and later[0] == RECORDS else "never"] += 1
        shutil.rmtree(folder)
    return column


ROWS = [
    ("cases", "single faults: a flipped bit, 4 KiB of zeros, a cut file, a removed file"),
    ("whole", "all acknowledged records are served, without anybody's help"),
    ("slowest", "seconds until then, the slowest case"),
    ("refused", "an error instead of records"),
    ("lacking", "acknowledged records are missing, and nothing says so"),
    ("wrong", "records are served that are not what was written, and nothing says so"),
    ("restored", "of these three: an operator gets all back from the replica"),
    ("never", "of these three: not even then"),
]

columns = [(system.name, run(system)) for system in (Perennial(), Sqlite())]
print("| what | " + " | ".join(name for name, _ in columns) + " |\n| --- | --- | --- |")
for key, text in ROWS:
    values = [column[key] for _, column in columns]
    print(f"| {text} | " + " | ".join(f"{value:.2f}" if key == "slowest" else str(value) for value in values) + " |")
ours = columns[0][1]
sys.exit(1 if ours["lacking"] or ours["wrong"] else 0)
