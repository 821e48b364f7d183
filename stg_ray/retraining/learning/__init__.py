"""What a network learns, and how it is judged: a file for each way, one loop for all (`retraining.trial`)."""

from stg_ray.retraining.learning.base import Learning as Learning
from stg_ray.retraining.learning.joint import JointLearning
from stg_ray.retraining.learning.meta import MetaLearning
from stg_ray.retraining.learning.steps import Steps as Steps

LEARNINGS: dict[str, type[Learning]] = {
    "joint": JointLearning,
    "maml": MetaLearning,
    "anil": MetaLearning,
    "reptile": MetaLearning,
}
"""By `retrain.learner`."""
