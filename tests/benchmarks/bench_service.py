"""The service under load, under kills, under fuzzed requests, and in a browser.

    python tests/benchmarks/bench_service.py [fuzz] [viewers] [kills] [paint]

All parts without names, in about twenty minutes on 2 cores; `paint` needs Chromium. The service is
`sweep serve` in a process of its own on an SQLite store, with the command line's defaults but for
the limit of requests. Service, study and whoever makes the load share the cores of one machine, so
that each slows the others: latencies and slowdowns are upper bounds of what viewers elsewhere see.
The CPU seconds of the process that makes the load are printed with them.

**fuzz**: schemathesis with all its checks over the OpenAPI document, at least 5,000 requests.

**viewers**: 200 streams of events of one running study. A viewer *missed* an event if the numbers
of its events have a gap, or if not every trial of the study was told to it, once. Meanwhile the
front of a complete study of 10,000 trials is read 20 times a second, whole (no `If-None-Match`);
times are until the last byte is there. Memory is the resident set of the service. *Slowdown*
compares launches of the same study with 200 viewers and with none, turn by turn, in a service that
does nothing else: trials a second between the ends of the first and of the last trial. There the
viewers run at the lowest priority, since elsewhere they would take no time of this machine.

**kills**: `kill -9` of the web process (begun again) and of the study's child (which the service
begins again), at random times of one study. *Repeated* are weights of more than one complete trial;
a trial that was cut short is done again under another number.

**paint**: the page of a study of 10,000 trials in headless Chromium, each time with empty caches.
*First paint* is the browser's own first-contentful-paint; *drawn* is when the front has its points.
Sizes are as transferred, compressed; the stream of events, which does not end, counts as a request.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
import shutil
import signal
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

TESTS = Path(__file__).parents[1]
sys.path[:0] = [str(TESTS), str(TESTS / "service"), str(TESTS / "search")]

import httpx  # noqa: E402
import psutil  # noqa: E402
from big import write_big_study  # noqa: E402
from rich.console import Console  # noqa: E402
from rich.table import Table  # noqa: E402
from serving import Served, serving  # noqa: E402

from sweep.results import Trial  # noqa: E402
from sweep.search.records import load_study_record  # noqa: E402
from sweep.search.storage import open_storage, single_writer  # noqa: E402

BIG = 10_000
"""Trials of the study whose front is read and whose page is opened."""
VIEWERS = 200
READERS = 5
READS_A_SECOND = 20
WATCHED_TRIALS = 1200
COMPARED_TRIALS = 400
TURNS = 3
"""Launches with viewers and as many without."""
KILLS = 20
KILLED_TRIALS = 1600
REQUESTS = 5_000
EXAMPLES = 240
"""Of requests to each operation that takes any parameter."""
VISITS = 5

NO_LIMIT = ("--rate", "100000")


def main() -> None:
    """Run the parts that are named on the command line."""
    parts: dict[str, Callable[[], Iterator[Table]]] = {
        "fuzz": fuzz,
        "viewers": viewers,
        "kills": kills,
        "paint": paint,
    }
    names = sys.argv[1:] or list(parts)
    if wrong := [name for name in names if name not in parts]:
        sys.exit(f"no part {', '.join(wrong)}; there are {', '.join(parts)}")
    for name in names:
        for table in parts[name]():
            Console(width=100).print(table)


def table_of(title: str, rows: dict[str, Any]) -> Table:
    """A table of names and values."""
    table = Table(title=title, title_justify="left", show_header=False)
    table.add_column(style="bold")
    table.add_column(justify="right")
    for name, value in rows.items():
        table.add_row(name, f"{value:,}" if isinstance(value, int) else str(value))
    return table


# The service ------------------------------------------------------------------------------------


@cache
def big_store() -> bytes:
    """An SQLite store with the study `small` of 10,000 trials, as the bytes of its file."""
    with tempfile.TemporaryDirectory() as folder:
        storage = open_storage(f"sqlite:///{folder}/sweep.db")
        with single_writer(storage, "small"):
            write_big_study(storage, BIG)
        return Path(folder, "sweep.db").read_bytes()


@contextmanager
def service(store: bytes | None = None) -> Iterator[Served]:
    """A service on a store of its own, which has what `store` has."""
    with tempfile.TemporaryDirectory() as folder:
        if store is not None:
            Path(folder, "sweep.db").write_bytes(store)
        with serving(Path(folder), *NO_LIMIT) as served:
            yield served


def launch(served: Served, name: str, trials: int) -> None:
    """Launch a study whose trials take a fraction of a second."""
    changed = [f"name={name}", f"budget.trials={trials}", "budget.replicates=0"]
    served.post("/studies", {"file": "long.toml", "overrides": changed}, 201)


# Fuzzed requests --------------------------------------------------------------------------------


def fuzz() -> Iterator[Table]:
    """Requests that schemathesis made, and what it found."""
    import test_schema

    examples, began = EXAMPLES, time.monotonic()
    with service() as served:
        small = served.folder / "studies" / "small.toml"
        text = small.read_text().replace("trials = 6", "trials = 3")
        small.write_text(text)  # whatever is launched ends soon
        (small.parent / "long.toml").write_text(text.replace('"small"', '"long"'))
        served.post("/studies", {"file": "small.toml"}, 201)
        served.await_state("small", "complete")
        try:
            requests, said = test_schema.fuzz(served.url, served.folder, examples)
        except AssertionError as error:  # what schemathesis said
            said = str(error)
            print("\n".join(line[:200] for line in said.splitlines()))  # bodies may be long
            requests = int(re.findall(r"(\d+) generated", said)[-1])
        failures = re.search(r"(\d+) unique failures?", said)
        healthy = served.client.get("/healthz").status_code == 200
    yield table_of(
        "Fuzzed requests",
        {
            "examples of each operation": examples,
            "requests": requests,
            "enough requests": "yes" if requests >= REQUESTS else f"no, fewer than {REQUESTS:,}",
            "failures": failures[1] if failures else "none",
            "healthy afterwards": "yes" if healthy else "no",
            "seconds": round(time.monotonic() - began),
        },
    )


# Viewers ----------------------------------------------------------------------------------------


@dataclass
class Seen:
    """What a viewer was told."""

    numbers: list[int] = field(default_factory=list)  # of events
    trials: list[int] = field(default_factory=list)

    @property
    def gaps(self) -> int:
        """Events between the first and the last that did not come, or came out of turn."""
        return sum(b != a + 1 for a, b in zip(self.numbers, self.numbers[1:], strict=False))


async def view(port: int, study: str, trials: int) -> Seen:
    """Look at a study until it has so many trials.

    By HTTP/1.0 on a bare socket, so that 200 viewers take little of the cores that the study needs.
    """
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = f"GET /api/v1/studies/{study}/events HTTP/1.0\r\nHost: 127.0.0.1:{port}\r\n\r\n"
    writer.write(head.encode())
    status = await reader.readline()
    assert b" 200 " in status, status
    seen, name = Seen(), ""
    while line := await reader.readline():
        key, _, value = line.decode().rstrip("\n").partition(": ")
        if key == "id":
            seen.numbers.append(int(value.partition("-")[2]))
        elif key == "event":
            name = value
        elif key == "data" and name == "trial":
            seen.trials.append(json.loads(value)["number"])
        elif key == "data" and name == "study" and json.loads(value)["done"] >= trials:
            break
    writer.close()
    return seen


async def view_many(port: int, study: str, trials: int) -> list[Seen]:
    """200 viewers at once."""
    return await asyncio.gather(*(view(port, study, trials) for _ in range(VIEWERS)))


async def read_front(url: str, until: asyncio.Event, took: list[float]) -> None:
    """Read the front of the big study again and again; notes seconds."""
    async with httpx.AsyncClient(base_url=url, timeout=60, trust_env=False) as client:
        due = time.monotonic() + random.random() * READERS / READS_A_SECOND
        while not until.is_set():
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            due += READERS / READS_A_SECOND
            began = time.monotonic()
            answer = await client.get("/api/v1/studies/small/front")
            took.append(time.monotonic() - began)
            assert answer.status_code == 200, answer.text


async def sample_memory(process: psutil.Process, until: asyncio.Event, mb: list[float]) -> None:
    """Note the resident set, in MB, every second."""
    while not until.is_set():
        mb.append(process.memory_info().rss / 1e6)
        await asyncio.sleep(1)


@dataclass
class Load:
    """What was measured while a study was watched and the front of another was read."""

    seen: list[Seen]
    front_seconds: list[float]
    mb: list[float]
    seconds: float


async def watch_and_read(served: Served, study: str, trials: int) -> Load:
    """Viewers, readers and the memory of the service, until the study is done."""
    over, took, mb = asyncio.Event(), list[float](), list[float]()
    began = time.monotonic()
    others = [read_front(served.url, over, took) for _ in range(READERS)]
    others.append(sample_memory(psutil.Process(served.process.pid), over, mb))
    tasks = [asyncio.create_task(one) for one in others]
    seen = await view_many(served.port, study, trials)
    over.set()
    await asyncio.gather(*tasks)
    return Load(seen, took, mb, time.monotonic() - began)


def cpu_seconds(process: psutil.Process) -> float:
    """CPU time that a process has taken."""
    times = process.cpu_times()
    return float(times.user + times.system)


def finished(trial: Trial) -> float:
    """When a trial ended, in seconds since 1970."""
    assert trial.finished is not None
    return trial.finished.timestamp()


def speed(served: Served, study: str) -> float:
    """Trials a second of a complete study, without its beginning."""
    ends = sorted(map(finished, load_study_record(served.storage, study).complete))
    return (len(ends) - 1) / (ends[-1] - ends[0])


def await_child(served: Served) -> psutil.Process:
    """The process of a launch, once there is one."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if (child := served.child()) is not None:
            return psutil.Process(child)
        time.sleep(0.2)
    raise AssertionError("no study runs")


