"""From a mapping to loops: tiles, what they address, what may be left out, and legality."""
