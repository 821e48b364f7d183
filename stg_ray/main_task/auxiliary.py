"""Which tasks of a run help one of them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from stg_ray.artifacts.looks import note_look
from stg_ray.artifacts.run_dir import RunDir
from stg_ray.artifacts.trust import check_code
from stg_ray.artifacts.tuned import as_tuned
from stg_ray.cluster.session import LazySession
from stg_ray.cluster.shared_storage import check_shared
from stg_ray.errors import InputError, PartlyFailed
from stg_ray.pipeline import run_stage
from stg_ray.progress import Reporter
from stg_ray.retraining.auxiliary.measuring import Auxiliaries, check_main
from stg_ray.stages import AUXILIARY, STAGES


def auxiliary(  # noqa: PLR0913  what the command has as options
    directory: str | os.PathLike[str],
    main: str | Sequence[str],
    *,
    candidates: int = 10,
    trainings: int = 5,
    address: str | None = None,
    reporter: Reporter | None = None,
    verbose: bool = False,
    trust_code: bool = False,
) -> dict[str, Any]:
    """Find the tasks of a run that help a main task, and train it with them; write auxiliary.json into the run.

    The affinities of the run say which tasks are tried. Each is trained with the main task, and compared with the main
    task alone on validation rows; those whose gain is clear are kept, and trained with it together by weights that
    adapt. Whatever is trained is kept in the run: an interrupted call goes on where it was.

    Args:
        directory: of a run whose affinities are done, a path or a URI.
        main: name of the main task, or of several, each treated by itself.
        candidates: number of tasks that are trained with it at most, those that help most by the affinities.
        trainings: number of trainings of every network; at least 2.
        address: a Ray cluster to join; by default $RAY_ADDRESS, else a local Ray that ends with the call.
        reporter: where progress is printed; on the console by default.
        verbose: print what Ray prints, too.
        trust_code: import a trunk that the directory names, though it is somebody else's.

    Returns:
        By main task, its `metric`; the names that are `kept`; of every other task in `tasks` the estimate, and the
        `effect` on validation rows where it was measured, with its 95 % interval; and `ways` to train it (alone, all,
        best_single, kept, adaptive), with mean scores on validation and test rows, the `gain` over alone on test rows,
        `behind_adaptive`, what adaptive has more, the folders of the `networks`, and the largest `weights`, those of
        the main task and the others in the order of the task set.

    Raises:
        InputError: the run has no such task or no affinities yet, or a number is too small.
        PartlyFailed: networks could not be trained; what the others tell is written.

    Example:
        >>> import stg_ray as sr
        >>> sr.auxiliary("runs/tiny", main="a3")
        Traceback (most recent call last):
        ...
        stg_ray.errors.InputError: --main: unknown task 'a3': did you mean...
    """
    run, mains = RunDir(directory), [main] if isinstance(main, str) else list(dict.fromkeys(main))
    for what, number, least in (("candidates", candidates, 1), ("trainings", trainings, 2)):
        if number < least:
            raise InputError(f"{what}={number}: expected at least {least}")
    run.read_config()  # is it a run at all?
    run.check_writable()
    reporter = reporter or Reporter()
    with run.lease(), LazySession(address, verbose=verbose) as session:
        config = run.read_config()
        for stage in ("parts", "affinity"):
            run.require(stage, config)
        if config.retrain.learner != "joint":
            raise InputError(
                f"auxiliaries are trained jointly, and the networks of this run by retrain.learner="
                f"{config.retrain.learner}: give it a run with retrain.learner=joint"
            )
        check_code(run, config, trust_code=trust_code)
        check_main(run, mains)
        session.start()
        check_shared(run)
        with reporter.stage("auxiliary") as progress:
            found = {}
            for name in mains:
                found[name] = Auxiliaries(run, as_tuned(run, config), name, trainings, progress).find(candidates)
                note_look(run, f"{config.fingerprint(STAGES['affinity'].sections)} {name} {candidates} {trainings}")
            progress.summary = "; ".join(_in_words(name, about["kept"]) for name, about in found.items())
            if config.grouping.method == "auxiliary":
                run.forget_from("group")  # which is by what was found before, if it is done
            run.write_json(AUXILIARY, {"candidates": candidates, "trainings": trainings, "mains": found})
            run.record("affinity", AUXILIARY)
    if run.is_done("report", config):
        run_stage("report", run.uri, reporter=reporter)  # the page shows it
    if failed := {tasks: reason for about in found.values() for tasks, reason in about["failed"].items()}:
        tasks, reason = next(iter(failed.items()))
        raise PartlyFailed(
            f"{len(failed)} networks could not be trained ({tasks}: {reason}); the others are kept: give the same "
            "command again for these"
        )
    return found


def _in_words(name: str, kept: Sequence[str]) -> str:
    return f"{name} is helped by {', '.join(kept)}" if kept else f"no task clearly helps {name}"
