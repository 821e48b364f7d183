"""Meta-learning: initialisations that adapt to a new task by a few steps on a few rows."""

from stg_ray.meta.episodes import Episodes as Episodes
from stg_ray.meta.learners import LEARNERS as LEARNERS
from stg_ray.meta.learners import Initialisation as Initialisation
from stg_ray.meta.learners import Learner as Learner
