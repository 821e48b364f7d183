"""What `ray job submit` runs: the whole path for one configuration, on the cluster that the job runs on.

ray job submit --working-dir . -- python jobs/run.py jobs/configs/digits.yaml --out /shared/runs/digits
"""

import sys

from stg_ray.cli import main

if __name__ == "__main__":
    sys.argv.insert(1, "run")
    main()
