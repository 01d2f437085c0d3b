"""`python -m proxy` is the command `vestibule`."""

from .cli import main

main()
