import numpy as np
import pytest
from scipy import stats

from tpifu.errors import DataError
from tpifu.measures import intervals
from tpifu.measures.intervals import bootstrap_means, caveats, interval, paired_differences

CLIPS = np.repeat(np.arange(8), [1, 5, 3, 9, 2, 4, 7, 6])


def simulate(rng, seeds, clips, between_seeds, between_clips, between_pairs=0.0):
    """Differences with true mean 0 on three equal meshes of each clip; the clips of the meshes."""
    values = rng.normal(0, between_seeds, (seeds, 1)) + rng.normal(0, between_clips, clips)
    values = values + rng.normal(0, between_pairs, (seeds, clips))
    return np.repeat(values, 3, axis=1), np.repeat(np.arange(clips), 3)


def slow_bootstrap(values, clips, rng):
    """10,000 means over all values of clips and seeds that are drawn with replacement."""
    names = sorted(set(clips.tolist()))
    seeds = len(values)
    drawn_clips = rng.multinomial(len(names), [1 / len(names)] * len(names), size=10_000)
    drawn_seeds = np.ones((10_000, 1), int)
    if seeds > 1:
        drawn_seeds = rng.multinomial(seeds, [1 / seeds] * seeds, size=10_000)
    means = []
    for clip_counts, seed_counts in zip(drawn_clips, drawn_seeds, strict=True):
        meshes = [
            mesh
            for name, count in zip(names, clip_counts, strict=True)
            for mesh in np.flatnonzero(clips == name).tolist() * count
        ]
        runs = [row for row, count in zip(values, seed_counts, strict=True) for _ in range(count)]
        means.append(np.mean([row[meshes].mean() for row in runs]))
    return np.array(means)


def slow_interval(values, clips, rng):
    """The interval and the detectable difference by their definitions in docs/measures.md."""
    means = slow_bootstrap(values, clips, rng)
    quantiles = np.quantile(means, [0.025, 0.975])
    mean = values.mean()
    names = sorted(set(clips.tolist()))
    seeds_variance = 0.0
    if len(values) > 1:
        seeds_variance = np.var([row.mean() for row in values], ddof=1) / len(values)
    clips_variance = 0.0
    for name in names:
        own = values[:, clips == name]
        clips_variance += (own.shape[1] / len(clips) * (own.mean() - mean)) ** 2
    clips_variance *= len(names) / (len(names) - 1)
    variance = seeds_variance + clips_variance
    shares = clips_variance**2 / (len(names) - 1)
    if len(values) > 1:
        shares += seeds_variance**2 / (len(values) - 1)
    t = stats.t(variance**2 / shares)
    detectable = (t.ppf(0.975) + t.ppf(0.8)) * variance**0.5
    if len(values) == 1:
        return (*quantiles, detectable)
    scale = t.ppf(0.975) * variance**0.5 / (stats.norm.ppf(0.975) * means.std())
    return (*(mean + scale * (quantiles - mean)), detectable)


@pytest.mark.parametrize("seeds", [1, 2, 4])
def test_the_interval_equals_its_definition(seeds):
    rng = np.random.default_rng(seeds)
    values = rng.normal(size=(seeds, 1)) + rng.normal(size=8)[CLIPS] + rng.normal(size=len(CLIPS))
    clips = np.array([f"clip{clip}" for clip in CLIPS])
    order = rng.permutation(len(clips))
    values, clips = values[:, order], clips[order]
    fast = interval(values, clips, np.random.default_rng(5))
    slow = slow_interval(values, clips, np.random.default_rng(5))
    assert (fast.low, fast.high, fast.detectable) == pytest.approx(slow, rel=1e-9)
    assert fast.mean == pytest.approx(values.mean())
    assert (fast.seeds, fast.clips, fast.meshes) == (seeds, 8, len(CLIPS))


def test_drawn_clips_and_seeds_are_independent_draws_with_replacement():
    rng = np.random.default_rng(1)
    sums, sizes = rng.normal(size=(3, 5)), np.array([1, 2, 3, 4, 5])
    means = []
    for _ in range(10_000):
        clips, seeds = rng.integers(5, size=5), rng.integers(3, size=3)
        means.append(sums[np.ix_(seeds, clips)].sum() / sizes[clips].sum() / 3)
    fast = np.quantile(bootstrap_means(sums, sizes, rng), [0.025, 0.5, 0.975])
    slow = np.quantile(means, [0.025, 0.5, 0.975])
    # The two use different random numbers: allow a few hundredths of the width.
    assert fast == pytest.approx(slow, abs=0.05 * (slow[2] - slow[0]))


def test_a_mesh_without_a_value_in_one_run_is_excluded_from_all_runs():
    values = np.random.default_rng(0).normal(size=(3, len(CLIPS)))
    known = np.arange(len(CLIPS)) % 5 != 0  # removes the whole first clip
    expected = interval(values[:, known], CLIPS[known], np.random.default_rng(0))
    values[1, ~known] = np.nan
    found = interval(values, CLIPS, np.random.default_rng(0))
    assert found == expected
    assert (found.clips, found.meshes) == (7, known.sum())


def test_a_measure_that_no_mesh_has_in_all_runs_has_no_interval():
    values = np.array([[1.0, np.nan], [np.nan, 1.0]])
    found = interval(values, np.arange(2), np.random.default_rng(0))
    assert (found.seeds, found.clips, found.meshes) == (2, 0, 0)
    assert np.isnan([found.mean, found.low, found.high, found.detectable]).all()


