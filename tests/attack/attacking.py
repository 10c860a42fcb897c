"""Run attacks at length and count what is mishandled: ``make attack`` (see ``--help``).

Mishandled is a traceback, an exit code of no meaning, a control character that comes out, words
on standard output beside a refusal, JSON that is none, and work of more than half a minute.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
import time
import traceback
import unicodedata
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

for place in (Path(__file__).parents[2], Path(__file__).parents[1] / "references"):
    if str(place) not in sys.path:
        sys.path.insert(0, str(place))

from commands import run  # noqa: E402
from generators import KINDS, Attack, attacks  # noqa: E402
from properties import Point, broken  # noqa: E402

_MOST_S = 30


class TooLongError(BaseException):
    """The work has taken more than half a minute."""


@contextmanager
def _at_most(seconds: int) -> Iterator[None]:
    def stop(*_: object) -> None:
        raise TooLongError

    if not hasattr(signal, "setitimer"):
        yield
        return
    # Of the processor: what else runs on this machine is no fault of ours.
    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def mishandled(attack: Attack, folder: Path) -> str | None:
    """What is wrong with how an attack was met; None: nothing."""
    path = folder / f"hostile{attack.suffix}"
    if attack.content is not None:
        path.write_bytes(attack.content)
    words = [word.replace("FILE", str(path)) for word in attack.words]
    try:
        with _at_most(_MOST_S):
            result = run(*words)
    except TooLongError:
        return f"took more than {_MOST_S} s"
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        return "".join(traceback.format_exception(result.exception)[-4:])
    if result.exit_code not in (0, 1, 2, 3):
        return f"exit code {result.exit_code}"
    if result.exit_code in (2, 3) and (result.stdout or not result.stderr.strip()):
        return "a refusal that says something on stdout, or nothing"
    for c in result.stdout + result.stderr:
        if unicodedata.category(c) in ("Cc", "Cs") and c not in "\n\t":
            return f"U+{ord(c):04X} comes out"
    if "--json" in words and result.exit_code == 0 and "--help" not in words:
        try:
            json.loads(result.stdout, parse_constant=_no_number)
        except ValueError as wrong:
            return f"no JSON: {wrong}"
    return None


def _no_number(text: str) -> float:
    raise ValueError(f"{text} is no number of JSON")


def _tell(*lines: str) -> None:
    sys.stdout.write("\n".join(lines) + "\n")
    sys.stdout.flush()


def main() -> int:
    """Attack for a time, kind by kind; 1 if something was mishandled."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=int(time.time()) % 100_000)
    parser.add_argument("--number", type=int, default=2500, help="attacks of each kind")
    parser.add_argument("--first", type=int, default=0, help="the number of the first one")
    parser.add_argument("--points", type=int, default=0, help="random points to test properties of")
    parser.add_argument("--kinds", nargs="*", default=list(KINDS))
    asked = parser.parse_args()
    os.environ["ARCHSIM_CACHE"] = ""
    bad = 0
    with tempfile.TemporaryDirectory() as folder:
        for kind in asked.kinds:
            found, began = 0, time.monotonic()
            for number, attack in attacks(kind, asked.seed, asked.first):
                if number >= asked.first + asked.number:
                    break
                if what := mishandled(attack, Path(folder)):
                    found += 1
                    _tell(f"--- {kind} {number}: {' '.join(attack.words)!r}", what)
            took = f"{time.monotonic() - began:.0f} s"
            _tell(f"{kind}: {found} of {asked.number} mishandled, seed {asked.seed}, {took}")
            bad += found
    _points(asked.seed, asked.points)
    return 1 if bad else 0


def _points(seed: int, number: int) -> None:
    """Tell where a property does not hold; docs/engine.md says which need not, and why."""
    counts: Counter[str] = Counter()
    for at in range(number):
        point = Point.drawn(seed, at)
        for name, ratio in broken(point):
            counts[name] += 1
            _tell(f"point {at}: {name} {ratio:.5f} {point}")
    if number:
        _tell(f"points: {dict(counts)} of {number} broken, seed {seed}")


if __name__ == "__main__":
    sys.exit(main())
