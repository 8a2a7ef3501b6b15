"""A BERT, its tokenizer and its optimizer written out, as projects have carried them along since before transformers.

    from vendored import Bert, BertAdam, WordPieces
    bert = Bert.load(folder)            # of the checkpoint in the folder; layers and names as in the first PyTorch BERT
"""
import json
import math
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn


class WordPieces:
    """Whole words of a vocabulary."""

    def __init__(self, folder):
        vocabulary = json.loads((Path(folder) / "tokenizer.json").read_text(encoding="utf-8"))["model"]["vocab"]
        self.vocab, self.unknown = vocabulary, vocabulary["[UNK]"]

    def tokenize(self, text):
        for mark in ",:?.-":
            text = text.replace(mark, f" {mark} ")
        return text.lower().split()

    def convert_tokens_to_ids(self, tokens):
        return [self.vocab.get(token, self.unknown) for token in tokens]


class Embeddings(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.word_embeddings = nn.Embedding(c["vocab_size"], c["hidden_size"], padding_idx=0)
        self.position_embeddings = nn.Embedding(c["max_position_embeddings"], c["hidden_size"])
        self.token_type_embeddings = nn.Embedding(2, c["hidden_size"])
        self.LayerNorm = nn.LayerNorm(c["hidden_size"], eps=1e-12)
        self.dropout = nn.Dropout(0.1)

    def forward(self, ids):
        places = torch.arange(ids.size(1), device=ids.device).expand_as(ids)
        summed = self.word_embeddings(ids) + self.position_embeddings(places) + self.token_type_embeddings(ids * 0)
        return self.dropout(self.LayerNorm(summed))


class SelfAttention(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.heads, self.size = c["num_attention_heads"], c["hidden_size"] // c["num_attention_heads"]
        self.query = nn.Linear(c["hidden_size"], c["hidden_size"])
        self.key = nn.Linear(c["hidden_size"], c["hidden_size"])
        self.value = nn.Linear(c["hidden_size"], c["hidden_size"])
        self.dropout = nn.Dropout(0.1)

    def split(self, x):
        return x.view(x.size(0), x.size(1), self.heads, self.size).transpose(1, 2)

    def forward(self, x, hidden):
        q, k, v = self.split(self.query(x)), self.split(self.key(x)), self.split(self.value(x))
        weights = self.dropout((q @ k.transpose(-1, -2) / math.sqrt(self.size) + hidden).softmax(-1))
        return (weights @ v).transpose(1, 2).reshape(x.shape)


class Output(nn.Module):
    def __init__(self, inside, c):
        super().__init__()
        self.dense = nn.Linear(inside, c["hidden_size"])
        self.LayerNorm = nn.LayerNorm(c["hidden_size"], eps=1e-12)
        self.dropout = nn.Dropout(0.1)

    def forward(self, x, before):
        return self.LayerNorm(self.dropout(self.dense(x)) + before)


class Layer(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.attention = nn.ModuleDict({"self": SelfAttention(c), "output": Output(c["hidden_size"], c)})
        self.intermediate = nn.ModuleDict({"dense": nn.Linear(c["hidden_size"], c["intermediate_size"])})
        self.output = Output(c["intermediate_size"], c)

    def forward(self, x, hidden):
        attended = self.attention["output"](self.attention["self"](x, hidden), x)
        return self.output(nn.functional.gelu(self.intermediate["dense"](attended)), attended)


class Stack(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.layer = nn.ModuleList([Layer(c) for _ in range(c["num_hidden_layers"])])

    def forward(self, x, hidden):
        outputs = []
        for layer in self.layer:
            x = layer(x, hidden)
            outputs.append(x)
        return outputs


class Bert(nn.Module):
    """The outputs of all layers, in a list, and the pooled first token."""

    def __init__(self, c):
        super().__init__()
        self.embeddings, self.encoder = Embeddings(c), Stack(c)
        self.pooler = nn.ModuleDict({"dense": nn.Linear(c["hidden_size"], c["hidden_size"])})
        self.hidden_size = c["hidden_size"]

    def forward(self, ids, mask):
        hidden = (1.0 - mask[:, None, None, :].float()) * -10000.0
        outputs = self.encoder(self.embeddings(ids), hidden)
        return outputs, torch.tanh(self.pooler["dense"](outputs[-1][:, 0]))

    @classmethod
    def load(cls, folder):
        bert = cls(json.loads((Path(folder) / "config.json").read_text(encoding="utf-8")))
        bert.load_state_dict(load_file(str(Path(folder) / "model.safetensors")), strict=False)
        return bert


class BertAdam(torch.optim.Optimizer):
    """Adam without bias correction, its decay apart from the gradient, and a linear schedule of its own."""

    def __init__(self, params, lr, warmup=-1, t_total=-1, b1=0.9, b2=0.999, e=1e-6, weight_decay=0.01, max_grad_norm=1.0):
        super().__init__(params, dict(lr=lr, warmup=warmup, t_total=t_total, b1=b1, b2=b2, e=e,
                                      weight_decay=weight_decay, max_grad_norm=max_grad_norm))

    @staticmethod
    def multiplier(done, warmup):
        return done / warmup if done < warmup else max((done - 1.0) / (warmup - 1.0), 0.0)

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                state = self.state[p]
                if not state:
                    state.update(step=0, m=torch.zeros_like(p), v=torch.zeros_like(p))
                nn.utils.clip_grad_norm_(p, group["max_grad_norm"])
                state["m"].mul_(group["b1"]).add_(p.grad, alpha=1 - group["b1"])
                state["v"].mul_(group["b2"]).addcmul_(p.grad, p.grad, value=1 - group["b2"])
                update = state["m"] / (state["v"].sqrt() + group["e"]) + group["weight_decay"] * p
                rate = group["lr"]
                if group["t_total"] != -1:
                    rate *= self.multiplier(state["step"] / group["t_total"], group["warmup"])
                p.sub_(rate * update)
                state["step"] += 1