@contextmanager
def out_of_the_way() -> Iterator[None]:
    """The lowest priority for this process: viewers elsewhere take no time of this machine."""
    before = os.getpriority(os.PRIO_PROCESS, 0)
    os.setpriority(os.PRIO_PROCESS, 0, 19)
    try:
        yield
    finally:
        with suppress(PermissionError):  # not everybody may raise it again
            os.setpriority(os.PRIO_PROCESS, 0, before)


def compared_speeds(served: Served) -> dict[str, list[float]]:
    """Trials a second without and with viewers, turn by turn."""
    speeds: dict[str, list[float]] = {"without": [], "with": []}
    for turn in range(TURNS):
        for kind, found in speeds.items():
            study = f"{kind}-{turn}"
            launch(served, study, COMPARED_TRIALS)
            child = await_child(served)
            if kind == "with":
                with out_of_the_way():
                    asyncio.run(view_many(served.port, study, COMPARED_TRIALS))
            child.wait(600)  # and nobody looks at it
            found.append(speed(served, study))
    return speeds


def viewers() -> Iterator[Table]:
    """Missed events, times of reading, memory, and slowdown."""
    own = psutil.Process()
    with service(big_store()) as served:
        before = cpu_seconds(own)
        speeds = compared_speeds(served)
        slow_cpu = cpu_seconds(own) - before
        without, with_viewers = (statistics.mean(speeds[kind]) for kind in ("without", "with"))
        yield table_of(
            f"Trials a second of a study of {COMPARED_TRIALS} trials, by {VIEWERS} viewers",
            {
                "without": ", ".join(f"{one:.2f}" for one in speeds["without"]),
                "with": ", ".join(f"{one:.2f}" for one in speeds["with"]),
                "slowdown": f"{100 * (1 - with_viewers / without):.1f} %",
                "CPU seconds of the viewers": f"{slow_cpu:.1f}",
            },
        )
        served.get("/studies/small/front")  # read and computed, once
        process = psutil.Process(served.process.pid)
        launch(served, "watched", WATCHED_TRIALS)
        before, service_before = cpu_seconds(own), cpu_seconds(process)
        load = asyncio.run(watch_and_read(served, "watched", WATCHED_TRIALS))
        load_cpu, service_cpu = cpu_seconds(own) - before, cpu_seconds(process) - service_before
        size = len(served.client.get("/api/v1/studies/small/front").content)
        told = [trial.number for trial in load_study_record(served.storage, "watched").complete]
    p50, p95 = (1000 * statistics.quantiles(load.front_seconds, n=20)[i] for i in (9, 18))
    mb = load.mb
    yield table_of(
        f"{VIEWERS} viewers of a running study, and readers of the front of {BIG:,} trials",
        {
            "seconds": f"{load.seconds:.0f}",
            "trials told to each viewer": len(load.seen[0].trials),
            "events of each viewer": len(load.seen[0].numbers),
            "events in all": sum(len(one.numbers) for one in load.seen),
            "viewers with a gap": sum(one.gaps > 0 for one in load.seen),
            "viewers that missed a trial": sum(sorted(o.trials) != told for o in load.seen),
            "readings of the front": len(load.front_seconds),
            "  a second": f"{len(load.front_seconds) / load.seconds:.1f}",
            "  kB of JSON": f"{size / 1000:.0f}",
            "  p50": f"{p50:.0f} ms",
            "  p95": f"{p95:.0f} ms",
            "  longest": f"{1000 * max(load.front_seconds):.0f} ms",
            "memory at the start": f"{mb[0]:.0f} MB",
            "  after 20 s": f"{mb[min(20, len(mb) - 1)]:.0f} MB",
            "  at the end": f"{mb[-1]:.0f} MB",
            "  most": f"{max(mb):.0f} MB",
            "CPU seconds of the load": f"{load_cpu:.1f}",
            "CPU seconds of the service": f"{service_cpu:.1f}",
        },
    )


