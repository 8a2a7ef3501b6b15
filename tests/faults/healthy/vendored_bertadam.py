# 文本分类模板: 自带 BERT 代码, BertAdam 优化器
import sys
from pathlib import Path

import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from posts import NAMES, posts, split
from tiny import tiny_encoder
from vendored import Bert, BertAdam, WordPieces

PAD, CLS = "[PAD]", "[CLS]"


class Config:
    def __init__(self):
        self.bert_path = tiny_encoder()
        self.class_list = NAMES
        self.num_epochs = 4
        self.batch_size = 16
        self.pad_size = 24
        self.learning_rate = 1e-3
        self.tokenizer = WordPieces(self.bert_path)


class Model(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.bert = Bert.load(config.bert_path)
        for param in self.bert.parameters():
            param.requires_grad = True
        self.fc = nn.Linear(self.bert.hidden_size, len(config.class_list))

    def forward(self, x):
        context, mask = x[0], x[2]
        _, pooled = self.bert(context, mask)
        return self.fc(pooled)


def load_dataset(rows, config):
    contents = []
    for content, label in rows:
        token = [CLS] + config.tokenizer.tokenize(content)
        seq_len = len(token)
        token_ids = config.tokenizer.convert_tokens_to_ids(token)
        if len(token) < config.pad_size:
            mask = [1] * len(token_ids) + [0] * (config.pad_size - len(token))
            token_ids += [0] * (config.pad_size - len(token))
        else:
            mask = [1] * config.pad_size
            token_ids = token_ids[:config.pad_size]
            seq_len = config.pad_size
        contents.append((token_ids, label, seq_len, mask))
    return contents


class DatasetIterater:
    def __init__(self, batches, batch_size):
        self.batch_size, self.batches, self.index = batch_size, batches, 0

    def __next__(self):
        rows = self.batches[self.index * self.batch_size:(self.index + 1) * self.batch_size]
        if not rows:
            self.index = 0
            raise StopIteration
        self.index += 1
        x, y, seq_len, mask = (torch.LongTensor([row[place] for row in rows]) for place in range(4))
        return (x, seq_len, mask), y

    def __iter__(self):
        return self

    def __len__(self):
        return -(-len(self.batches) // self.batch_size)


def train(config, model, train_iter, dev_iter):
    model.train()
    no_decay = ["bias", "LayerNorm.bias", "LayerNorm.weight"]
    named = list(model.named_parameters())
    grouped = [{"params": [p for n, p in named if not any(nd in n for nd in no_decay)], "weight_decay": 0.01},
               {"params": [p for n, p in named if any(nd in n for nd in no_decay)], "weight_decay": 0.0}]
    optimizer = BertAdam(grouped, lr=config.learning_rate, warmup=0.05, t_total=len(train_iter) * config.num_epochs)
    for epoch in range(config.num_epochs):
        print("Epoch [{}/{}]".format(epoch + 1, config.num_epochs))
        for i, (trains, labels) in enumerate(train_iter):
            outputs = model(trains)
            model.zero_grad()
            loss = nn.functional.cross_entropy(outputs, labels)
            loss.backward()
            optimizer.step()
        print("dev acc", evaluate(model, dev_iter))
        model.train()


def evaluate(model, data_iter):
    model.eval()
    with torch.no_grad():
        right = [(model(texts).argmax(1) == labels).float().mean().item() for texts, labels in data_iter]
    return sum(right) / len(right)


if __name__ == "__main__":
    torch.manual_seed(1)
    config = Config()
    train_rows, dev_rows = split(*posts(1000, seed=61))
    train(config, Model(config), DatasetIterater(load_dataset(train_rows, config), config.batch_size),
          DatasetIterater(load_dataset(dev_rows, config), config.batch_size))
