"""Files that are there as a whole or not at all: written beside their place, then moved there.

Whatever ends a process half-way (a full disk, Ctrl-C, a kill) leaves what was there before.
"""

from .folder import OutputFolder, Write, write_whole

__all__ = ["OutputFolder", "Write", "write_whole"]
