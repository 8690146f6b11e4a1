//! Requests where there is no file: a day of them, the same at every run.

use crate::columns::Request;
use example_support::random::scramble;
use example_support::terminal::progress;
use example_support::time::DAY;

/// How many keys there are to be asked for.
const KEYS: f64 = 200_000.0;
const SMALLEST: f64 = 200.0;
const LARGEST: f64 = 2e6;

/// They come evenly. The popularity of a key falls with its rank, as 1 / rank; its size has nothing to do with it, and is
/// as often in the tens of kilobytes as in the hundreds.
pub(crate) fn generate(count: usize, mut ask: impl FnMut(Request<'_>)) {
    for number in 0..count {
        let rank = KEYS.powf(part(number as u64)) as u64;
        let bytes = SMALLEST * (LARGEST / SMALLEST).powf(part(u64::MAX - rank));
        let nanos = DAY.as_nanos() * number as u128 / count as u128;
        ask(Request {
            nanos: Some(nanos as u64),
            key: &format!("/item/{rank}"),
            bytes: bytes as u32,
        });
        progress("requests generated", number + 1);
    }
}

/// A number in `0..1`, for each number another.
fn part(number: u64) -> f64 {
    scramble(number) as f64 / u64::MAX as f64
}
