"""What is written down of the model: its state before training, what was frozen, loaded, tokenized."""

import sys

import pytest
import torch
from torch import nn
from transformers import BertConfig, BertForSequenceClassification, BertModel, BertTokenizerFast

from diagnosis.observe import before_training
from diagnosis.observe.checkpoints import Checkpoints
from diagnosis.observe.freezes import Freezes
from diagnosis.observe.guard import Guard
from diagnosis.observe.models import Models, Parameters
from diagnosis.observe.steps import Optimizers
from diagnosis.observe.tokenizers import CALLS, TEXTS_OF_CALL, TokenizerCalls, tokenizer_in

CONFIG = BertConfig(vocab_size=20, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16)


@pytest.fixture
def guard():
    guard = Guard([])
    yield guard
    assert guard.errors == []


@pytest.fixture
def classifier():
    return BertForSequenceClassification(CONFIG)


def described(guard, *models, checkpoints=None):
    known = Models()
    for model in models:
        known.knows(model)
    return before_training.describe(known, Optimizers(guard), checkpoints or Checkpoints(guard))


def test_the_weights_are_kept_as_they_were_before_training(guard, classifier):
    before = described(guard, classifier)
    first = classifier.classifier.weight.detach().clone()
    classifier.classifier.weight.data.add_(1)
    assert torch.equal(before.state["classifier.weight"], first) and before.encoder is classifier.bert
    assert {parameter.part for parameter in before.parameters} == {"embeddings", "layer 0", "pooler", "head"}


def test_several_modules_called_one_after_another_are_one_model_with_the_encoder_in_it(guard):
    encoder, head = BertModel(CONFIG), nn.Linear(8, 2)
    before = described(guard, encoder, head)
    assert list(before.model.children()) == [encoder, head] and before.encoder is encoder


def test_a_model_within_another_is_no_model_of_its_own(guard, classifier):
    assert described(guard, classifier.bert, classifier).model is classifier


def test_without_any_module_the_optimizers_parameters_are_the_model(guard):
    optimizers, weight = Optimizers(guard), nn.Parameter(torch.ones(2))
    assert before_training.describe(Models(), optimizers, Checkpoints(guard)) is None
    optimizers.made(torch.optim.SGD([weight], lr=0.1))
    assert before_training.describe(Models(), optimizers, Checkpoints(guard)).tensors[0] is weight


def test_parameters_of_models_and_optimizers_are_counted_once_and_new_ones_are_found(guard):
    models, optimizers, head = Models(), Optimizers(guard), nn.Linear(2, 2)
    parameters = Parameters(models, optimizers)
    models.knows(head)
    assert len(parameters.all()) == 2
    optimizer = torch.optim.SGD(head.parameters(), lr=0.1)
    optimizer.add_param_group({"params": [nn.Parameter(torch.ones(1))]})
    optimizers.made(optimizer)
    assert len(parameters.all()) == 3


def test_the_origin_of_an_encoders_weights_is_what_was_loaded_into_it_last(guard, classifier):
    checkpoints = Checkpoints(guard)
    assert checkpoints.origin_of(classifier.bert) == (None, None, 0)
    checkpoints.loaded("first", classifier, {"classifier.weight"}, "line 1")
    checkpoints.loaded("nothing of it", classifier, {name for name, _ in classifier.named_parameters()}, "line 2")
    assert checkpoints.origin_of(classifier.bert) == ("first", "line 1", 0)
    missing = {"bert.pooler.dense.weight", "bert.pooler.dense.bias"}
    other = Checkpoints(guard)
    other.loaded("without a pooler", classifier, missing, "line 3")
    assert described(guard, classifier, checkpoints=other).encoder_facts.missing_weights == 2


def test_what_a_line_froze_is_told_with_how_much_of_it_is_trained_and_still_frozen(guard, classifier):
    freezes, elsewhere = Freezes(guard), nn.Linear(2, 2)
    for parameter in [*classifier.bert.embeddings.parameters(), *elsewhere.parameters()]:
        parameter.requires_grad_(False)
        freezes.froze(parameter, sys._getframe())
    classifier.bert.embeddings.word_embeddings.weight.requires_grad_(True)
    act, = [act for act in freezes.describe(described(guard, classifier), __file__) if act.kind == "parameter"]
    assert (act.tensors, act.in_model, act.still_frozen) == (7, 5, 4)
    assert act.site.code == "freezes.froze(parameter, sys._getframe())"


def test_a_line_that_sets_the_attribute_on_a_module_is_told_as_one_that_freezes_nothing(guard, classifier):
    classifier.bert.pooler.requires_grad = False
    act, = Freezes(guard).describe(described(guard, classifier), __file__)
    assert (act.kind, act.tensors, act.still_frozen) == ("module", 2, 0)
    assert act.site.code == "classifier.bert.pooler.requires_grad = False"


def test_calls_for_one_text_each_are_one_call_and_many_texts_are_kept_in_part(guard):
    calls = TokenizerCalls(guard)
    tokenizer = BertTokenizerFast(vocab={"[PAD]": 3, "[UNK]": 1, "[CLS]": 0, "[SEP]": 2, "a": 4})
    for _ in range(TEXTS_OF_CALL + 10):
        calls.tokenized(tokenizer, ("a a",), {"truncation": True})
    call, = calls.calls
    assert len(call.texts) == TEXTS_OF_CALL and call.settings == {"truncation": True}
    for _ in range(CALLS):
        calls.tokenized(tokenizer, (["a", "b"],), {})
    assert len(calls.calls) == CALLS and calls.unknown_id() == 1
    assert calls.pad_id(torch.tensor([[4, 3]]), None) == 3


def test_without_a_tokenizer_the_padding_is_the_encoders_or_the_zeros_at_the_rows_ends(guard, classifier):
    calls = TokenizerCalls(guard)
    assert calls.pad_id(torch.tensor([[4, 5], [4, 0]]), None) == 0
    assert calls.pad_id(torch.tensor([[4, 5]]), classifier.bert) == CONFIG.pad_token_id


def test_tokens_asked_for_alone_count_as_a_call_without_special_tokens_and_stand_behind_those_that_gave_ids(guard):
    calls = TokenizerCalls(guard)
    tokenizer = BertTokenizerFast(vocab={"[PAD]": 3, "[UNK]": 1, "[CLS]": 0, "[SEP]": 2, "a": 4})
    calls.tokenized(tokenizer, ("a a",), {}, bare=True)
    assert calls.first_call().settings == {"add_special_tokens": False}
    calls.tokenized(tokenizer, (["a"],), {"max_length": 4})
    assert calls.first_call().settings == {"max_length": 4} and len(calls.calls) == 2


def test_the_tokenizer_of_workers_is_found_in_the_data_set_or_the_collate_function():
    tokenizer = BertTokenizerFast(vocab={"[PAD]": 3, "[UNK]": 1, "[CLS]": 0, "[SEP]": 2, "a": 4})

    class Collate:
        def __init__(self):
            self.inside = {"nothing": 1}
            self.tokenizer = tokenizer

    def collate(rows):
        return tokenizer(rows)

    assert tokenizer_in(Collate()) is tokenizer and tokenizer_in(collate) is tokenizer
    assert tokenizer_in(Collate().__init__) is tokenizer and tokenizer_in([1, 2]) is None