# Kills ------------------------------------------------------------------------------------------


def kills() -> Iterator[Table]:
    """What a study has after 20 kills."""
    rng, counts, began = random.Random(1), Counter[str](), time.monotonic()
    with service() as served:
        launch(served, "storm", KILLED_TRIALS)
        served.await_study("storm", lambda found: found["done"] >= 2)
        while counts.total() < KILLS:
            time.sleep(rng.uniform(0, 2))
            kind = rng.choice(["web process", "child"])
            if kind == "child" and (child := served.child()) is not None:
                os.kill(child, signal.SIGKILL)
            else:  # a child that is only just being begun again is there a moment later
                kind = "web process"
                served.kill()
                served.restart()
            counts[kind] += 1
            seen = served.get("/studies/storm")["done"]
            assert seen < KILLED_TRIALS, f"over after {counts.total()} kills: ask for more trials"
            served.await_study("storm", lambda found, seen=seen: found["done"] > seen)
        served.await_state("storm", "complete", "failed", seconds=600)
        record = load_study_record(served.storage, "storm")
    weights = Counter(trial.weights for trial in record.complete if trial.reference is None)
    states = Counter(trial.state for trial in record.trials)
    yield table_of(
        f"{KILLS} kills of the service and of its child",
        {
            "kills of the web process": counts["web process"],
            "kills of the study's child": counts["child"],
            "trials asked": KILLED_TRIALS,
            "trials complete": states["complete"],
            "trials cut short": sum(states.values()) - states["complete"],
            "repeated weights": sum(count - 1 for count in weights.values()),
            "seconds": round(time.monotonic() - began),
        },
    )


