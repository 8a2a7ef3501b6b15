"""The model is the user's: what a run leaves is read by transformers itself, by onnxruntime and by people."""

import contextlib
import io
import json
import subprocess
from pathlib import Path

import numpy
import pytest
import torch
from conftest import metrics, posts, write_csv
from safetensors.torch import load_file, save_file
from transformers import AutoModel, AutoTokenizer, RobertaConfig

import BERT_model_aggressive as model_script
from BERT_model_aggressive import BertSentimentClassifier
from training.run.data import read_tables
from training.run.results import compare_reloaded
from training.run.screen import say_results
from training.run.trouble import RunError

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
        inputs = tokenizer(json.loads(sys.argv[1]), truncation=True, padding=True, return_tensors="pt")
        logits = model.eval()(**inputs).logits
    classify = pipeline("text-classification", model=folder)
    print(json.dumps([logits.tolist(), classify(json.loads(sys.argv[1]), truncation=True),
                      [*map(sorted, (loading["missing_keys"], loading["unexpected_keys"]))]]))
"""


@pytest.fixture(scope="module")
def run(training_script, tiny_encoder, tmp_path_factory):
    """(folder, screen) of a run of five epochs with the default head; its table and labels are awkward to write of."""
    folder = tmp_path_factory.mktemp("a | table")
    labels = {"Positive": "sehr | gut", "Negative": "<b>schlecht</b>", "Neutral": "*", "Irrelevant": "egal"}
    table = write_csv(folder / "posts.csv", [(text, labels[label]) for text, label in posts(200)] + [("", "egal")])
    constants = {"TRAIN_PATH": table, "MODEL_NAME": tiny_encoder, "OUTPUT_DIR": folder / "run", "NUM_EPOCHS": 5,
                 "MAX_LENGTH": 16, "LEARNING_RATE": 2e-3, "BATCH_SIZE": 16}
    with contextlib.redirect_stdout(io.StringIO()) as screen:
        assert training_script.main([f"--{name}={value}" for name, value in constants.items()]) == 0
    return folder / "run", screen.getvalue()


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


def test_a_run_ends_by_loading_its_model_again_and_comparing(run):
    folder, screen = run
    assert f"saved      {folder / 'best'} loaded again: probabilities of 20 validation rows within " in screen


def test_a_model_that_differs_when_it_is_loaded_again_is_an_error(run, training_script, tmp_path):
    folder, _ = run
    table = folder.parent / "posts.csv"
    data = type("Data", (), {"validation": read_tables(training_script.settings_from([f"--TRAIN_PATH={table}"]))[1]})
    model = BertSentimentClassifier.from_pretrained(folder / "best")
    model.temperature = 1.0     # as the epoch's are
    best = {"probabilities": model.predict(data.validation.texts)[1]}
    assert "within " in compare_reloaded(BertSentimentClassifier, data, best, folder / "best")
    torch.nn.init.normal_(model.encoder.pooler.dense.weight)        # as where a checkpoint lacks it
    model.save_pretrained(tmp_path / "other")
    with pytest.raises(RunError, match="loaded again, gives other probabilities.*do not use it"):
        compare_reloaded(BertSentimentClassifier, data, best, tmp_path / "other")


def test_the_card_tells_data_scores_beside_baselines_and_limits(run):
    folder, _ = run
    card = (folder / "best" / "README.md").read_text("utf-8")
    best = max(metrics(folder), key=lambda epoch: epoch["val_macro_f1"])
    assert f"| this model | {best['val_acc']:.3f} | " in card and f" | {best['val_macro_f1']:.3f} |" in card
    assert "| LinearSVC over TF-IDF | 1." in card and "| always " in card
    assert "180 rows of the table were trained on; left out: 1 without text." in card
    assert "not shown to be better than LinearSVC" in card and "Only the first 16 tokens" not in card
    assert "| sehr \\| gut |" in card and "&lt;b&gt;schlecht&lt;/b&gt;" in card and "| \\* |" in card
    assert f"torch {torch.__version__}" in card and "--EXPORT=onnx" in card
    assert max(map(len, card.splitlines())) < 240


def test_tensorboard_reads_the_epochs_figures(run):
    event_accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    folder, _ = run
    assert sorted(path.name[-3:] for path in folder.glob("*tfevents*")) == [
        f"{line['epoch']:03}" for line in metrics(folder)]      # the order in which TensorBoard reads them
    events = event_accumulator.EventAccumulator(str(folder)).Reload()
    for line in metrics(folder):
        for tag, figure in (("loss/training", "train_loss"), ("macro-F1/validation", "val_macro_f1"), ("rate", "lr")):
            told = {event.step: event.value for event in events.Scalars(tag)}
            assert told[line["epoch"]] == pytest.approx(line[figure])


def test_onnxruntime_gives_the_models_labels_and_probabilities(run, tmp_path, capsys):
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    folder = run[0] / "best"
    assert model_script.main(["--EXPORT=onnx", str(folder)]) == 0
    assert f"wrote {folder / 'model.onnx'}: its probabilities are within " in capsys.readouterr().out
    session = onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
    model, texts = BertSentimentClassifier.from_pretrained(folder), [text for text, _ in posts(200, seed=9)]
    inputs = AutoTokenizer.from_pretrained(folder)(texts, truncation=True, padding=True, return_tensors="np")
    logits, probabilities = session.run(None, {name: inputs[name] for name in ("input_ids", "attention_mask")})
    labels = json.loads(session.get_modelmeta().custom_metadata_map["labels"])
    assert labels == model.label_names
    expected, wanted = model.predict(texts)
    assert [labels[best] for best in logits.argmax(axis=1)] == expected and len(set(expected)) > 1
    numpy.testing.assert_allclose(probabilities, wanted, atol=1e-4)


def test_what_an_export_lacks_is_named(run, monkeypatch, capsys):
    from training import export
    monkeypatch.setattr(export, "NEEDED", ("onnxscript_of_another_name", "json"))
    assert model_script.main(["--EXPORT=onnx", str(run[0] / "best")]) == 2
    assert capsys.readouterr().err == ("error: --EXPORT=onnx needs onnxscript_of_another_name, not installed here: "
                                       "pip install onnxscript_of_another_name\n")


@pytest.mark.parametrize("arguments", [[], ["posts.csv", "--EXPORT=onnx"]])
def test_a_table_or_an_export_is_asked_for_and_not_both(arguments, tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        model_script.main([str(tmp_path), *arguments])
    assert ended.value.code == 2 and "give a table to score, or --EXPORT=onnx" in capsys.readouterr().err


@pytest.mark.parametrize("pooling, told", [
    ("pooler", 'transformers alone reads it too: pipeline("text-classification", \'runs/x/best\')'),
    ("mean", "transformers alone has no class for a linear head on mean: train with POOLING=pooler")])
def test_the_last_lines_say_whether_transformers_alone_reads_a_linear_head(tiny_encoder, capsys, pooling, told):
    say_results(Path("runs/x"), 3, BertSentimentClassifier(str(tiny_encoder), head="linear", pooling=pooling))
    assert told in capsys.readouterr().out
