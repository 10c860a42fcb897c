"""How often everything is read, written and computed, and what that costs."""
