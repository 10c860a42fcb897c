"""Views: loop nests, dumps of stages, timelines, analyses, and charts of sweeps and results."""
