import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit, logit

from review.stats import working_model
from review.stats.working_model import PRIOR_MEANS, fit_working_model, hack_model
from tests.stats.population import make_frame


def test_without_labels_the_model_is_the_prior_mean():
    frame = make_frame(3, accepted_M=[0, 1, 1], probe_M=[0, 0, 1], share_bin_M=[-1, -1, 3])
    model = fit_working_model(frame, labelled_M=np.zeros(3), correct_M=np.zeros(3))
    assert model.f_M == pytest.approx(expit([-1.6, 1.6, 1.6 - 2 + 0.8]))
    assert model.is_converged


def test_the_prior_follows_the_judge():
    frame = make_frame(2, score_M=logit([0.05, 0.95]))
    model = fit_working_model(frame, labelled_M=np.zeros(2), correct_M=np.zeros(2))
    assert model.f_M == pytest.approx(expit(-1.6 + 0.9 * logit([0.05, 0.95])))


def test_an_uncertain_cell_has_a_wide_logit():
    frame = make_frame(1)
    model = fit_working_model(frame, labelled_M=np.zeros(1), correct_M=np.zeros(1))
    # Intercept, missing score, signature and domain each have prior variance 1.
    assert model.eta_sd_M == pytest.approx([2.0])


def test_a_lone_cell_solves_the_ridge_equation():
    frame = make_frame(1)
    model = fit_working_model(frame, labelled_M=np.array([12]), correct_M=np.array([9]))
    # All four active coefficients move together: (eta + 1.6) / 4 = 9 - 12 p.
    eta = logit(model.f_M[0])
    assert (eta + 1.6) / 4 == pytest.approx(9 - 12 * model.f_M[0], abs=1e-5)


def test_labels_that_contradict_a_confident_prior_still_converge():
    frame = make_frame(2, accepted_M=[1, 1], score_M=logit([0.95, 0.95]))
    model = fit_working_model(frame, labelled_M=np.array([5000, 0]), correct_M=np.zeros(2))
    assert model.is_converged
    assert model.f_M[0] < 0.01


def test_a_signature_that_is_always_wrong_leaves_its_verdict():
    frame = make_frame(2, accepted_M=[1, 1], signature_M=[0, 1])
    model = fit_working_model(frame, labelled_M=np.array([40, 15]), correct_M=np.array([40, 0]))
    assert model.f_M[0] > 0.9
    assert model.f_M[1] < 0.25


def test_prediction_of_the_fitted_cells_is_the_fit():
    frame = make_frame(3, accepted_M=[0, 1, 1], signature_M=[4, 5, 6], domain_M=[1, 1, 2])
    counts = {"labelled_M": np.array([5, 8, 2]), "correct_M": np.array([1, 7, 1])}
    model = fit_working_model(frame, **counts)
    assert model.predict(frame) == pytest.approx(model.f_M)
    assert model.eta_sd(frame) == pytest.approx(model.eta_sd_M)


def test_an_unknown_signature_gets_the_mean_effect():
    frame = make_frame(2, accepted_M=[1, 1], signature_M=[0, 1])
    model = fit_working_model(frame, labelled_M=np.array([9, 9]), correct_M=np.array([9, 0]))
    unknown = make_frame(1, accepted_M=[1], signature_M=[77], domain_M=[77])
    coefficients = model.coefficients_F
    assert model.predict(unknown) == pytest.approx(expit(coefficients[[0, 1, 4]].sum()))
    assert model.f_M[1] < model.predict(unknown)[0] < model.f_M[0]


def test_without_convergence_the_previous_model_answers(monkeypatch):
    frame = make_frame(2, accepted_M=[0, 1])
    counts = {"labelled_M": np.array([5, 5]), "correct_M": np.array([0, 1])}
    previous = fit_working_model(frame, **counts)
    monkeypatch.setattr(working_model, "MAX_STEPS", 0)
    kept = fit_working_model(frame, **counts, previous=previous)
    assert kept.f_M == pytest.approx(previous.f_M)
    assert not kept.is_converged


def test_without_convergence_and_without_a_previous_model_the_prior_answers(monkeypatch):
    monkeypatch.setattr(working_model, "MAX_STEPS", 0)
    frame = make_frame(1)
    model = fit_working_model(frame, labelled_M=np.array([5]), correct_M=np.array([5]))
    assert model.f_M == pytest.approx(expit([PRIOR_MEANS[0]]))
    assert not model.is_converged


@pytest.mark.parametrize(("labelled", "correct"), [(1, 2), (1, -1), (np.nan, 0), (np.inf, 0)])
def test_impossible_counts_are_refused(labelled, correct):
    with pytest.raises(ValueError, match="label counts"):
        fit_working_model(
            make_frame(1), labelled_M=np.array([labelled]), correct_M=np.array([correct])
        )


@settings(max_examples=40)
@given(st.data())
def test_the_fit_converges_on_any_counts(data):
    cells = data.draw(st.integers(1, 6))

    def column(strategy):
        return data.draw(st.lists(strategy, min_size=cells, max_size=cells))

    frame = make_frame(
        cells,
        accepted_M=column(st.booleans()),
        score_M=column(st.sampled_from([np.nan, -2.9, 0.0, 2.9])),
        signature_M=column(st.integers(0, 3)),
    )
    labelled_M = np.array(column(st.sampled_from([0, 1, 7, 0.5, 3000])), float)
    correct_M = labelled_M * np.array(column(st.sampled_from([0.0, 0.5, 1.0])))
    model = fit_working_model(frame, labelled_M=labelled_M, correct_M=correct_M)
    assert model.is_converged
    assert np.all((model.f_M > 0) & (model.f_M < 1) & (model.eta_sd_M > 0))


def test_the_fit_converges_where_thousands_are_right_without_exception():
    frame = make_frame(3, accepted_M=[0, 1, 1], score_M=[-2.9, np.nan, -2.9])
    labelled_M = np.full(3, 3000)
    model = fit_working_model(frame, labelled_M=labelled_M, correct_M=labelled_M)
    assert model.is_converged
    assert np.all((model.f_M > 0.98) & (model.f_M < 1))


def test_hacks_are_tied_to_the_wrong_and_accepted():
    frame = make_frame(3, accepted_M=[1, 1, 0], probe_M=[0, 1, 1])
    q_M = hack_model(
        frame,
        f_M=np.array([0.9, 0.5, 0.5]),
        wrong_accepted_M=np.array([4, 1, 0]),
        hacks_M=np.array([1, 1, 0]),
    )
    assert q_M == pytest.approx([0.1 * 1.3 / 5, 0.5 * 1.7 / 2, 0])
