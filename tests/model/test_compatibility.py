"""Checks of encoders and embeddings against those of a model's training."""

from dataclasses import replace

import numpy as np
import pytest

from lorerm.embedding.embedded_preferences import EmbeddedPreferences
from lorerm.errors import DataError, ModelError
from lorerm.model.compatibility import check_embeddings, check_encoder
from refusals import refused


def embedded(dimension, encoder=None):
    return replace(EmbeddedPreferences.from_arrays(np.eye(2, dimension), [0], [1], ["u"]), encoder=encoder)


@pytest.mark.parametrize("change", [{"model": "another"}, {"revision": "2"}, {"dtype": "float32"}, {"max_length": 8}])
def test_any_difference_between_encoders_is_refused(make_model, change):
    model = make_model()
    other = replace(model.encoder, **change)
    with refused(ModelError, "'an encoder'", f"{other.model!r}", argument="encoder"):
        check_encoder(model, other)
    with refused(DataError, argument="data"):
        check_embeddings(model, embedded(4, other))


def test_the_encoder_of_the_training_is_accepted(make_model):
    model = make_model()
    check_encoder(model, model.encoder)
    check_embeddings(model, embedded(4, model.encoder))


def test_unknown_encoders_are_accepted(make_model):
    model = make_model()
    check_embeddings(model, embedded(4))
    check_encoder(replace(model, encoder=None), model.encoder)
    check_embeddings(replace(model, encoder=None), embedded(4, model.encoder))


def test_another_dimension_is_refused(make_model):
    with refused(DataError, "dimension 3", "has 4", argument="data"):
        check_embeddings(make_model(), embedded(3))
