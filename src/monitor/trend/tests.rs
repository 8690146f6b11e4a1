//! Patterns that are growth, and patterns that are not. Values are MB, times minutes.

use proptest::prelude::*;

use super::{Point, growth};

/// Reproducible noise in -1..1.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((mixed ^ (mixed >> 31)) >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    }
}

fn series(samples: usize, value: impl FnMut(f64) -> f64) -> Vec<Point> {
    let times = (0..samples).map(|at| at as f64);
    times.clone().zip(times.map(value)).collect()
}

fn grows(samples: usize, value: impl FnMut(f64) -> f64) -> f64 {
    growth(&series(samples, value)).expect("enough samples")
}

#[test]
fn growth_of_a_line_is_its_slope() {
    for samples in 2..100 {
        for slope in [-250.0, -1.0, 0.0, 0.5, 100.0] {
            let found = grows(samples, |t| 1_000.0 + slope * t);
            assert!(
                (found - slope).abs() < 1e-9,
                "{found} for {slope} in {samples}"
            );
        }
    }
    assert_eq!(growth(&[]), None);
    assert_eq!(growth(&[(0.0, 1.0)]), None);
}

#[test]
fn growth_of_one_or_two_jumps_is_zero() {
    for at in 0..60 {
        assert_eq!(
            grows(60, |t| if t < f64::from(at) { 500.0 } else { 5_000.0 }),
            0.0,
            "at {at}"
        );
        assert_eq!(
            grows(60, |t| 500.0
                * f64::from(u8::from(t > 17.0) + u8::from(t > f64::from(at)))),
            0.0,
            "at {at}"
        );
    }
}

#[test]
fn growth_of_a_sawtooth_is_not_positive() {
    // The value rises by 100 a minute, then falls back.
    for period in 2..=60 {
        for phase in 0..period {
            let falls: Vec<i32> = (1..60).filter(|t| (t + phase) % period == 0).collect();
            let ends = || [0].into_iter().chain(falls.iter().copied()).chain([60]);
            let longest = ends()
                .zip(ends().skip(1))
                .map(|(from, to)| to - from)
                .max()
                .expect("one at least");
            let last = falls.last().map_or(60, |fall| 60 - fall);
            // A tooth that fills nearly the whole window is growth, as far as the samples show.
            if longest <= 50 && last >= 4 {
                let found = grows(60, |t| 100.0 * ((t + f64::from(phase)) % f64::from(period)));
                assert!(
                    found <= 0.0,
                    "{found} for a period of {period} from {phase}"
                );
            }
        }
    }
}

#[test]
fn growth_of_a_tooth_ends_with_the_tooth() {
    assert_eq!(grows(60, |t| 100.0 * t), 100.0);
    assert_eq!(grows(60, |t| 100.0 * (t % 55.0)), 0.0);
}

#[test]
fn growth_of_noise_shrinks_with_the_window() {
    for (samples, most) in [(10, 25.0), (20, 9.0), (60, 2.0), (200, 0.5)] {
        for seed in 0..1_000 {
            let mut noise = Noise(seed);
            let found = grows(samples, |_| 1_000.0 + 100.0 * noise.next());
            assert!(
                found < most,
                "{found} a minute from noise of 100 in {samples} from {seed}"
            );
        }
    }
}

#[test]
fn growth_of_a_leak_survives_noise_and_sawtooth() {
    for seed in 0..300 {
        for samples in [10, 15, 20, 30, 60] {
            let mut noise = Noise(seed);
            let found = grows(samples, |t| 100.0 * t + 50.0 * noise.next());
            assert!(
                (85.0..115.0).contains(&found),
                "{found} of 100 in {samples} from {seed}"
            );
        }
        let mut noise = Noise(seed);
        let period = 3.0 + (seed % 20) as f64;
        let found = grows(60, |t| {
            100.0 * t + 300.0 * (t % period) / period + 30.0 * noise.next()
        });
        assert!((90.0..110.0).contains(&found), "{found} of 100 from {seed}");
    }
}

#[test]
fn growth_of_a_late_leak_is_found_within_half_a_window() {
    for seed in 0..100 {
        // The value is constant, then it leaks for the last `minutes` minutes of an hour.
        for (minutes, least) in [(20, 50.0), (25, 85.0), (30, 90.0), (45, 90.0), (60, 90.0)] {
            let mut noise = Noise(seed);
            let from = f64::from(60 - minutes);
            let found = grows(60, |t| 100.0 * (t - from).max(0.0) + 50.0 * noise.next());
            assert!(
                (least..110.0).contains(&found),
                "{found} of 100 after {minutes} minutes from {seed}"
            );
        }
    }
}

