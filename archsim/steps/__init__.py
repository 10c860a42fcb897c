"""What every step of a run does, exactly, as run lengths of step classes."""
