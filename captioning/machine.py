"""What a figure was measured by and on, as `rnncore.machine` has it: the captioner's records call it by this name."""

from rnncore.machine import command_line, describe_machine, usable_cores, versions

__all__ = ["command_line", "describe_machine", "usable_cores", "versions"]
