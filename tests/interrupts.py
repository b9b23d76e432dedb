"""Interrupts for processes that tests start."""

import signal


def heed_interrupts():
    """In a new process: what a shell puts in the background starts deaf to SIGINT, and its children inherit that."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
