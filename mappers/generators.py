"""What ``archsim`` is handed by this package: mappings that no file spells out."""

from __future__ import annotations

from typing import Final

from archsim.jobs.job import Generators

from .choices.choose import choose
from .einsum_by_einsum import einsum_by_einsum

GENERATORS: Final = Generators(make=einsum_by_einsum, choose=choose)
"""One Einsum after the other where nobody wrote a mapping; the cheapest of open choices."""
