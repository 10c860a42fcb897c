"""The atlas: every cascade analysed and simulated, on one page."""
