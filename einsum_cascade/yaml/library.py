"""Sources of specifications: built-in files by name, users' files, and references between files."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache, lru_cache
from hashlib import sha256
from importlib.resources import files
from pathlib import Path
from typing import Literal, NamedTuple, get_args

from ..errors import InputError, SpecError, did_you_mean, nearest
from ..source import Source, Span
from .edit import Setting, SettingSpan, apply_settings, merged
from .source import MAX_CHARACTERS, YamlNode, YamlScalar, read_yaml, shorten

Kind = Literal[
    "cascades",
    "architectures",
    "operations",
    "mappings",
    "workloads",
    "technology",
    "reproductions",
]

EXTENDS = "extends"
"""Field that names the specification from which another one takes what it does not state."""

_SUFFIX = ".yaml"

_MAX_LISTED_NAMES = 20
"""Maximum number of known names that a message lists."""


@lru_cache(maxsize=16)
def builtin_names(kind: Kind) -> tuple[str, ...]:
    """Return the names of the built-in specifications of a kind, sorted.

    Parameters
    ----------
    kind : str
        Folder of ``specs`` with the files.

    >>> [n for n in builtin_names("cascades") if n.startswith("ssd-")]
    ['ssd-chunked', 'ssd-chunked-prefill', 'ssd-chunked-resumed', 'ssd-recurrent', 'ssd-step']
    """
    folder = files("specs").joinpath(kind)
    if not folder.is_dir():
        return ()
    names = (entry.name for entry in folder.iterdir() if entry.is_file())
    return tuple(sorted(n.removesuffix(_SUFFIX) for n in names if n.endswith(_SUFFIX)))


def builtin_source(kind: Kind, name: str, error: type[InputError] = SpecError) -> Source:
    """Return the text of a built-in specification, under the name ``specs/kind/name.yaml``.

    Raises
    ------
    InputError
        (as ``error``) There is no such specification; the message names the nearest.

    Parameters
    ----------
    kind : str
        Folder of ``specs`` with the file.
    name : str
        Name without suffix.
    error : type of InputError, optional
        Error class for a wrong name.
    """
    if name not in builtin_names(kind):
        raise error(f"{no_builtin(kind, name)}; {builtin_hint(kind, name)}")
    return _builtin(kind, name)


def no_builtin(kind: Kind, name: str) -> str:
    """Return a message that no built-in specification of a kind has this name."""
    return f"there is no built-in {_kind_word(kind)} '{shorten(name)}'"


def builtin_hint(kind: Kind, name: str) -> str:
    """Return a hint for a wrong name of a built-in specification.

    The hint gives the nearest name, the other kind that has this name, or the command that lists
    names.
    """
    names = builtin_names(kind)
    others = [_kind_word(k) for k in get_args(Kind) if k != kind and name in builtin_names(k)]
    meant = similar_builtins(kind, name)
    if not others and nearest(name, meant) is not None:
        return did_you_mean(name, meant)
    if not others and len(names) <= _MAX_LISTED_NAMES:
        return f"known: {', '.join(sorted(names))}"
    listed = "technologies" if kind == "technology" else kind
    where = f"'archsim list {listed}' names all {len(names)}"
    if not others:
        return where
    if kind == "workloads" and others[0] == "cascade":
        where = cascade_setting(name)
    return f"that is the name of {'an' if others[0][0] in 'aeiou' else 'a'} {others[0]}; {where}"


def cascade_setting(name: str) -> str:
    """Return a hint for a user who gives a cascade in place of a workload, which supplies shapes.

    Parameters
    ----------
    name : str
        Name of the cascade, or its file.
    """
    return f"name a workload for its shapes, and set its cascade: --set cascade={name}"


def similar_builtins(kind: Kind, name: str) -> tuple[str, ...]:
    """Return the built-in names that a user may mean by a wrong name.

    The numbers of a model must agree: ``qwen3-30b`` may mean ``qwen3-30b-a3b``, and never
    ``qwen3-8b``.

    Parameters
    ----------
    kind : str
        Folder of the built-in files.
    name : str
        Name as written.
    """
    names = builtin_names(kind)
    if kind != "workloads":
        return names
    numbers = _numbers(name)
    return tuple(n for n in names if _numbers(n)[: len(numbers)] == numbers)


def _numbers(name: str) -> list[str]:
    return re.findall(r"\d+", name)


def _kind_word(kind: Kind) -> str:
    if kind == "operations":
        return "set of operations"
    return "technology" if kind == "technology" else kind.removesuffix("s")


@lru_cache(maxsize=256)
def _builtin(kind: Kind, name: str) -> Source:
    entry = files("specs").joinpath(kind, name + _SUFFIX)
    return Source(f"specs/{kind}/{name}{_SUFFIX}", entry.read_text(encoding="utf-8"))


def is_file_name(name: str) -> bool:
    """Return whether a user's text names a file: it has a slash or a YAML/JSON suffix.

    The file need not exist.

    >>> is_file_name("mine.yaml"), is_file_name("./mine"), is_file_name("attention-1pass")
    (True, True, False)
    """
    return "/" in name or "\\" in name or name.lower().endswith((".yaml", ".yml", ".json"))


def file_exists(path: Path) -> bool:
    """Return whether a file exists; False for a path that no system accepts."""
    return _accepted(path.is_file)


def folder_exists(path: Path) -> bool:
    """Return whether a folder exists; False for a path that no system accepts."""
    return _accepted(path.is_dir)


def _accepted(check: Callable[[], bool]) -> bool:
    try:
        return check()
    except (OSError, ValueError):
        return False


class FileText(NamedTuple):
    """Text of a file, or the reason why it cannot be read."""

    text: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Sources:
    """Texts of all files that a specification names, and that these files name in turn.

    Each file is read once. Within ``reading_from`` no file is opened any more.
    """

    files: Mapping[str, FileText]
    """Files by path."""
    hashes: Mapping[str, str]
    """Hashes (sha256) of the texts by name, relative to the specification; one of all built-in
    specifications together."""

    @classmethod
    def named_in(cls, source: Source) -> Sources:
        """Read the files that a text names, in whatever field.

        Parameters
        ----------
        source : Source
            Text of a specification.
        """
        found: dict[str, FileText] = {}
        hashes = {"built-in specifications": _builtin_hash()}
        # Several paths may lead to one file.
        read_once = cache(_read)
        waiting = [(source, Path())]
        while waiting:
            naming, folder = waiting.pop()
            for value in _file_names(naming):
                path = _referenced_path(value.text, value.span)
                if str(path) in found or not file_exists(path):
                    continue
                found[str(path)] = file = read_once(os.path.realpath(path))
                name = folder / value.text
                hashes |= {} if file.reason else {str(name): sha256(file.text.encode()).hexdigest()}
                waiting.append((Source(str(path), file.text), name.parent))
        return cls(found, hashes)


@cache
def _builtin_hash() -> str:
    """Return the hash of all built-in specifications: each may be a default of the others."""
    found = sha256()
    for kind in get_args(Kind):
        for name in builtin_names(kind):
            found.update(f"{kind}/{name}\n".encode())
            found.update(files("specs").joinpath(kind, name + _SUFFIX).read_bytes())
    return found.hexdigest()


@dataclass(frozen=True, slots=True)
class _Reading:
    """Sources in use, and the paths of files that were asked for and could not be read."""

    sources: Sources
    missing: list[str]

    def exists(self, path: Path) -> bool:
        """Return whether a file was there when the sources were read."""
        if str(path) in self.sources.files:
            return True
        self.missing.append(str(path))
        return False

    def file(self, name: str) -> FileText:
        """Return a file as it was when the sources were read."""
        path = str(Path(name))
        found = self.sources.files.get(path, FileText("", "no such file or directory"))
        if found.reason:
            self.missing.append(path)
        return found


_READING: ContextVar[_Reading | None] = ContextVar("reading", default=None)


@contextmanager
def reading_from(sources: Sources) -> Iterator[list[str]]:
    """Take all texts of files from sources inside the block, and open no file.

    Yields
    ------
    list of str
        Paths of the files that were asked for so far and could not be read.
    """
    reading = _Reading(sources, [])
    token = _READING.set(reading)
    try:
        yield reading.missing
    finally:
        _READING.reset(token)


def _file_names(source: Source) -> Iterator[YamlScalar]:
    """Yield the values of a specification that may name files; none if it is not YAML."""
    waiting: list[YamlNode] = []
    with suppress(SpecError):
        waiting.append(text_tree(source))
    while waiting:
        node = waiting.pop()
        if isinstance(node, YamlScalar) and is_file_name(node.text):
            yield node
        waiting += node.children


def read_source(path: str | os.PathLike[str], error: type[InputError] = SpecError) -> Source:
    """Return the text of a user's file.

    Raises
    ------
    InputError
        (as ``error``) The file cannot be read, is too large, or is not UTF-8 text.
    """
    name, reading = os.fspath(path), _READING.get()
    file = _read(name) if reading is None else reading.file(name)
    if file.reason:
        raise error(f"{name}: {file.reason}")
    return Source(name, file.text)


def _read(name: str) -> FileText:
    try:
        # Reading one byte more than allowed detects endless files too.
        with open(name, "rb", opener=_without_waiting) as file:
            data = file.read(MAX_CHARACTERS + 1)
    except OSError as wrong:
        reason = wrong.strerror or "cannot be read"
        return FileText("", f"{reason[0].lower()}{reason[1:]}")
    except ValueError:
        return FileText("", "cannot be a file name")
    if len(data) > MAX_CHARACTERS:
        return FileText("", f"more than {MAX_CHARACTERS} bytes are too many for a specification")
    try:
        return FileText(data.decode("utf-8-sig"))
    except UnicodeDecodeError:
        return FileText("", "the file is not UTF-8 text")


def _without_waiting(path: str, flags: int) -> int:
    """Open a file; a pipe that nobody writes to is empty."""
    # A pipe whose writer exists is read to its end.
    found = os.open(path, flags | getattr(os, "O_NONBLOCK", 0))
    if hasattr(os, "O_NONBLOCK"):
        os.set_blocking(found, True)
    return found


def spec_tree(
    kind: Kind,
    name: str | os.PathLike[str],
    settings: Iterable[Setting] = (),
    error: type[InputError] = SpecError,
) -> YamlNode:
    """Return the YAML tree of a built-in specification or a file, with settings applied.

    What the specification extends is added after that.

    Parameters
    ----------
    kind : str
        Folder of the built-in files.
    name : str or path
        A path object, or a text with a slash or a ``.yaml``/``.json`` suffix, is a file; any other
        text is a built-in name.
    settings : iterable of Setting
        Settings relative to the root of the file.

    Raises
    ------
    InputError
        (as ``error``) There is no such file, it is not YAML, or a setting has no place in it.
    """
    root = apply_settings(_file_tree(kind, name, error), settings, error)
    return _extended(name, root, error) if kind == "architectures" else root


def _file_tree(kind: Kind, name: str | os.PathLike[str], error: type[InputError]) -> YamlNode:
    """Return the YAML tree of a single file."""
    if isinstance(name, str) and not is_file_name(name):
        source = builtin_source(kind, name, error)
    else:
        source = read_source(name, error)
    try:
        return text_tree(source)
    except SpecError as wrong:
        raise error(wrong.problems) from None


def _extended(name: str | os.PathLike[str], root: YamlNode, error: type[InputError]) -> YamlNode:
    """Return the tree of a machine completed by the machine that it extends, and so on."""
    chain = {_identity(name): root}
    while (reference := root.at(("architecture", EXTENDS))) is not None:
        if not isinstance(reference, YamlScalar) or not isinstance(reference.value, str):
            text = f"{EXTENDS}: expected an architecture or a file, got {reference.kind}"
            raise error(text, reference.span)
        base = resolve_reference("architectures", reference.text, reference.span, error)
        if _identity(base) in chain:
            ways = " -> ".join([*chain, _identity(base)])
            raise error(f"'{reference.text}' extends itself", reference.span, ways)
        root = _file_tree("architectures", base, error)
        if root.at(("architecture",)) is None:
            text = f"'{reference.text}' has no section 'architecture:' that could be extended"
            raise error(text, reference.span)
        chain[_identity(base)] = root
    *others, found = chain.values()
    for own in reversed(others):
        found = merged(found, own, error)
    return found


def _identity(name: str | os.PathLike[str]) -> str:
    """Return a text that two names share if they mean the same specification."""
    if isinstance(name, str) and not is_file_name(name):
        return name
    return os.path.realpath(name)


@lru_cache(maxsize=32)
def text_tree(source: Source) -> YamlNode:
    """Return the YAML tree of a text; cached, because a text is read repeatedly."""
    return read_yaml(source)


def resolve_reference(
    kind: Kind, name: str, span: Span, error: type[InputError] = SpecError
) -> str:
    """Return the built-in name or the file path that a reference at ``span`` means.

    A path is relative to the file that contains it; in a setting, to the working directory.

    Raises
    ------
    InputError
        (as ``error``) There is no such specification; the hint names the nearest built-in one.

    Parameters
    ----------
    kind : str
        Folder of the built-in files.
    name : str
        Built-in name, or name of a file.
    span : Span
        Span of the reference, in a file or in a setting.
    error : type of InputError, optional
        Error class for a wrong name.

    Returns
    -------
    str
        Name for ``spec_tree``.
    """
    if is_file_name(name):
        found = str(referenced_file(name, span, error))
        return found if is_file_name(found) else f"./{found}"
    if name not in builtin_names(kind):
        raise error(no_builtin(kind, name), span, builtin_hint(kind, name))
    return name


def referenced_file(name: str, span: Span, error: type[InputError] = SpecError) -> Path:
    """Return the path of a file that a reference at ``span`` names.

    A path is relative to the file that contains it; in a setting, to the working directory.

    Raises
    ------
    InputError
        (as ``error``) There is no such file.
    """
    path, reading = _referenced_path(name, span), _READING.get()
    if not (file_exists(path) if reading is None else reading.exists(path)):
        raise error(f"there is no file '{path}'", span)
    if not is_file_name(name):
        text = f"'{name}' is no name of a file, which has a slash or ends in .yaml or .json"
        raise error(text, span, f"./{name}")
    return path


def _referenced_path(name: str, span: Span) -> Path:
    return (Path() if isinstance(span, SettingSpan) else Path(span.source.name).parent) / name
