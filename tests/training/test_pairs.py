"""Pairs of texts: told apart as the checkpoint knows it, cut fairly, counted as pairs, and read alike everywhere."""

import csv
import io
import random
from types import SimpleNamespace

import numpy
import pytest
import torch
from conftest import on_both_devices, posts, tiny_bert, write_csv
from test_speed import FAMILIES, assert_alike, batch_of, classifier, logits_and_gradients
from transformers import AutoTokenizer

import BERT_model_aggressive as model_script
from BERT_model_aggressive import BertSentimentClassifier
from training.encoder.frozen import seeing_bottom
from training.run.data import change_texts
from training.texts.batches import encode, padded
from training.texts.splitting import overlap
from training.texts.tables import Table, Texts, read_table

ABOUT = ("phone", "weather", "dinner")
FIRST, SECOND = "great wonderful phone is great and happy", "awful phone"


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """Rows about one thing each: of another thing than the post's own, the phone, they are Irrelevant."""
    chance = random.Random(0)
    rows = []
    for text, label in posts(160):
        about = chance.choice(ABOUT)
        rows.append((text, about, label if about == "phone" else "Irrelevant"))
    return write_csv(tmp_path_factory.mktemp("pairs") / "t.csv", rows, ("text", "about", "label"))


@pytest.fixture(scope="module")
def tokenizer(tiny_encoder):
    return AutoTokenizer.from_pretrained(tiny_encoder)


@pytest.fixture
def trained(train, table, tmp_path):
    """(screen, the saved model's folder) of a run on the pairs."""
    status, screen, errors = train(TRAIN_PATH=table, SECOND_TEXT_COLUMN="about", FREEZE_STRATEGY="half", NUM_EPOCHS=2,
                                   TEST_SHARE=0.1)
    assert status == 0, errors
    return screen, tmp_path / "run" / "best"


def test_rows_are_pairs_of_a_text_and_its_second_one_with_the_types_that_the_tokenizer_gives(tokenizer):
    rows = encode([FIRST, "a"], numpy.array([0, 1]), tokenizer, 32, [SECOND, FIRST])
    wanted = tokenizer([FIRST, "a"], [SECOND, FIRST], padding=True, return_tensors="pt")
    batch = padded([rows[0], rows[1]], tokenizer.pad_token_id)
    for name in ("input_ids", "attention_mask"):
        assert torch.equal(batch[name], wanted[name])
    real = wanted["attention_mask"].bool()
    assert torch.equal(batch["token_type_ids"][real], wanted["token_type_ids"][real])
    assert wanted["token_type_ids"].max() == 1 and "token_type_ids" not in padded([encode(
        [FIRST], numpy.array([0]), tokenizer, 32)[0]], 0)
    tokenizer_without = AutoTokenizer.from_pretrained(tokenizer.name_or_path, model_input_names=["input_ids"])
    assert encode([FIRST], numpy.array([0]), tokenizer_without, 32, [SECOND]).second_starts is None


def test_the_longer_text_of_a_pair_is_cut_first(tokenizer):
    row = encode([FIRST], numpy.array([0]), tokenizer, 9, [SECOND])[0]
    assert len(row[1]) == 9
    assert tokenizer.decode(row[1][row[3]:]).split()[:2] == SECOND.split()


@on_both_devices
@pytest.mark.parametrize("family", ["bert", "electra"])
def test_types_end_to_end_and_above_kept_frozen_layers_give_what_padded_rows_give(device, family):
    config = FAMILIES[family]
    model, (ids, mask, layout) = classifier(config, "half").to(device), batch_of(config, device=device)
    types = (torch.arange(ids.shape[1], device=device) >= 3).long().expand_as(ids)
    with seeing_bottom(model.encoder) as seen:
        wanted = logits_and_gradients(model, ids, mask, token_type_ids=types)
    assert model.run_end_to_end() == ""
    assert_alike(logits_and_gradients(model, ids, mask, layout, token_type_ids=types), wanted)
    assert_alike(logits_and_gradients(model, ids, mask, layout, seen[0], types), wanted)
    assert not torch.allclose(logits_and_gradients(model, ids, mask, layout)[0], wanted[0])


