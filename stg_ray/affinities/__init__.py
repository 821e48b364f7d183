"""Affinities: how alike the tasks are, by data maps, gradients, labels or training steps.

Mathematics and Ray are kept apart. An estimator (`base.Estimator`, one per file) computes a K x K matrix from a
`source.Source` a unit of work at a time, and can be called in a notebook. `stage.run` hands the units to actors
(`pool`, `actor`), adds their sums and writes the matrices; `in_memory.affinity` does the same in one process.

To add an affinity:

1. Write a class in a file of its own here, with the formula and its source at the top. `base.Estimator` is the
   contract: `kind`, `about`, `needs`, `partial(number)` and `combine(partials, tasks)`; `random.RandomAffinity` is the
   shortest.
2. Enter it in `estimators.ESTIMATORS` under its name.
3. Add the name to the literal `Affinity` in `config/methods.py`. A test holds both lists equal.
4. Test it against a plain loop, and on planted structure and on none.
"""
