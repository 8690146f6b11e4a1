//! Generated requests: a day of them, the same at every run.

use example_support::progress::Progress;
use example_support::random::scramble;
use example_support::time::DAY;

use crate::columns::Request;

const KEYS: f64 = 200_000.0;
const SMALLEST: f64 = 200.0;
const LARGEST: f64 = 2e6;

/// Calls `request` for requests that come evenly.
///
/// The popularity of a key falls as 1 / rank. Its size does not depend on its rank: each power of
/// ten is as likely as any other.
pub(crate) fn generate(count: usize, mut request: impl FnMut(Request<'_>)) {
    let mut progress = Progress::new("requests generated");
    for number in 0..count {
        let rank = KEYS.powf(fraction(number as u64)) as u64;
        let bytes = SMALLEST * (LARGEST / SMALLEST).powf(fraction(u64::MAX - rank));
        let nanos = DAY.as_nanos() * number as u128 / count as u128;
        request(Request {
            nanos: Some(nanos as u64),
            key: &format!("/item/{rank}"),
            bytes: bytes as u32,
        });
        progress.update(number);
    }
}

/// Maps a number to a pseudo-random one in `0..1`.
fn fraction(number: u64) -> f64 {
    scramble(number) as f64 / u64::MAX as f64
}
