"""The verdict on our groups in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from stg_ray.config import Config, PlanName
from stg_ray.config.plans import TrainedPlan
from stg_ray.report.comparison import Difference
from stg_ray.shown import counted, sentence

OTHERS: dict[PlanName, str] = {
    "all_in_one": "all tasks in one network",
    "all_in_one_equal_cost": "one network trained as long as ours together",
    "all_in_one_ensemble": "as many networks of all tasks, which predict together",
    "random": "random groups of the same sizes",
}
"""The plans that ours is compared to in the verdict, in words."""

DEPLOYED: dict[PlanName, str] = {
    "ours": "our groups",
    "ours_soft": "our groups with soft weights",
    "ours_and_all": "our groups, each averaged with one network of all tasks",
    "branches": "one network with a branch for each of our groups",
    "searched": "the groups that the search found",
    "all_in_one": "one network of all tasks",
    "all_in_one_equal_cost": "one network of all tasks, trained as long as ours together",
    "all_in_one_ensemble": "several networks of all tasks, which predict together",
    "random": "random groups of the sizes of ours",
    "single_task": "a network for each task",
    "known": "the known groups",
    "greedy": "what was selected from all networks",
}
"""The plans in the advice, in words."""

DEPLOYED_OF_ONE: dict[PlanName, str] = {
    "all_in_one_equal_cost": "one network of all tasks, trained for twice as many epochs"
}
"""The plans in the advice that are others where ours are a single group."""

SHOWN_MEMBERS = 8
"""Tasks of a group that are named."""


def deploy_sentence(chosen: Mapping[str, Any], plan: TrainedPlan, n_groups: int) -> str:
    """Say what to deploy and why.

    Args:
        chosen: the content of chosen.json.
        plan: that was chosen.
        n_groups: number of our groups.
    """
    words = DEPLOYED | DEPLOYED_OF_ONE if n_groups == 1 else DEPLOYED
    networks = counted(chosen["networks"], "network")
    start = ", from the profile" if plan.beside_scratch else ""
    together = ", averaged" if plan.base == "ours_soft" and chosen["serving"] == "ensemble" else ""
    test = "" if chosen["test"] is None else f", {chosen['test']:.4f} on test rows"
    scores = f"{chosen['validation']:.4f} on validation rows{test}"
    return f"Deploy {words[plan.base]}{together}{start} ({networks}; {scores}): {chosen['why']}."


def search_sentence(search: Mapping[str, Any]) -> str:
    """Say what the search measured, and what it expects of its groups.

    Args:
        search: the content of search.json.
    """
    groups = "; ".join(", ".join(members[:SHOWN_MEMBERS]) + _more(members) for members in search["groups"])
    finals, taken = search.get("finalists", []), ""
    if finals:
        gain = max(final["gain"] for final in finals)
        taken = (
            f" Of {len(finals)} groupings it took the best in trainings of {counted(search['final_epochs'], 'epoch')}, "
            f"{gain:+.4f} over one network."
        )
    return (
        f"The search measured {counted(search['networks'], 'group')} in trainings of "
        f"{counted(search['epochs'], 'epoch')}, together "
        f"{search['cost']:.1f} times the training of its plan. Of its groups ({groups}), trained as long, "
        f"{search['expected']:+.4f} +- {search['error']:.4f} is expected on validation rows over one network of all "
        f"tasks, and {search['over_random']:+.4f} over random groups of the same sizes.{taken}"
    )


def _more(members: Sequence[str]) -> str:
    return f" and {len(members) - SHOWN_MEMBERS} more" if len(members) > SHOWN_MEMBERS else ""


def verdict_sentences(compared: list[tuple[TrainedPlan, Difference]], where: str, n_compared: int) -> list[str]:
    """Say what ours is better and worse than, what it cannot be told from, and what that would take.

    "Not clearly different" is read as "equal": so plans that cannot be told apart are given with how far apart they may
    be.

    Args:
        compared: plans of `OTHERS`, and ours minus each.
        where: the clause with which the sentences begin; empty where they need none.
        n_compared: number of comparisons in the whole verdict.
    """
    outcomes: dict[str, list[str]] = {"better": [], "worse": [], "open": [], "unknown": []}
    for plan, d in compared:
        if not d.is_known:
            outcomes["unknown"].append(f"{OTHERS[plan.base]} ({d.mean:+.4f})")
        elif d.is_clear:
            outcomes["better" if d.mean > 0 else "worse"].append(f"{OTHERS[plan.base]} ({_interval(d)})")
        else:
            outcomes["open"].append(f"{OTHERS[plan.base]} ({_interval(d)}{_what_it_takes(d, n_compared)})")
    clear = [f"{word} than {' and '.join(outcomes[word])}" for word in ("better", "worse") if outcomes[word]]
    sentences = [f"our groups are {'; '.join(clear)}."] if clear else []
    if outcomes["open"]:
        sentences.append(f"these trainings do not tell our groups from {', nor from '.join(outcomes['open'])}.")
    if outcomes["unknown"]:
        sentences.append(
            f"so few trainings do not tell our groups from {', nor from '.join(outcomes['unknown'])}: the noise of a "
            "training is not known; three of each plan would tell it (retrain.seeds=3)."
        )
    return [sentence(f"{where}, {text}" if where else text) for text in sentences]


def _interval(d: Difference) -> str:
    return f"{d.mean:+.4f}, 95 % interval {d.low:+.4f} to {d.high:+.4f}"


def _what_it_takes(d: Difference, n_compared: int) -> str:
    """Return why a difference is not clear where its interval excludes zero, and how many trainings would tell it."""
    if d.low > 0 or d.high < 0:
        return f"; clear alone, not as one of {n_compared} comparisons"
    return "" if d.trainings is None else f"; {d.trainings} trainings of each plan would tell as much"


def learner_sentence(config: Config) -> str:
    """Say what scores are of where networks are initialisations; empty where they are not."""
    if config.retrain.learner == "joint":
        return ""
    meta = config.meta
    return (
        f"The networks are initialisations ({config.retrain.learner}). A task is scored by {meta.scored} episodes: in "
        f"each the network takes {counted(meta.steps, 'step')} on {counted(meta.shots, 'training row')} (of each "
        f"class, where there are classes), and is judged on at most {meta.queries} rows of the split."
    )
