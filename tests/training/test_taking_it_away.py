"""The model is the user's: what a run leaves is read by transformers itself, by onnxruntime and by people."""

import json
import subprocess

import numpy
import pytest
import torch
from conftest import posts, tiny_bert, write_csv
from safetensors.torch import load_file, save_file
from transformers import AutoModel, AutoTokenizer, RobertaConfig

from BERT_model_aggressive import BertSentimentClassifier

NAMES = ["schlecht", "gut", "egal"]
TEXTS = ["love it", "the phone is awful and broken", "a", "great wonderful excellent phone it is " * 20]

PLAIN_TRANSFORMERS = """
import json, sys
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline
for folder in sys.argv[2:]:
    model, loading = AutoModelForSequenceClassification.from_pretrained(folder, output_loading_info=True)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    with torch.no_grad():
        logits = model.eval()(**tokenizer(json.loads(sys.argv[1]), truncation=True, padding=True, return_tensors="pt")).logits
    classify = pipeline("text-classification", model=folder)
    print(json.dumps([logits.tolist(), classify(json.loads(sys.argv[1]), truncation=True),
                      [*map(sorted, (loading["missing_keys"], loading["unexpected_keys"]))]]))
"""


def spread_out(model):
    """The model, with a linear head that does not call all of TEXTS the same."""
    torch.nn.init.normal_(model.classifier.weight, std=3.0)
    with torch.no_grad():
        logits = numpy.log(model.predict(TEXTS)[1])
        model.classifier.bias -= torch.from_numpy(logits.mean(axis=0))
    return model.eval()


def tiny_roberta(tokenizer):
    torch.manual_seed(0)
    encoder = AutoModel.from_config(RobertaConfig(
        vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
        max_position_embeddings=64, pad_token_id=0))
    return BertSentimentClassifier("tiny", encoder=encoder, tokenizer=tokenizer, head="linear", max_length=24,
                                   num_classes=3, label_names=NAMES)


def test_a_linear_head_on_the_pooler_is_read_by_plain_transformers_with_the_same_logits(python, tiny_encoder, tmp_path):
    bert = BertSentimentClassifier(str(tiny_encoder), head="linear", max_length=24, num_classes=3, label_names=NAMES)
    models = {"bert": spread_out(bert), "roberta": spread_out(tiny_roberta(bert.tokenizer))}
    for name, model in models.items():
        model.save_pretrained(tmp_path / name)
    done = subprocess.run([python, "-c", PLAIN_TRANSFORMERS, json.dumps(TEXTS), *(tmp_path / name for name in models)],
                          capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    for model, line in zip(models.values(), done.stdout.splitlines(), strict=True):
        logits, told, keys = json.loads(line)
        inputs = model.tokenizer(TEXTS, truncation=True, max_length=24, padding=True, return_token_type_ids=False,
                                 return_tensors="pt")
        with torch.no_grad():
            torch.testing.assert_close(torch.tensor(logits), model(**inputs), rtol=0, atol=1e-5)
        labels, probabilities = model.predict(TEXTS)
        assert len(set(labels)) > 1 and [one["label"] for one in told] == labels
        numpy.testing.assert_allclose([one["score"] for one in told], probabilities.max(axis=1), atol=1e-5)
        assert keys == [[], []]


def test_the_encoder_of_any_head_is_read_by_plain_transformers(tiny_encoder, tmp_path):
    model = BertSentimentClassifier(str(tiny_encoder))
    model.save_pretrained(tmp_path / "saved")
    encoder, loading = AutoModel.from_pretrained(tmp_path / "saved", output_loading_info=True)
    assert not loading["missing_keys"]
    for (name, loaded), saved in zip(encoder.named_parameters(), model.encoder.parameters(), strict=True):
        torch.testing.assert_close(loaded, saved, rtol=0, atol=0, msg=name)


def test_a_folder_saved_by_an_earlier_version_is_read(tiny_encoder, tmp_path):
    model = spread_out(BertSentimentClassifier(str(tiny_encoder), head="linear", max_length=24))
    model.save_pretrained(tmp_path / "saved")
    save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()},
              tmp_path / "saved" / "model.safetensors")
    loaded = BertSentimentClassifier.from_pretrained(tmp_path / "saved")
    numpy.testing.assert_array_equal(loaded.predict(TEXTS)[1], model.predict(TEXTS)[1])
