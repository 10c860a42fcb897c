"""Local search and other strategies that try mappings one by one."""
