"""Statistics of returns (docs/statistics.md): anytime-valid bounds, and certificates.

The names below are public and stable. Every bound is one-sided and takes episodes in their order. The probability that
it is ever wrong is at most ``alpha``, for every distribution of returns and every rule of when to stop.
"""

from prunekit.stats.betting import Bettor as RetentionBettor
from prunekit.stats.betting import Paired
from prunekit.stats.betting import lower_bound as retention_lower_bound
from prunekit.stats.betting import upper_bound as retention_upper_bound
from prunekit.stats.bootstrap import interquartile_mean, iqm_interval, mean_interval
from prunekit.stats.certificate import Certificate, Verdict
from prunekit.stats.certify import Candidate
from prunekit.stats.certify import certify as certify_candidates
from prunekit.stats.claim import Claim
from prunekit.stats.clipping import ReturnRange, range_of
from prunekit.stats.frequency import Frequency as ShareBound
from prunekit.stats.frequency import faultless_episodes, share_lower_bound, share_upper_bound
from prunekit.stats.means import mean_lower_bound, mean_upper_bound
from prunekit.stats.tails import Tail, cvar, cvar_lower_bound

__all__ = [
    "Candidate", "Certificate", "Claim", "Paired", "RetentionBettor", "ReturnRange", "ShareBound", "Tail", "Verdict",
    "certify_candidates", "cvar", "cvar_lower_bound", "faultless_episodes", "interquartile_mean", "iqm_interval",
    "mean_interval", "mean_lower_bound", "mean_upper_bound", "range_of", "retention_lower_bound",
    "retention_upper_bound", "share_lower_bound", "share_upper_bound",
]  # fmt: skip
