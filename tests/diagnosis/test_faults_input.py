"""What the checks of the input say of records written by hand: masks and tokenizers."""

import dataclasses

import pytest
from healthy_records import crashed, every_batch, found, from_configuration, healthy, not_measured, passes


# mask-missing, mask-wrong


def test_padding_without_a_mask_is_told_and_weighed_by_its_share():
    record = every_batch(healthy(), mask_given=False, padding_shown=128)
    assert found("mask-missing", record, "error").evidence["padding_share"] == 0.4
    not_measured("mask-wrong", record)
    found("mask-missing", every_batch(record, padding=16, padding_shown=16), "warning")


def test_no_mask_is_needed_where_nothing_is_padded():
    passes("mask-missing", every_batch(healthy(), mask_given=False, padding=0, padding_shown=0))


@pytest.mark.parametrize("hidden, shown, looks", [(192, 128, "inverted"), (192, 0, "all zeros"), (0, 128, "all ones"),
                                                  (90, 60, "misaligned")])
def test_a_mask_that_hides_text_or_shows_padding_is_told(hidden, shown, looks):
    record = every_batch(healthy(), real_hidden=hidden, padding_shown=shown)
    assert found("mask-wrong", record, "error").evidence["looks"] == looks
    passes("mask-missing", record)


def test_a_mask_that_is_wrong_in_evaluation_alone_is_told_as_such():
    record = healthy()
    validation = dataclasses.replace(record.batches[0], role="validation")
    validation.real_hidden, validation.padding_shown = validation.real_tokens, 0
    record.batches.append(validation)
    assert found("mask-wrong", record, "error").title.startswith("in evaluation the attention mask hides 100 %")


def test_stray_positions_of_a_mask_are_healthy():
    passes("mask-wrong", every_batch(healthy(), real_hidden=7, padding_shown=5))


def test_an_end_token_that_is_also_the_padding_is_not_held_against_the_mask():
    record = every_batch(healthy(), padding=24, padding_shown=16)
    found("mask-wrong", record, "warning")
    record.tokenizer.pad_id = record.tokenizer.end_id
    passes("mask-wrong", record)


# tokenizer-mismatch


def test_ids_that_mean_other_tokens_to_the_encoder_are_told():
    record = healthy()
    record.tokenizer.own_agreement, record.tokenizer.name = 0.08, "bert-base-cased"
    evidence = found("tokenizer-mismatch", record, "error").evidence
    assert evidence["ids_with_the_same_meaning_share"] == 0.08 and evidence["tokenizer"] == "bert-base-cased"


def test_words_that_the_script_numbered_itself_mean_nothing_to_the_encoder():
    record = healthy()
    record.tokenizer = None
    record.encoder.unused_share, record.encoder.start_share = 0.6, 0.0
    assert found("tokenizer-mismatch", record, "error").evidence["ids_that_stand_for_nothing_share"] == 0.6
    record.encoder.unused_share, record.encoder.start_share = 0.0, 1.0      # ids made before, with its own tokenizer
    passes("tokenizer-mismatch", record)


def test_vocabularies_of_different_size_are_told_where_meanings_cannot_be_compared():
    record = healthy()
    record.tokenizer.own_agreement, record.tokenizer.vocabulary_size = None, 28996
    assert found("tokenizer-mismatch", record, "error").evidence["difference"] == 1526


def test_an_id_beyond_the_embeddings_is_told():
    record = crashed(every_batch(healthy(), highest_id=31000), "IndexError", "index out of range in self")
    assert found("tokenizer-mismatch", record, "error").evidence["highest_id"] == 31000


def test_embeddings_rounded_up_and_added_tokens_are_healthy():
    record = healthy()
    record.tokenizer.own_agreement, record.encoder.vocabulary_size = None, 30592
    passes("tokenizer-mismatch", record)
    record.tokenizer.own_agreement, record.tokenizer.vocabulary_size = 0.998, 30524
    passes("tokenizer-mismatch", record)


def test_another_name_alone_is_no_mismatch_but_leaves_it_open():
    record = healthy()
    record.tokenizer.own_agreement, record.tokenizer.name = None, "my-tokenizer"
    not_measured("tokenizer-mismatch", record)


def test_an_encoder_without_checkpoint_knows_no_vocabulary_that_could_mismatch():
    record = from_configuration(healthy())
    record.tokenizer.own_agreement, record.tokenizer.vocabulary_size = None, 2000
    passes("tokenizer-mismatch", record)
