"""The event engine: every tile on every array and channel, and its timeline."""
