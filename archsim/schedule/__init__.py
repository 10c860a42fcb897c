"""The step program: tasks, dependencies, and the order in which they are issued."""
