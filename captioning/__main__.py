"""`python -m captioning` is the command `captioning`."""

from captioning.cli import main

main()
