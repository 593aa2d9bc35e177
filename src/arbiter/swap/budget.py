"""What a rollout may cost: the answers that would have been right, had nothing been tried.

Estimated, not tested: it stops what is expensive and not yet proved. A budget that is spent says
nothing about the candidate, so it never counts as a verdict.
"""

from __future__ import annotations

from arbiter.swap.analysis import Judgement


def extra_failures(candidate: int, stable_mean: float | None, mean: float | None) -> float:
    """How many answers more were bad than if stable had given them: ``n (old - new)``, or 0.

    >>> round(extra_failures(50, 0.9, 0.7), 6), extra_failures(50, 0.7, 0.9)
    (10.0, 0.0)
    >>> extra_failures(0, None, None)
    0.0
    """
    if stable_mean is None or mean is None:
        return 0.0
    return candidate * max(0.0, stable_mean - mean)


def overspent(judgement: Judgement, budget: float | None) -> str | None:
    """Why the budget is spent, with the numbers; None while it is not, or there is none."""
    if budget is None:
        return None
    # what it answered beside the stable version cost nobody anything
    served = judgement.n_answers
    extra = extra_failures(served, judgement.mean_stable, judgement.mean_candidate)
    if extra <= budget:
        return None
    return (
        f"of the candidate's {served} graded answers about {extra:.0f} are bad that"
        f" the stable version would have got right, of {budget:g} allowed. {judgement.reason}"
    )
