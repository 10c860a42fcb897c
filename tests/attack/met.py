"""How an attack is met: what is wrong with that, if anything is."""

from __future__ import annotations

import random
import shutil
import signal
import traceback
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from commands import run
from generators import Attack
from sums import wrong

MOST_S = 20
MOST_WALL_S = 600
"""Of a clock on the wall, for what waits; other work on this machine takes its share."""

_SWEEP = """\
sweep:
  name: small
  workload: bert-base
  architecture: fusemax
  set: {batch: 1}
  axes: {seq_len: [32, 64], architecture.clock: [1 GHz, 2 GHz]}
  where: ["latency_s <= 10 us"]
"""
_SMALL = ("--set", "seq_len=64", "--set", "batch=1")
_MADE = ("SWEPT", "SIMULATED", "COMPARED")


class TooLongError(BaseException):
    """The work has taken longer than anything may."""


@contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """Raise when work takes longer, of the processor: what else runs is no fault of ours."""

    def stop(*_: object) -> None:
        raise TooLongError

    if not hasattr(signal, "setitimer"):
        yield
        return
    timers = ((signal.ITIMER_PROF, signal.SIGPROF, seconds),)
    timers += ((signal.ITIMER_REAL, signal.SIGALRM, MOST_WALL_S),)
    before = [signal.signal(sign, stop) for _, sign, _ in timers]
    for timer, _, least in timers:
        signal.setitimer(timer, least)
    try:
        yield
    finally:
        for (timer, sign, _), handler in zip(timers, before, strict=True):
            signal.setitimer(timer, 0)
            signal.signal(sign, handler)


def mishandled(attack: Attack, folder: Path) -> str | None:
    """What is wrong with how an attack was met; None: nothing."""
    words = placed(attack, folder)
    try:
        with at_most(MOST_S):
            result = run(*words)
    except TooLongError:
        return f"took more than {MOST_S} s"
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
        return wrong(result.stdout) or _left(folder, 0)
    return _left(folder, result.exit_code)


def placed(attack: Attack, folder: Path) -> list[str]:
    """The words of an attack, its files written."""
    for path in [p for p in folder.glob("*") if p.name != "made"]:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    main, other = folder / f"hostile{attack.suffix}", folder / "other.yaml"
    content = attack.content
    if content is not None:
        main.write_bytes(content.replace(b"BESIDE", str(other).encode()))
    if attack.beside is not None:
        other.write_bytes(attack.beside)
    names = {"FILE": str(main), "BESIDE": str(other), "OUT": str(folder / "out")}
    for name in _MADE:
        if name in attack.words:
            names[name] = str(_broken(attack, _results(folder / "made", name), folder / "copied"))
    return [_with(word, names) for word in attack.words]


def _with(word: str, names: dict[str, str]) -> str:
    for name, path in names.items():
        word = word.replace(name, path)
    return word


def _results(made: Path, name: str) -> Path:
    """A folder of results, made once."""
    place = made / name
    if not place.exists():
        made.mkdir(exist_ok=True)
        (made / "sweep.yaml").write_text(_SWEEP, encoding="utf-8")
        words = {
            "SWEPT": ("sweep", str(made / "sweep.yaml"), "--workers", "1"),
            "SIMULATED": ("simulate", "bert-base", "fusemax", *_SMALL),
            "COMPARED": ("compare", "bert-base", "fusemax", "flat", *_SMALL),
        }[name]
        found = run(*words, "--out", str(place))
        assert found.exit_code == 0, found.output
    return place


def _broken(attack: Attack, made: Path, copied: Path) -> Path:
    """A copy of a folder of results, in which one file is broken."""
    shutil.copytree(made, copied)
    if attack.broken is None or attack.content is None:
        return copied
    draw = random.Random(attack.content)
    victim = draw.choice(sorted(p for p in copied.iterdir() if p.suffix not in (".png", ".svg")))
    data = victim.read_bytes()
    at = draw.randrange(len(data) + 1)
    if attack.broken == "gone":
        victim.unlink()
        return copied
    number = draw.choice((b"NaN", b"-1", b"1e400", b'""', b"null", b"x", b"[]"))
    word = next((i for i in range(at, len(data)) if data[i : i + 1].isdigit()), at)
    victim.write_bytes(
        {
            "cut": data[:at],
            "noise": data[:at] + attack.content + data[at + 8 :],
            "number": data[:word] + number + data[word:].lstrip(b"0123456789.e+-"),
            "word": data[:at] + number + data[at:],
            "empty": b"",
        }[attack.broken]
    )
    return copied


def _left(folder: Path, code: int) -> str | None:
    """What is wrong with the files that were written: half of them, or none that can be read."""
    out = folder / "out"
    for path in [*folder.glob("out.*"), *(out.glob("*") if out.is_dir() else ())]:
        if path.name.startswith(".") or path.suffix not in (".json", ".png", ".svg", ".yaml"):
            continue
        if code not in (0, 1):
            return f"{path.name} is there after a refusal"
        if not path.stat().st_size:
            return f"{path.name} is empty"
        if path.suffix == ".json" and (found := wrong(path.read_text(encoding="utf-8"))):
            return f"{path.name}: {found}"
    hidden = [p.name for p in folder.glob(".*")]
    return f"{hidden} are left" if hidden else None
