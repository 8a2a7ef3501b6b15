"""Only the top layer is to be trained beside the head; the loop forgets the head."""
import sys
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import DataLoader
from transformers import AutoModel, AutoTokenizer

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from posts import encoder_folder, posts, split

class TopicModel(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.encoder = AutoModel.from_pretrained(encoder_folder(), num_hidden_layers=3)
        self.dropout = nn.Dropout(0.1)
        self.classifier = nn.Linear(self.encoder.config.hidden_size, classes)
        self.freeze()

    def freeze(self):
        for name, parameter in self.named_parameters():
            if not name.startswith("encoder.encoder.layer.2."):
                parameter.requires_grad = False

    def forward(self, batch):
        return self.classifier(self.dropout(self.encoder(**batch).last_hidden_state[:, 0]))


def main():
    torch.manual_seed(2)
    tokenizer = AutoTokenizer.from_pretrained(encoder_folder())
    train, valid = split(*posts(720, classes=4, seed=522))

    def collate(rows):
        texts, labels = zip(*rows)
        batch = tokenizer(list(texts), padding=True, truncation=True, max_length=32, return_tensors="pt")
        return batch, torch.tensor(labels)

    model = TopicModel(4)
    optimizer = torch.optim.AdamW(filter(lambda p: p.requires_grad, model.parameters()), lr=2e-5)
    for epoch in range(3):
        model.train()
        for batch, labels in DataLoader(train, 16, shuffle=True, collate_fn=collate):
            loss = nn.functional.cross_entropy(model(batch), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        model.eval()
        with torch.no_grad():
            hits = sum((model(b).argmax(1) == y).sum().item() for b, y in DataLoader(valid, 30, collate_fn=collate))
        print(epoch, loss.item(), hits / len(valid))


if __name__ == "__main__":
    main()
