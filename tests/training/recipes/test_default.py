"""The default recipe's settings and adaptation."""

import torch

from lorerm.training.config import AdaptationConfig, TrainingConfig
from lorerm.training.recipes import adaptation_for, find_recipe
from lorerm.training.regularized_trainer import RegularizedTrainer


def test_it_needs_no_reference_and_has_no_regulariser_to_set():
    recipe = find_recipe("default")
    assert not recipe.needs_reference(TrainingConfig())
    assert recipe.alpha is None
    assert recipe.quick_adaptation


def test_its_models_have_free_weights(models):
    assert all(model.weight_space == find_recipe("default").weight_space for model in models.values())


def test_its_adaptation_is_the_posterior_with_the_seed_of_training():
    assert adaptation_for(TrainingConfig(seed=4)) == AdaptationConfig(seed=4)


def test_comparisons_are_stored_in_the_cheaper_form(splits):
    """The responses of these data are used more than twice each only after repetition."""
    few = splits.train_seen.select(range(40))
    many = few.select(list(range(40)) * 5)
    for data, as_differences in ((few, True), (many, False)):
        trainer = find_recipe("default").trainer(data, TrainingConfig(), None)
        assert isinstance(trainer, RegularizedTrainer)
        assert (trainer.pairs.rows is None) == as_differences
    assert torch.is_tensor(trainer.pairs.matrix)
