//! The bytes of keys and values.

use std::fmt::Debug;
use std::io;
use std::sync::Arc;

use leakproof::Codec;

/// Encodes a value behind other bytes, decodes it, and returns its bytes.
#[track_caller]
fn round_trip<T: Codec<Owned = T> + PartialEq + Debug>(value: T) -> Vec<u8> {
    let mut bytes = b"before".to_vec();
    value.encode(&mut bytes).expect("it can be encoded");
    assert!(bytes.starts_with(b"before"));
    let bytes = bytes[6..].to_vec();
    assert_eq!(T::decode(&bytes).expect("it can be decoded"), value);
    bytes
}

#[test]
fn values_of_every_type_are_decoded_as_encoded() {
    assert!(round_trip(()).is_empty());
    assert_eq!(round_trip(true), [1]);
    assert_eq!(round_trip(0x0102_u16), [2, 1]);
    assert_eq!(round_trip(-2_i32), [0xfe, 0xff, 0xff, 0xff]);
    assert_eq!(round_trip(usize::MAX), u64::MAX.to_le_bytes());
    assert_eq!(round_trip(u128::MAX - 1).len(), 16);
    for text in ["", "grüße"] {
        assert_eq!(round_trip(text.to_owned()), text.as_bytes());
        assert_eq!(round_trip(Box::<str>::from(text)), text.as_bytes());
        assert_eq!(round_trip(Arc::<str>::from(text)), text.as_bytes());
    }
    assert_eq!(round_trip(vec![7_u8; 300]).len(), 300);
    assert_eq!(str::decode(b"id").expect("text"), "id");
    assert_eq!(<[u8]>::decode(&[0xff]).expect("bytes"), [0xff]);
}

#[test]
fn bytes_of_another_type_are_rejected() {
    let invalid = |error: io::Error| assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    invalid(<()>::decode(b"x").unwrap_err());
    invalid(bool::decode(&[2]).unwrap_err());
    invalid(u32::decode(&[1, 2, 3]).unwrap_err());
    invalid(String::decode(&[0xff]).unwrap_err());
    if usize::BITS < 64 {
        invalid(usize::decode(&[0xff; 8]).unwrap_err());
    }
}

#[cfg(feature = "serde")]
#[test]
fn serde_values_are_decoded_as_encoded() {
    use leakproof::Serde;

    #[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
    enum Reply {
        Text { text: String, attempts: u32 },
        Silence,
    }
    let text = "hello".to_owned();
    round_trip(Serde(Reply::Text { text, attempts: 3 }));
    assert_eq!(round_trip(Serde(Reply::Silence)), [1]);
    for bytes in [&[9][..], &[], &[1, 0]] {
        let error = Serde::<Reply>::decode(bytes).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }
}