# The page ---------------------------------------------------------------------------------------

FIRST_PAINT = """
performance.getEntriesByName("first-contentful-paint").map(one => one.startTime)[0] ?? null
"""
DRAWN = """
document.querySelector("#front-plot .scatterlayer .point") ? performance.now() : null
"""


@dataclass(frozen=True)
class Visit:
    """One visit of the page: milliseconds since it was asked for, kB transferred, requests."""

    first_paint: float
    drawn: float
    kb: float
    requests: int


def visit(browser: Any, url: str) -> Visit:
    """Open a page with empty caches, and wait until the front is drawn."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    network = context.new_cdp_session(page)
    network.send("Network.enable")
    kb, asked = [], []
    network.on("Network.loadingFinished", lambda e: kb.append(e["encodedDataLength"] / 1000))
    network.on("Network.requestWillBeSent", lambda e: asked.append(e["request"]["url"]))
    page.goto(url, wait_until="commit")
    drawn = poll(page, DRAWN)
    page.wait_for_timeout(1500)  # what comes after the front belongs to the page's weight too
    found = Visit(poll(page, FIRST_PAINT), drawn, sum(kb), len(asked))
    context.close()
    return found


def poll(page: Any, expression: str) -> float:
    """Evaluate until there is a value: the page's policy forbids `wait_for_function`."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if (value := page.evaluate(expression)) is not None:
            return float(value)
        page.wait_for_timeout(20)
    raise AssertionError(f"never: {expression}")


def paint() -> Iterator[Table]:
    """Times and sizes of the page of a study of 10,000 trials."""
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    assert chromium, "needs Chromium: apt-get install chromium"
    with service(big_store()) as served, sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium,
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
        )
        first = browser.new_page()  # the browser itself has begun by then
        first.goto(f"{served.url}/launch")
        first.close()
        visits = [visit(browser, f"{served.url}/studies/small") for _ in range(1 + VISITS)]
        browser.close()
    cold, warm = visits[0], visits[1:]
    yield table_of(
        f"The page of a study of {BIG:,} trials",
        {
            "first paint, nobody looked before": f"{cold.first_paint:,.0f} ms",
            "front drawn, nobody looked before": f"{cold.drawn:,.0f} ms",
            "first paint": spread([one.first_paint for one in warm]),
            "front drawn": spread([one.drawn for one in warm]),
            "page weight": f"{max(one.kb for one in visits):,.0f} kB",
            "requests": max(one.requests for one in visits),
        },
    )


def spread(milliseconds: list[float]) -> str:
    """The median and the longest."""
    return f"{statistics.median(milliseconds):,.0f} ms, at most {max(milliseconds):,.0f} ms"


if __name__ == "__main__":
    main()
