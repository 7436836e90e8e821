"""python -m rnncore: what this machine's array libraries really use, what holds them back, and what that costs."""

from __future__ import annotations

import argparse
import json

from rnncore import doctor


def main(arguments: list[str] | None = None) -> None:
    """Print the report, or JSON."""
    parser = argparse.ArgumentParser(prog="python -m rnncore", description=__doc__.partition(": ")[2])
    parser.add_argument("--json", action="store_true", help="print everything found as JSON")
    parser.add_argument("--rates", action="store_true", help="measure only, and print the rates as JSON")
    parser.add_argument("--seconds", type=float, default=1.0, help="how long to measure in all (%(default)s)")
    args = parser.parse_args(arguments)
    if not 0 < args.seconds <= 60:
        parser.error(f"--seconds: expected more than 0 and at most 60, got {args.seconds:g}")
    if args.rates:
        print(json.dumps(doctor.rates(args.seconds)))
        return
    facts = doctor.examine(args.seconds)
    print(json.dumps(facts, indent=1) if args.json else doctor.report(facts))


if __name__ == "__main__":
    main()
