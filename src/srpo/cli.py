"""The command line. Every error a user can make ends in one sentence and a non-zero exit status."""

import importlib
import os
import sys

from srpo import __version__
from srpo.visible import visible

COMMANDS = {
    "train": ("srpo.commands.train", "train a vision-language model with SRPO (or GRPO: --credit uniform)"),
    "compare": ("srpo.commands.compare", "methods against one another: seeds, one table, one figure"),
    "eval": ("srpo.commands.eval", "replies, scores with intervals, and an audit of what answers rest on"),
    "credit": ("srpo.commands.credit", "is a token credit any good here? gradient alignment, without training"),
    "inspect": ("srpo.commands.inspect", "what would be reinforced here? replies to one question, token by token"),
    "report": ("srpo.commands.report", "runs as one HTML page: curves, every token's credit, audit, comparison"),
    "data": ("srpo.commands.data", "check a data set: what is in it, and every bad row with its remedy"),
    "rewards": ("srpo.commands.rewards", "explain why a reply got its rewards"),
    "warmup": ("srpo.commands.warmup", "teach a model the response format before training"),
}
USAGE = (
    "usage: srpo COMMAND [OPTIONS]\n\ncommands:\n"
    + "".join(f"  {name:8} {text}\n" for name, (_, text) in COMMANDS.items())
    + "\n  srpo COMMAND --help lists the options; srpo --version prints the version.\n"
    "  srpo train with no options trains the built-in tiny model on the built-in visual world.\n"
)


class UsageError(ValueError):
    """A mistake in the call, told to the user in one sentence."""


def main(arguments: list[str] | None = None) -> int:
    """Run a command; returns the exit status: 0 done, 1 failed while running, 2 refused before it began.

    Set SRPO_DEBUG=1 for the traceback of a refusal.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        sys.stdout.write(USAGE)
        return 0 if arguments else 2
    if arguments[0] == "--version":
        sys.stdout.write(f"srpo {__version__}\n")
        return 0
    name, *rest = arguments
    try:
        if name not in COMMANDS:
            raise UsageError(f"unknown command {name!r}; the commands are {', '.join(COMMANDS)}")
        return importlib.import_module(COMMANDS[name][0]).main(rest)
    except UsageError as error:
        if os.environ.get("SRPO_DEBUG"):
            raise
        sys.stderr.write(f"srpo: error: {visible(str(error))}\n")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write("\nsrpo: interrupted; what was written so far is kept\n")
        return 130


if __name__ == "__main__":  # the imported module, because a command's UsageError is not that of __main__
    sys.exit(importlib.import_module("srpo.cli").main())
