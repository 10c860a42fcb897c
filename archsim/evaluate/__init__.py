"""From a bound mapping to a result, by either engine."""
