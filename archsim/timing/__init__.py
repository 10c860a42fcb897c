"""When everything happens: tasks, dependencies, and the average step."""
