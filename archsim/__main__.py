"""``python -m archsim``."""

from .cli import main

main()
