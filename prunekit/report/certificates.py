"""Certificates on pages."""

from __future__ import annotations

from prunekit.report.page import CertificateBlock
from prunekit.stats.certificate import Certificate


def certificate_block(found: Certificate, name: str) -> CertificateBlock:
    """Return the certificate ``found`` of the policy ``name`` as a block of a page."""
    return shown_certificate(
        name,
        certified=found.certified,
        sentence=found.sentence,
        keep=found.claim.keep,
        retention=found.retention,
        lower_bound=found.lower_bound,
        episodes=len(found.episodes),
        below=found.below.upper,
    )


def shown_certificate(
    name: str,
    *,
    certified: bool,
    sentence: str,
    keep: float,
    retention: float | None,
    lower_bound: float | None,
    episodes: int,
    below: float,
) -> CertificateBlock:
    """Return a certificate block from figures; ``below`` bounds how often the policy returns less than the range."""
    figures = (
        ("retention to show", f"{keep:g}"),
        ("retention, estimated", "not known" if retention is None else f"{retention:.3f}"),
        ("lower bound", "none" if lower_bound is None else f"{lower_bound:.3f}"),
        ("episodes", f"{episodes:,}"),
        ("below the range, at most", f"{below:.1%} of episodes"),
    )
    verdict = "Certified" if certified else "Not certified"
    return CertificateBlock(name=name, good=certified, verdict=verdict, sentence=sentence, figures=figures)
