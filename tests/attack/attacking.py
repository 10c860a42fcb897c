"""Run attacks at length and count what is mishandled: ``make attack`` (see ``--help``).

Mishandled is a traceback, an exit code of no meaning, a control character that comes out, words
on standard output beside a refusal, JSON that is none, numbers that are none or below zero, sums
that are not those of their parts, files that are left by halves, and work of more than 20 seconds.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections import Counter
from itertools import islice
from pathlib import Path

for place in (Path(__file__).parents[2], Path(__file__).parents[1] / "references"):
    if str(place) not in sys.path:
        sys.path.insert(0, str(place))

from kinds import KINDS, attacks  # noqa: E402
from met import mishandled  # noqa: E402
from properties import Point, broken  # noqa: E402


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
    parser.add_argument("--seconds", type=float, default=1e9, help="after which a kind ends")
    asked = parser.parse_args()
    os.environ["ARCHSIM_CACHE"] = ""
    bad = 0
    with tempfile.TemporaryDirectory() as folder:
        for kind in asked.kinds:
            found = tried = 0
            began, until = time.process_time(), time.monotonic() + asked.seconds
            for number, attack in islice(attacks(kind, asked.seed, asked.first), asked.number):
                if what := mishandled(attack, Path(folder)):
                    found += 1
                    _tell(f"--- {kind} {number}: {' '.join(attack.words)!r}", what)
                tried += 1
                if time.monotonic() > until:
                    break
            took = f"{time.process_time() - began:.0f} s"
            first = f"from number {asked.first}, seed {asked.seed}"
            _tell(f"{kind}: {found} of {tried} mishandled, {first}, {took}")
            bad += found
    _points(asked.seed, asked.points)
    return 1 if bad else 0


def _points(seed: int, number: int) -> None:
    """Tell where a property does not hold; docs/maintainers/engine.md says which may not."""
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
