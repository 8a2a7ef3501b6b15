"""What the head is given of a text: which pooling is chosen and why, and that it is the same however it is computed."""

import json

import pytest
import torch
from conftest import on_both_devices, on_cuda, posts, tiny_bert, write_csv
from test_speed import FAMILIES, assert_alike, batch_of, epoch_without_waits, logits_and_gradients
from test_training import random_rows
from transformers import AutoModel, BertModel

from BERT_model_aggressive import BertSentimentClassifier
from training.encoder.finding import EncoderError, embedded_encoder, find_encoder, load_encoder
from training.encoder.frozen import seeing_bottom
from training.encoder.pooling import choose_pooling

OLDER = {"pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True, "pooling_mode_max_tokens": False}
SENTENCE_TRANSFORMERS = "sentence_transformers.models."


def with_files_of_its_own(folder, config):
    """Put beside a checkpoint what sentence-transformers puts there."""
    modules = [{"path": "", "type": SENTENCE_TRANSFORMERS + "Transformer"},
               {"path": "1_Pooling", "type": SENTENCE_TRANSFORMERS + "Pooling"}]
    (folder / "1_Pooling").mkdir()
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(config))
    return folder


def chosen(folder, wanted="auto"):
    source = find_encoder(str(folder))
    return choose_pooling(wanted, load_encoder(source)[0], source)


@pytest.mark.parametrize("config, pooling", [
    (OLDER, "mean"), ({"pooling_mode": "mean"}, "mean"), ({"pooling_mode": "cls"}, "cls"),
    (OLDER | {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, "cls"),
    ({"pooling_mode": "max"}, "pooler")])       # which the head cannot be given: as without the files
def test_a_checkpoint_that_brings_its_own_pooling_gets_it(tmp_path, config, pooling):
    assert chosen(with_files_of_its_own(tiny_bert(tmp_path / "own"), config))[0] == pooling


def test_a_trained_pooler_is_used_and_one_that_the_checkpoint_lacks_is_not(tmp_path):
    folder = tiny_bert(tmp_path / "trained")
    assert chosen(folder) == ("pooler", "the checkpoint has a trained one")
    BertModel.from_pretrained(folder, add_pooling_layer=False).save_pretrained(folder)
    assert chosen(folder) == ("cls", "the checkpoint has no trained pooler")
    assert chosen(folder, "mean") == ("mean", "by name")
    with pytest.raises(EncoderError, match="POOLING is pooler, and the checkpoint .* has none that was trained"):
        chosen(folder, "pooler")


def test_the_embedded_encoder_is_known_for_its_mean_even_without_its_files(tmp_path):
    source = embedded_encoder("for the test")
    encoder = AutoModel.from_config(FAMILIES["bert"])
    assert choose_pooling("auto", encoder, source) == ("mean", "as the checkpoint's own files say")
    source.path = str(tmp_path)
    assert choose_pooling("auto", encoder, source)[0] == "mean"


@on_both_devices
@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_each_pooling_is_the_same_end_to_end_and_above_kept_frozen_layers(device, pooling):
    torch.manual_seed(0)
    config = FAMILIES["bert"]
    model = BertSentimentClassifier(encoder=AutoModel.from_config(config), freeze_strategy="half", dropout=0.0,
                                    pooling=pooling).to(device)
    ids, mask, layout = batch_of(config, device=device)
    with seeing_bottom(model.encoder) as seen:
        padded = logits_and_gradients(model, ids, mask)
    assert model.run_end_to_end() == ""
    assert_alike(logits_and_gradients(model, ids, mask, layout), padded)
    assert_alike(logits_and_gradients(model, ids, mask, layout, bottom=seen[0]), padded)
    states = model.encoder(input_ids=ids, attention_mask=mask).last_hidden_state[0]
    wanted = states[0] if pooling == "cls" else states.mean(dim=0)      # the first text fills its row
    torch.testing.assert_close(model.eval().pooled(ids, mask)[0], wanted, rtol=1e-5, atol=1e-5)


@on_cuda
def test_on_cuda_the_mean_makes_no_step_wait():
    epoch_without_waits(random_rows(160), pooling="mean")


def test_a_run_says_its_pooling_and_its_model_keeps_it(train, tmp_path):
    table = write_csv(tmp_path / "posts.csv", posts(60))
    encoder = with_files_of_its_own(tiny_bert(tmp_path / "own"), OLDER)
    status, screen, _ = train(TRAIN_PATH=table, MODEL_NAME=encoder)
    assert status == 0 and "pooling    mean: as the checkpoint's own files say" in screen
    assert "pooler" not in screen.partition("parameters")[2].partition("schedule")[0]
    saved = BertSentimentClassifier.from_pretrained(tmp_path / "run" / "best")
    assert saved.pooling == "mean" and saved.encoder.pooler is None
    _, given = saved.predict(["the phone is great", "a"])
    saved.run_end_to_end()
    assert given == pytest.approx(saved.predict(["the phone is great", "a"])[1], abs=1e-5)


def test_a_classifier_saved_before_poolings_had_names_is_given_what_it_was(tiny_encoder, tmp_path):
    model = BertSentimentClassifier(str(tiny_encoder), head="linear").eval()
    model.save_pretrained(tmp_path)
    description = json.loads((tmp_path / "classifier.json").read_text())
    assert description.pop("pooling") == "pooler"
    (tmp_path / "classifier.json").write_text(json.dumps(description))
    assert (BertSentimentClassifier.from_pretrained(tmp_path).predict(["love"])[1] == model.predict(["love"])[1]).all()