def test_a_pair_is_the_same_where_both_of_its_texts_are():
    def of(pairs):
        texts, seconds = zip(*pairs)
        return Table("", Texts(texts), ["a"] * len(pairs), lines=range(len(pairs)), seconds=Texts(seconds))

    training = of([("Great!", "phone"), ("it broke", "lamp")])
    shared = overlap(training, of([("great", "Phone"), ("great", "lamp"), ("it broke", "phone"), ("lamp", "it broke")]))
    assert shared.texts == 0.25
    assert training.rows([1]).seconds == ["lamp"] and list(training.words) == ["phone Great!", "lamp it broke"]


def test_rows_without_a_second_text_are_counted(tmp_path):
    rows = [("good", "lamp", "1"), ("bad", "", "0"), ("fine", "sofa", "1")]
    table = read_table(write_csv(tmp_path / "t.csv", rows, ("text", "about", "label")), second_column="about")
    assert table.account() == "2 of 3 rows: 1 without second text" and list(table.seconds) == ["lamp", "sofa"]


def test_the_first_text_alone_is_changed(tokenizer):
    texts = Table("", Texts([FIRST]), ["a"], lines=[2], seconds=Texts([SECOND]))
    rows = encode(texts.texts, numpy.array([0]), tokenizer, 32, texts.seconds)
    whole = rows[0]
    loader = SimpleNamespace(dataset=rows, batch_sampler=SimpleNamespace())
    change_texts(SimpleNamespace(training=texts, synonyms={}, loaders=[loader]), SimpleNamespace(
        AUGMENT="reverse", AUGMENT_SHARE=1.0, SEED=0, MAX_LENGTH=32), tokenizer, epoch=1)
    before, after = whole[1][:whole[3]], loader.dataset[0][1][:loader.dataset[0][3]]
    assert before.tolist() != after.tolist() and sorted(before) == sorted(after)
    assert loader.dataset[0][1][loader.dataset[0][3]:].tolist() == whole[1][whole[3]:].tolist()


def test_a_model_of_pairs_is_asked_in_pairs_and_scores_a_table_of_them(trained, table, capsys):
    screen, folder = trained
    assert 'second_texts=["..."])' in screen.splitlines()[-1]
    model = BertSentimentClassifier.from_pretrained(folder)
    with pytest.raises(ValueError, match="a model of pairs of texts: give second_texts, the about of each"):
        model.predict(["the phone is great"])
    pairs = read_table(table, second_column="about")
    labels, probabilities = model.predict(list(pairs.texts), 7, list(pairs.seconds))
    rows = model.tokenizer(list(pairs.texts), list(pairs.seconds), padding=True, return_tensors="pt")
    with torch.no_grad():
        wanted = model(rows["input_ids"], rows["attention_mask"], token_type_ids=rows["token_type_ids"])
    numpy.testing.assert_allclose(probabilities, wanted.div(model.temperature).softmax(dim=1).numpy(), atol=1e-5)
    assert model_script.main([str(folder), str(table)]) == 0
    scored = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [row["predicted_label"] for row in scored] == labels
    assert model_script.main([str(folder), str(table), "--SECOND_TEXT_COLUMN=subject"]) == 2
    assert "has no column 'subject'" in capsys.readouterr().err


def test_a_model_of_single_texts_takes_no_second_ones(tmp_path):
    model = BertSentimentClassifier(str(tiny_bert(tmp_path / "tiny")))
    with pytest.raises(ValueError, match="a model of single texts"):
        model.predict(["a"], second_texts=["b"])


def test_a_missing_second_column_is_told(train, table):
    status, _, errors = train(TRAIN_PATH=table, SECOND_TEXT_COLUMN="subject")
    assert status == 2 and "has no column 'subject'" in errors and "SECOND_TEXT_COLUMN" in errors
