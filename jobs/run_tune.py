"""Tune the settings of a run, once more: a stage as a job of its own.

ray job submit --working-dir . -- python jobs/run_tune.py /shared/runs/digits
"""

import sys

from stg_ray.__main__ import main

if __name__ == "__main__":
    sys.argv.insert(1, "tune")
    main()
