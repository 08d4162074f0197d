"""Every error that prunekit raises on purpose.

The tree::

    PrunekitError
    ├── InputError            something the caller gave is wrong: one line, the culprit and the fix
    │   ├── ArtifactError     a file that cannot be read as a model
    │   ├── UnusableEnvironmentError an environment that cannot be made or used
    │   │   └── FailedEpisodeError   one that did not get to the end of an episode
    │   ├── CouplingError     a network whose units cannot be traced
    │   ├── EmptyGroupError   a request that would leave a group without units
    │   └── TooLargeError     a policy beyond what a device's compiler can address
    └── CheckError            a measured claim did not hold; nothing is written
        └── ExportMismatchError
"""

from __future__ import annotations


class PrunekitError(Exception):
    """Base of all errors raised on purpose; its text is one line that names the culprit and the fix."""


class InputError(PrunekitError):
    """Something the caller gave cannot be used; the command line exits with 2."""


class ArtifactError(InputError):
    """A file cannot be read as a policy."""


class UnusableEnvironmentError(InputError):
    """An environment is unknown, lacks its packages, or has spaces that are not supported."""


class FailedEpisodeError(UnusableEnvironmentError):
    """An environment failed in an episode, gave a reward that is not finite, or never ended the episode."""


class CouplingError(InputError):
    """A network contains something whose effect on units is not known; the text names the module or node."""


class EmptyGroupError(InputError):
    """A request would leave a group with fewer living units than allowed."""


class TooLargeError(InputError):
    """A policy has constants beyond what the compiler of a device can address."""


class CheckError(PrunekitError):
    """A measured claim did not hold; the command line exits with 1."""


class ExportMismatchError(CheckError):
    """An exported program disagrees with the policy that it was made from; it was not written."""
