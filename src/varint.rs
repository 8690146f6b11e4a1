//! Lengths as LEB128: seven bits a byte, low bits first, the top bit says that more follow. One byte below 128.

/// Appends `length` to `to`.
pub(crate) fn push(to: &mut Vec<u8>, mut length: usize) {
    while length >= 0x80 {
        to.push(length as u8 | 0x80);
        length >>= 7;
    }
    to.push(length as u8);
}

/// The bytes of the record that begins with its length at `from[0]`.
pub(crate) fn record(from: &[u8]) -> &[u8] {
    let (mut length, mut shift, mut at) = (0, 0, 0);
    loop {
        let byte = from[at];
        at += 1;
        length |= usize::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return &from[at..at + length];
        }
        shift += 7;
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_length_comes_back() {
        for length in [0, 1, 45, 127, 128, 129, 16_383, 16_384, 3_000_000] {
            let mut bytes = Vec::new();
            super::push(&mut bytes, length);
            bytes.resize(bytes.len() + length, 7);
            bytes.push(9);
            assert_eq!(super::record(&bytes), vec![7; length]);
        }
    }
}
