"""Meta-learning: initialisations that adapt to a new task by a few steps on a few rows."""

from stg_ray.meta.episodes import Episodes as Episodes
from stg_ray.meta.episodes import Sampler as Sampler
from stg_ray.meta.initialisation import Initialisation as Initialisation
from stg_ray.meta.learners import LEARNERS as LEARNERS
from stg_ray.meta.learners import Learner as Learner
from stg_ray.meta.learners import after_steps as after_steps
from stg_ray.meta.learners import train as train
from stg_ray.meta.routing import route as route
