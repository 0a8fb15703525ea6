"""What a person sees in a terminal: tables, progress, the last line after Ctrl-C.

Results go to standard output, what is said on the way to standard error.
"""

from __future__ import annotations

import functools
import json
import shlex
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from sweep.config import Objective
    from sweep.search.study import Progress


def new_table(title: str, *columns: str) -> Table:
    """An empty table with these headings."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(
        title=title,
        title_justify="left",
        title_style="bold",
        caption_justify="left",
        box=SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        collapse_padding=True,
    )
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def fit(table: Table, width: int) -> int:
    """Set the columns' widths so that a line ends between words only; gives the width it takes."""
    least, most = [], []
    for column in table.columns:
        texts = [str(text) for text in (column.header, *column.cells)]
        least.append(max((len(word) for text in texts for word in text.split()), default=0))
        most.append(max(map(len, texts)))
    between = 2 * (len(least) - 1)
    spare = max(width - between - sum(least), 0)
    for column, short, long in zip(table.columns, least, most, strict=True):
        column.width = short + min(long - short, spare)
        spare -= column.width - short
    return between + sum(column.width or 0 for column in table.columns)


def print_table(table: Table) -> None:
    """Print a table with nothing cut, however narrow the terminal."""
    from rich.console import Console

    # Into a file or a pipe a table keeps its columns, however wide: nothing reads a folded one.
    page = Console() if sys.stdout.isatty() else Console(width=200)
    # A terminal that is too narrow for the words breaks lines itself: nothing is cut.
    page.width = max(page.width, fit(table, page.width))
    page.print(table)
    page.print()


@functools.cache
def console() -> Console:
    """The one console for people: what is said goes above the live line only if both share it."""
    from rich.console import Console

    return Console(stderr=True, highlight=False)


def say(message: str) -> None:
    """Tell a person something."""
    console().print(message, markup=False, soft_wrap=True)


def print_json(value: object) -> None:
    """Print strict JSON for programs."""
    typer.echo(json.dumps(value, indent=2, allow_nan=False, default=str))


class Stop:
    """Set by the first Ctrl-C (or SIGTERM) while trials run; else, and by the second, an interrupt.

    Without a trial that runs there is nothing to finish, so that an interrupt may come at once.
    """

    def __init__(self) -> None:
        self.trial_runs = False
        self._set = False
        self._interrupted = False

    def is_set(self) -> bool:
        """Whether to stop once what runs is recorded."""
        return self._set

    @contextmanager
    def on_signals(self) -> Iterator[None]:
        """Listen to both signals for a while."""

        def on_signal(number: int, frame: FrameType | None) -> None:
            del frame
            if not self.trial_runs or (self._set and number == signal.SIGINT):
                self._interrupted = True
                raise KeyboardInterrupt
            self._set = True
            say("Stopping when what is running is recorded; Ctrl-C again stops at once")

        numbers = (signal.SIGINT, signal.SIGTERM)
        before = {number: signal.signal(number, on_signal) for number in numbers}
        try:
            yield
        except Exception:
            # Compiled code that an interrupt hits may hand it on as an error of its own: NumPy
            # inside TensorFlow makes it a SystemError.
            if self._interrupted:
                raise KeyboardInterrupt from None
            raise
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


@contextmanager
def interruptible(stop: Stop) -> Iterator[None]:
    """End an interrupt with a last line and exit code 130; what is stored is whole at any time."""
    try:
        with stop.on_signals():
            yield
    except KeyboardInterrupt:
        say(f"Interrupted; nothing that was recorded is lost. To go on: {this_command()}")
        raise typer.Exit(130) from None


def this_command() -> str:
    """What was typed, to be typed again; passwords in URLs are masked."""
    return shlex.join(["sweep", *map(without_password, sys.argv[1:])])


def without_password(argument: str) -> str:
    """An argument of the command line as it may be shown."""
    if "://" not in argument:
        return argument
    from sweep.search.storage import store_name

    return store_name(argument)


@contextmanager
def progress_line(
    objectives: tuple[Objective, ...],
) -> Iterator[Callable[[Progress], None]]:
    """A live bar and line on a terminal; elsewhere a plain line after every trial."""
    from rich.console import Group
    from rich.live import Live
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
    from rich.progress import Progress as Bar

    def pace(progress: Progress) -> str:
        left = _duration(progress.seconds_left) if progress.seconds_left is not None else "?"
        return f"{left} left · {progress.failed} failed"

    def best(progress: Progress) -> str:
        values = ", ".join(
            f"{objective.metric} {progress.best[objective.metric]:.4f}"
            for objective in objectives
            if objective.metric in progress.best
        )
        return (
            f"best of each, by one seed: {values or '–'} · hypervolume {progress.hypervolume:.4f}"
        )

    if not console().is_terminal:

        def on_plain(progress: Progress) -> None:
            total = f"/{progress.total}" if progress.total else ""
            doing = progress.doing.removesuffix("s")
            say(f"{doing} {progress.done}{total} · {pace(progress)} · {best(progress)}")

        yield on_plain
        return
    bar = Bar(
        TextColumn("{task.fields[doing]}"),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TextColumn("{task.description}"),
    )
    task = bar.add_task("", total=None, doing="trials")
    with Live(console=console()) as live:

        def on_live(progress: Progress) -> None:
            bar.update(
                task,
                completed=progress.done,
                total=progress.total,
                description=pace(progress),
                doing=progress.doing,
            )
            live.update(Group(bar, best(progress)))

        yield on_live


@contextmanager
def counting(what: str) -> Iterator[Callable[[int, int], None]]:
    """A bar on a terminal; elsewhere a line after each."""
    from rich.progress import Progress as Bar

    if not console().is_terminal:
        yield lambda done, total: say(f"{what} {done}/{total}")
        return
    with Bar(console=console(), transient=True) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d} min" if minutes else f"{rest} s"