#[test]
fn growth_of_waves_is_small_if_one_and_a_half_fit() {
    for period in 2..=40 {
        for phase in 0..period {
            let angle = |t: f64| (t + f64::from(phase)) / f64::from(period) * std::f64::consts::TAU;
            let found = grows(60, |t| 1_000.0 * angle(t).sin());
            assert!(found < 5.0, "{found} for a period of {period} from {phase}");
        }
    }
}

#[test]
fn growth_of_steps_is_their_mean() {
    for step in 2..=15 {
        let found = grows(60, |t| {
            100.0 * f64::from(step) * (t / f64::from(step)).floor()
        });
        assert!(
            (85.0..115.0).contains(&found),
            "{found} of 100 by steps of {step}"
        );
    }
}

#[test]
fn growth_of_irregular_samples_uses_their_times() {
    let mut noise = Noise(1);
    let mut at = 0.0;
    let points: Vec<Point> = std::iter::repeat_with(|| {
        at += 0.1 + (1.0 + noise.next()) * 5.0;
        (at, 7.0 * at)
    })
    .take(60)
    .collect();
    let found = growth(&points).expect("enough samples");
    assert!((found - 7.0).abs() < 0.7, "{found}");
}

/// Returns outliers, at most one in each group of five samples.
fn outliers() -> impl Strategy<Value = Vec<(usize, f64)>> {
    prop::collection::vec((0..5usize, -1e6..1e6), 12).prop_map(|places| {
        places
            .into_iter()
            .enumerate()
            .map(|(at, (place, value))| (5 * at + place, value))
            .collect()
    })
}

proptest! {
    #[test]
    fn outliers_move_the_slope_little(slope in 10.0f64..1_000.0, outliers in outliers()) {
        let mut points = series(60, |t| slope * t);
        for &(at, value) in &outliers {
            points[at].1 += value;
        }
        let found = growth(&points).expect("enough samples");
        prop_assert!((found / slope - 1.0).abs() < 0.2, "{} of {}", found, slope);
    }

    #[test]
    fn growth_matches_its_definition(
        values in prop::collection::vec(-1e3..1e3, 6..80),
        rise in prop_oneof![Just(0.0), 0.0..200.0],
        from in 0..80usize,
    ) {
        let rising = |(at, value): (usize, &f64)| value + rise * at.saturating_sub(from) as f64;
        let values: Vec<f64> = values.iter().enumerate().map(rising).collect();
        let points: Vec<Point> = values.iter().enumerate().map(|(at, &value)| (at as f64, value)).collect();
        let found = growth(&points).expect("enough samples");
        let expected = by_definition(&values);
        prop_assert!((found - expected).abs() < 1e-9, "{} is not {}", found, expected);
    }
}

/// Returns the growth by its definition in the module documentation, for one sample per minute.
fn by_definition(values: &[f64]) -> f64 {
    let (earlier, later) = values.split_at(values.len() / 2);
    let whole = steady_by_definition(values);
    if later.len() < 18 {
        return whole;
    }
    let mut last = later[later.len() - later.len() / 6..].to_vec();
    last.sort_by(f64::total_cmp);
    let now = last[(last.len() - 1) / 4];
    if earlier.iter().all(|&value| value < now) {
        whole.max(steady_by_definition(later))
    } else {
        whole
    }
}

fn steady_by_definition(values: &[f64]) -> f64 {
    let in_order = |mut values: Vec<f64>| {
        values.sort_by(f64::total_cmp);
        values
    };
    let lower_median = |values: Vec<f64>| in_order(values.clone())[(values.len() - 1) / 2];
    let lower_quartile = |values: Vec<f64>| in_order(values.clone())[(values.len() - 1) / 4];
    let mut slopes = Vec::new();
    for j in 0..values.len() {
        for i in 0..j {
            slopes.push((values[j] - values[i]) / (j - i) as f64);
        }
    }
    let slope = lower_median(slopes);
    let parts = (values.len() / 3).min(6);
    let part = |part: usize| part * values.len() / parts..(part + 1) * values.len() / parts;
    let level = |at: usize| lower_quartile(values[part(at)].to_vec());
    let floor = |at: usize| (at..parts).map(level).fold(f64::INFINITY, f64::min);
    let ceiling = |at: usize| (0..=at).map(level).fold(f64::NEG_INFINITY, f64::max);
    let time = |at: usize| lower_median(part(at).map(|at| at as f64).collect());
    let step = |line: &dyn Fn(usize) -> f64, at: usize| {
        (line(at) - line(at - 1)) / (time(at) - time(at - 1))
    };
    let floor_rise = lower_median((1..parts).map(|at| step(&floor, at)).collect());
    let ceiling_rise = lower_median((1..parts).map(|at| step(&ceiling, at)).collect());
    let sustained = floor_rise.min(ceiling_rise);
    if slope > 0.0 && sustained < slope / 2.0 {
        sustained
    } else {
        slope
    }
}
