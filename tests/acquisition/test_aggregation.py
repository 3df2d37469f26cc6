import torch

from al_lightning.acquisition import aggregation


def test_mean_and_count_of_a_hand_worked_image():
    scores = torch.tensor([[[0.0, 0.5, 1.0], [0.5, 0.7, 0.9]], [[0.5, 0.5, 0.5], [0.5, 0.5, 0.5]]])  # (2, 2, 3)
    torch.testing.assert_close(aggregation.mean(scores), torch.tensor([0.6, 0.5]))
    torch.testing.assert_close(aggregation.count_above(scores, 0.5), torch.tensor([0.5, 0.0]))  # strictly above


def test_classification_scores_pass_through():
    scores = torch.tensor([0.2, 0.9, 0.4])
    assert aggregation.mean(scores) is scores
    assert aggregation.count_above(scores, 0.3).tolist() == [0.0, 1.0, 1.0]
