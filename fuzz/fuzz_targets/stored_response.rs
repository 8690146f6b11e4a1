//! Decodes random bytes as a stored response, and replays what is valid.
#![no_main]

use leakproof::Codec;
use leakproof::http::StoredResponse;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(record) = StoredResponse::decode(bytes) else {
        return;
    };
    let mut encoded = Vec::new();
    record.encode(&mut encoded).unwrap();
    assert_eq!(encoded, bytes);
});
