"""A search of a data set of one's own, and its checks."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from algorithms.gan.options import GANOptions
from workflows.cli.flags import UsageError
from workflows.experiment.search import Search, SearchFlags
from workflows.experiment.searchers import domains
from workflows.programs import PROGRAMS


def search(num_items: int, **space: Any) -> Search:
    """Return a search whose own data set has this many items."""
    images = np.zeros((num_items, 28, 28), np.uint8)
    data = SimpleNamespace(name="mine", train_images=images, train_labels=np.zeros(num_items, np.int64))
    program = PROGRAMS["tune_gan"]
    return Search(program, SearchFlags(), GANOptions(batch_size=8), space=space, load_data=lambda flags: data)


def test_own_data_needs_a_name_images_and_labels_only() -> None:
    mine = search(64, batch_size=("choice", [8, 64]), generator_lr=("loguniform", 1e-4, 1e-3))
    mine.check()
    assert mine.headline() == "8 trials of up to 2000 updates on mine"
    assert mine.record()["dataset"] == "mine"
    assert mine.baseline == {"batch_size": 8, "generator_lr": 1e-3}


def test_a_choice_that_the_data_do_not_fill_is_refused_before_anything_runs() -> None:
    with pytest.raises(UsageError, match=r"--batch-size must be at most .*64.*, got 128"):
        search(64, batch_size=("choice", [8, 128])).check()


def test_the_metric_may_be_another_than_the_programs() -> None:
    mine = search(64)
    assert (mine.metric, mine.mode) == ("fid_mnist", "min")
    other = replace(mine, improves="classifier_score")
    assert (other.metric, other.mode) == ("classifier_score", "max")


def test_a_space_of_plain_data_becomes_tunes_domains_and_tunes_own_stay() -> None:
    from ray import tune

    own = tune.uniform(0, 1)
    found = domains({"lr": ("loguniform", 1e-4, 1e-2), "width": ("choice", [16, 32]), "beta1": own})
    assert (found["lr"].lower, found["lr"].upper) == (1e-4, 1e-2)
    assert found["width"].categories == [16, 32]
    assert found["beta1"] is own
