"""What a bound mapping costs: accesses, footprint, energy, area, occupancy."""
