"""Views: loop nests, stage dumps, timelines, analyses, and charts of sweeps and results."""
