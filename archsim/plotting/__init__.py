"""Pictures of sweeps, results and comparisons by the kind of picture.

Modules that draw import matplotlib, those of frames pandas: load them only to draw.
"""
