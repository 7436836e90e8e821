"""python -m encoders"""

from encoders.cli import main

main()
