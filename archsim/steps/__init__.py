"""Steps of a run, exactly, as run lengths of step classes."""
