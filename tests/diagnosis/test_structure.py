"""Encoders that are known by their structure, whatever their classes are called."""

import torch
from torch import nn
from transformers import BertConfig, BertModel

from diagnosis.record import facts, structure

CONFIG = BertConfig(vocab_size=200, hidden_size=16, num_hidden_layers=3, num_attention_heads=2, intermediate_size=32,
                    max_position_embeddings=32)


class Attention(nn.Module):
    def __init__(self, size):
        super().__init__()
        self.q, self.k, self.v = nn.Linear(size, size), nn.Linear(size, size), nn.Linear(size, size)


class Block(nn.Module):
    def __init__(self, size):
        super().__init__()
        self.attend, self.norm = Attention(size), nn.LayerNorm(size)
        self.wide, self.narrow = nn.Linear(size, 4 * size), nn.Linear(4 * size, size)


class Encoder(nn.Module):
    def __init__(self, size=16):
        super().__init__()
        self.tok_emb, self.pos_emb = nn.Embedding(300, size), nn.Embedding(32, size)
        self.transformer_blocks = nn.ModuleList(Block(size) for _ in range(4))
        self.pooler = nn.Linear(size, size)


class Classifier(nn.Module):
    def __init__(self, encoder):
        super().__init__()
        self.body, self.out = encoder, nn.Linear(16, 3)


class TakenApart(nn.Module):
    def __init__(self):
        super().__init__()
        bert = BertModel(CONFIG)
        self.embeddings, self.layers = bert.embeddings, bert.encoder.layer
        self.hidden, self.out = nn.Linear(16, 16), nn.Linear(16, 3)


def parts(model):
    named = facts.names_in(model, facts.find_encoder(model))
    return {name: facts.part_of(inside) for name, inside in named.values()}


def test_an_encoder_written_out_is_the_module_that_holds_vocabulary_and_layers():
    model = Classifier(Encoder())
    assert facts.find_encoder(model) is model.body
    told = parts(model)
    assert told["body.tok_emb.weight"] == "embeddings" and told["body.transformer_blocks.3.wide.bias"] == "layer 3"
    assert told["body.pooler.weight"] == "pooler" and told["out.weight"] == "head"
    described = facts.describe_encoder(model.body)
    assert (described.layers, described.hidden_size, described.vocabulary_size) == (4, 16, 300)


def test_an_encoder_taken_apart_has_its_layers_and_embeddings_and_leaves_the_head_to_the_model():
    model = TakenApart()
    encoder = facts.find_encoder(model)
    assert isinstance(encoder, structure.DismantledEncoder)
    told = parts(model)
    assert told["embeddings.word_embeddings.weight"] == "embeddings" and told["hidden.weight"] == "head"
    assert {f"layer {number}" for number in range(3)} <= set(told.values())
    model.layers[0].eval()
    assert encoder.training is False and model.training is True


def test_an_encoder_inside_another_module_with_the_head_is_taken_apart_too():
    assert isinstance(facts.find_encoder(nn.ModuleDict({"net": TakenApart()})), structure.DismantledEncoder)


def test_an_encoder_of_transformers_is_told_by_its_class():
    bert = BertModel(CONFIG)
    assert facts.find_encoder(Classifier(bert)) is bert


def test_no_encoder_is_seen_in_a_recurrent_or_convolutional_classifier_or_in_a_stack_of_linear_layers():
    plain = nn.ModuleDict({"embedding": nn.Embedding(500, 16), "rnn": nn.LSTM(16, 16, num_layers=2), "out": nn.Linear(16, 3)})
    stack = nn.ModuleDict({"embedding": nn.Embedding(500, 16), "out": nn.Linear(16, 3), "layers": nn.ModuleList(
        nn.Sequential(nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 16)) for _ in range(3))})
    images = nn.ModuleDict({"layers": nn.ModuleList(Block(16) for _ in range(3)), "out": nn.Linear(16, 3)})
    assert [facts.find_encoder(model) for model in (plain, stack, images)] == [None, None, None]


def test_the_last_layer_is_taken_where_an_encoder_gives_them_all():
    layers = [torch.full((2, 3, 4), float(number)) for number in range(3)]
    assert structure.last_hidden((layers, torch.zeros(2, 4))) is layers[-1]
    assert structure.last_hidden((layers[0], torch.zeros(2, 4))) is layers[0]
    assert structure.last_hidden(torch.zeros(2, 4)) is None
