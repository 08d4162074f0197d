"""The command line, one file per command: parse, call, print; nothing else."""

from typing import NoReturn

from prunekit.cli.signals import Terminated, raising_signals


def main() -> NoReturn:
    """Run the command line and exit: 0 good, 1 a claim or check failed, 2 bad input, 130 interrupted.

    128 + N where the signal N ended it: SIGTERM or SIGHUP.
    """
    with raising_signals() as signals:
        try:
            from prunekit.cli.app import run  # here, where its end by a signal is in order already

            signals.check()
            run(signals)
        except (KeyboardInterrupt, Terminated) as error:
            from prunekit.cli.ending import ended_by, fail, number_of

            fail(*ended_by(number_of(error)))


__all__ = ["main"]
