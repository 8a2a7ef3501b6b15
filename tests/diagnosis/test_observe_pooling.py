"""What position of the encoder's output the logits are read from."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from diagnosis.observe import pooling
from diagnosis.record.record import Batch

IDS = torch.tensor([[5, 6, 7, 0, 0, 0, 0, 0], [5, 6, 0, 0, 0, 0, 0, 0], [5, 6, 7, 8, 9, 8, 7, 6]])


def read(pool, ids=IDS, mask=None, frozen=False):
    """The batch after a look at a pass that pools the encoder's output by that function."""
    torch.manual_seed(0)
    hidden, head = torch.randn(*ids.shape, 16, requires_grad=not frozen), nn.Linear(16, 3)
    logits = head(pool(hidden * 1.0))
    now = SimpleNamespace(ids=ids, mask=mask, hidden=hidden, losses=[], batch=Batch("training", 0, len(ids)),
                          calls=[SimpleNamespace(output=logits)])
    pooling.describe(now, 0)
    return now.batch.padded_rows, now.batch.read_at_padding


def test_the_last_position_of_rows_padded_on_the_right_is_padding_and_the_first_is_not():
    assert read(lambda hidden: hidden[:, -1]) == (2, 2)
    assert read(lambda hidden: hidden[:, 0]) == (2, 0)


def test_with_padding_on_the_left_it_is_the_other_way_round():
    assert read(lambda hidden: hidden[:, 0], IDS.flip(1)) == (2, 2)
    assert read(lambda hidden: hidden[:, -1], IDS.flip(1)) == (2, 0)


def test_a_recurrent_layer_is_read_where_its_last_step_is():
    recurrent = nn.LSTM(16, 16, batch_first=True)
    assert read(lambda hidden: recurrent(hidden)[0][:, -1]) == (2, 2)


def test_a_mean_over_all_positions_is_no_reading_of_one():
    assert read(lambda hidden: hidden.mean(1)) == (0, 0)


def test_an_end_token_with_the_padding_s_id_is_none_where_the_mask_shows_it():
    mask = (IDS != 0).long()
    mask[torch.arange(2), torch.tensor([3, 2])] = 1
    last = lambda hidden: hidden[torch.arange(3), mask.sum(1) - 1]
    assert read(last, mask=mask) == (2, 0) and read(last) == (2, 2)


@pytest.mark.parametrize("how", [{"frozen": True}, {"ids": IDS[2:]}])
def test_without_a_gradient_or_without_padding_nothing_is_said(how):
    assert read(lambda hidden: hidden[:, -1], **how) == (None, None)
