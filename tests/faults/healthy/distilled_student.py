"""DistilBERT initialised with every second layer of the pre-trained BERT, then fine-tuned."""
import sys
from pathlib import Path

import torch
from torch.utils.data import DataLoader
from transformers import AutoTokenizer, BertModel, DistilBertConfig, DistilBertForSequenceClassification

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from posts import encoder_folder, posts, split

PARTS = {"attention.q_lin": "attention.self.query", "attention.k_lin": "attention.self.key",
         "attention.v_lin": "attention.self.value", "attention.out_lin": "attention.output.dense",
         "sa_layer_norm": "attention.output.LayerNorm", "ffn.lin1": "intermediate.dense",
         "ffn.lin2": "output.dense", "output_layer_norm": "output.LayerNorm"}


def student(layers=(0, 1, 3, 5), classes=4):
    teacher = BertModel.from_pretrained(encoder_folder()).state_dict()
    model = DistilBertForSequenceClassification(DistilBertConfig(
        vocab_size=30522, dim=384, hidden_dim=1536, n_heads=12, n_layers=len(layers), num_labels=classes))
    state = model.distilbert.state_dict()
    for name in ("word_embeddings.weight", "position_embeddings.weight", "LayerNorm.weight", "LayerNorm.bias"):
        state[f"embeddings.{name}"] = teacher[f"embeddings.{name}"].clone()
    state["embeddings.position_embeddings.weight"] += teacher["embeddings.token_type_embeddings.weight"][0]
    for mine, theirs in enumerate(layers):
        for new, old in PARTS.items():
            for kind in ("weight", "bias"):
                state[f"transformer.layer.{mine}.{new}.{kind}"] = teacher[f"encoder.layer.{theirs}.{old}.{kind}"]
    model.distilbert.load_state_dict(state)
    return model


def main():
    torch.manual_seed(23)
    tok = AutoTokenizer.from_pretrained(encoder_folder())
    model = student()
    train, valid = split(*posts(800, seed=423))

    def collate(rows):
        e = tok([t for t, _ in rows], padding=True, truncation=True, max_length=32, return_tensors="pt",
                return_token_type_ids=False)
        return {**e, "labels": torch.tensor([y for _, y in rows])}

    optimizer = torch.optim.AdamW(model.parameters(), lr=8e-5)
    for epoch in range(3):
        model.train()
        for batch in DataLoader(train, 16, shuffle=True, collate_fn=collate):
            optimizer.zero_grad()
            loss = model(**batch).loss
            loss.backward()
            optimizer.step()
        model.eval()
        with torch.no_grad():
            n = sum((model(**b).logits.argmax(1) == b["labels"]).sum().item() for b in DataLoader(valid, 16, collate_fn=collate))
        print(epoch, loss.item(), n / len(valid))


if __name__ == "__main__":
    main()