def test_repeated_frames_of_a_clip_do_not_narrow_the_interval():
    values = np.random.default_rng(0).normal(size=(3, 12))
    once = interval(values, np.arange(12), np.random.default_rng(5))
    tenfold = interval(
        np.repeat(values, 10, axis=1), np.repeat(np.arange(12), 10), np.random.default_rng(5)
    )
    assert (tenfold.low, tenfold.high) == pytest.approx((once.low, once.high))
    assert tenfold.detectable == pytest.approx(once.detectable)


@pytest.mark.parametrize("value", [0.0, 0.1, 1 / 3])
@pytest.mark.parametrize("seeds", [1, 3])
def test_equal_differences_give_an_interval_without_width(seeds, value):
    found = interval(np.full((seeds, 7), value), np.arange(7) // 2, np.random.default_rng(0))
    assert (found.low, found.mean, found.high) == pytest.approx((value, value, value), abs=1e-12)
    assert found.detectable == pytest.approx(0, abs=1e-12)


def test_one_seed_and_one_clip_give_no_width_and_no_detectable_difference():
    found = interval(np.arange(6.0)[None], np.zeros(6, int), np.random.default_rng(0))
    assert (found.low, found.high) == (2.5, 2.5)
    assert np.isnan(found.detectable)


def test_one_clip_gives_the_variation_between_seeds():
    values = np.array([1.0, 2.0, 6.0])[:, None].repeat(4, axis=1)
    found = interval(values, np.zeros(4, int), np.random.default_rng(0))
    error = np.std([1, 2, 6], ddof=1) / 3**0.5
    assert (found.seeds_error, found.clips_error) == pytest.approx((error, 0))
    assert found.detectable == pytest.approx((4.3027 + 1.0607) * error, rel=1e-4)  # t, 2 df


def test_standard_errors_follow_the_variance_components(monkeypatch):
    monkeypatch.setattr(intervals, "DRAWS", 1)
    # The variance of seed-clip pairs contributes to both errors.
    rng = np.random.default_rng(0)
    studies = [interval(*simulate(rng, 4, 10, 0.3, 1.0, 0.5), rng) for _ in range(200)]
    seeds = np.mean([one.seeds_error**2 for one in studies])
    clips = np.mean([one.clips_error**2 for one in studies])
    assert seeds == pytest.approx((0.3**2 + 0.5**2 / 10) / 4, rel=0.15)
    assert clips == pytest.approx((1.0**2 + 0.5**2 / 4) / 10, rel=0.15)


@pytest.mark.parametrize("between_seeds", [0.3, 1.0])
@pytest.mark.parametrize("seeds", [2, 5])
def test_the_interval_covers_the_truth_and_finds_the_detectable_difference(
    seeds, between_seeds, monkeypatch
):
    monkeypatch.setattr(intervals, "DRAWS", 1000)
    rng = np.random.default_rng(seeds)
    # The detectable difference from the true variance components of 12 clips.
    by_seed = (between_seeds**2 + 0.5**2 / 12) / seeds
    by_clip = (1 + 0.5**2 / seeds) / 12
    freedom = (by_seed + by_clip) ** 2 / (by_seed**2 / (seeds - 1) + by_clip**2 / 11)
    effect = stats.t.ppf([0.975, 0.8], freedom).sum() * (by_seed + by_clip) ** 0.5
    studies = [
        interval(*simulate(rng, seeds, 12, between_seeds, 1.0, 0.5), rng) for _ in range(400)
    ]
    # Nominal 95 % and 80 %; the standard error of a share of 400 is at most 2.5 %.
    assert np.mean([one.low <= 0 <= one.high for one in studies]) >= 0.9
    assert 0.7 <= np.mean([one.low + effect > 0 for one in studies]) <= 0.87


def rows(values, clip="a"):
    return [{"split": "test", "clip": clip, "frame": t, "iou": v} for t, v in enumerate(values)]


def test_differences_are_paired_by_seed_and_mesh():
    first = {0: rows([0.1, 0.2]), 1: rows([0.3, None])}
    second = {1: rows([0.35, 0.5]), 0: rows([0.3, 0.3])}
    values, clips = paired_differences(first, second, "iou")
    np.testing.assert_allclose(values, [[0.2, 0.1], [0.05, np.nan]])
    assert clips.tolist() == ["a", "a"]


def test_runs_with_other_seeds_or_meshes_are_refused():
    runs = {0: rows([1.0]), 1: rows([1.0])}
    with pytest.raises(DataError, match="different seeds: 0, 1; 0, 2"):
        paired_differences(runs, {0: rows([1.0]), 2: rows([1.0])}, "iou")
    with pytest.raises(DataError, match="different meshes"):
        paired_differences(runs, {0: rows([1.0]), 1: rows([1.0], "b")}, "iou")
    with pytest.raises(AssertionError, match="several rows per mesh"):
        paired_differences({0: rows([1.0]) * 2}, {0: rows([1.0]) * 2}, "iou")


def test_caveats_name_the_missing_variation_and_the_number_of_intervals():
    rng = np.random.default_rng(0)
    full = interval(rng.normal(size=(2, 3)), np.arange(3), rng)
    assert caveats([full]) == []
    one_seed = interval(rng.normal(size=(1, 3)), np.arange(3), rng)
    one_clip = interval(rng.normal(size=(2, 3)), np.zeros(3, int), rng)
    (seed,) = caveats([one_seed])
    assert "one seed does not cover the variation between training runs" in seed
    lines = caveats([full] * 6 + [one_seed, one_clip])
    assert lines[0] == seed
    assert "between clips" in lines[1]
    assert (
        "The table has 8 intervals. If no variant made a difference, about 0.4 of them" in lines[2]
    )
