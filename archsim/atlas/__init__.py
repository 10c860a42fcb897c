"""Atlas: every cascade analysed and simulated, on one page."""
