"""Engine: event simulation of a bound mapping's steps, and the result assembled from it."""
