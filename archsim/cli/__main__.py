"""Entry point of ``python -m archsim.cli``."""

from . import main

main()
