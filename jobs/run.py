"""Entry point for `ray job submit`: the whole path for one configuration, on the job's cluster.

ray job submit --working-dir . -- python jobs/run.py jobs/configs/digits.yaml --out /shared/runs/digits
"""

import sys

from stg_ray.__main__ import main

if __name__ == "__main__":
    if not any(argument.split("=")[0] == "--out" for argument in sys.argv):
        # A job's working directory is a copy that goes with the job.
        print("jobs/run.py: --out is missing: name a directory or URI that all nodes reach", file=sys.stderr)
        sys.exit(2)
    sys.argv.insert(1, "run")
    main()
