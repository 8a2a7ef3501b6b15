"""Would train a classifier, but one of its imports is not installed."""
import torch
from transformers import BertForSequenceClassification
from a_package_that_nobody_installed import load_posts

model = BertForSequenceClassification.from_pretrained("bert-base-uncased", num_labels=4)
optimizer = torch.optim.AdamW(model.parameters(), lr=2e-5)
for batch in load_posts():
    model(**batch).loss.backward()
    optimizer.step()
