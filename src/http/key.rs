//! `Idempotency-Key`: the header field, a structured-field string of RFC 9651.

use std::fmt;
use std::sync::Arc;

use http::{HeaderMap, HeaderName};

/// The name of the header field.
const NAME: HeaderName = HeaderName::from_static("idempotency-key");
/// The longest key in bytes, without quotes and escapes.
const MAX_BYTES: usize = 255;

/// The idempotency key of a request that the layer handles.
///
/// The layer inserts it into the extensions of the request, so a handler can pass it on to another
/// service. A second layer further inside lets the request pass.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct IdempotencyKey(Arc<str>);

impl IdempotencyKey {
    /// Returns the key without quotes and escapes.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Reads the key of a request, if it has one.
    ///
    /// # Errors
    ///
    /// Returns the requirement that the header field does not meet.
    pub(super) fn read(headers: &HeaderMap, accepts_bare: bool) -> Result<Option<Self>, Invalid> {
        let mut values = headers.get_all(NAME).iter();
        let Some(value) = values.next() else {
            return Ok(None);
        };
        if values.next().is_some() {
            return Err("the header field must not be repeated");
        }
        let value = value.as_bytes().trim_ascii();
        let key = if accepts_bare && value.first() != Some(&b'"') {
            bare(value)?
        } else {
            item(value)?
        };
        match key.len() {
            0 => Err("the key must not be empty"),
            1..=MAX_BYTES => Ok(Some(Self(key.into()))),
            _ => Err("the key must not exceed 255 bytes"),
        }
    }
}

impl fmt::Debug for IdempotencyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A client that knows the key of another one could ask for its response.
        f.debug_struct("IdempotencyKey").finish_non_exhaustive()
    }
}

/// The requirement that a header field does not meet.
pub(super) type Invalid = &'static str;

const NOT_A_STRING: Invalid = "the value must be a string in double quotes";
const NO_PARAMETER: Invalid = "only valid parameters may follow the string";

/// Reads a key without quotes: visible ASCII, except the characters that structure a field.
fn bare(value: &[u8]) -> Result<String, Invalid> {
    let is_plain =
        |byte: &u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b',' | b';' | b'\\');
    if !value.iter().all(is_plain) {
        return Err("a key without quotes must not contain a space or any of \" , ; \\");
    }
    Ok(value.iter().map(|&byte| char::from(byte)).collect())
}

/// Reads an item whose value is a string: RFC 9651, section 4.2.3. Parameters have no meaning here,
/// but must be valid.
fn item(mut value: &[u8]) -> Result<String, Invalid> {
    let input = &mut value;
    let key = string(input).ok_or(NOT_A_STRING)?;
    while take(input, b';') {
        parameter(input).ok_or(NO_PARAMETER)?;
    }
    if input.is_empty() {
        Ok(key)
    } else {
        Err(NO_PARAMETER)
    }
}

/// Consumes `byte` if it is the next one.
fn take(input: &mut &[u8], byte: u8) -> bool {
    match input.split_first() {
        Some((&first, rest)) if first == byte => {
            *input = rest;
            true
        }
        _ => false,
    }
}

/// Consumes the bytes up to the first one that `is_part` rejects.
fn take_while<'a>(input: &mut &'a [u8], is_part: impl Fn(u8) -> bool) -> &'a [u8] {
    let end = input.iter().position(|&byte| !is_part(byte));
    let (part, rest) = input.split_at(end.unwrap_or(input.len()));
    *input = rest;
    part
}

/// Consumes a string in double quotes: RFC 9651, section 4.2.5.
fn string(input: &mut &[u8]) -> Option<String> {
    if !take(input, b'"') {
        return None;
    }
    let mut text = String::new();
    loop {
        let (&byte, rest) = input.split_first()?;
        *input = rest;
        match byte {
            b'"' => return Some(text),
            b'\\' => {
                let (&escaped, rest) = input.split_first()?;
                if !matches!(escaped, b'"' | b'\\') {
                    return None;
                }
                *input = rest;
                text.push(char::from(escaped));
            }
            b' '..=b'~' => text.push(char::from(byte)),
            _ => return None,
        }
    }
}

/// Consumes a parameter after its semicolon: RFC 9651, section 4.2.3.2.
fn parameter(input: &mut &[u8]) -> Option<()> {
    take_while(input, |byte| byte == b' ');
    let is_first = |byte: u8| byte.is_ascii_lowercase() || byte == b'*';
    let name = take_while(input, |byte| {
        is_first(byte) || byte.is_ascii_digit() || matches!(byte, b'_' | b'-' | b'.')
    });
    if !name.first().copied().is_some_and(is_first) {
        return None;
    }
    if take(input, b'=') {
        bare_item(input)?;
    }
    Some(())
}

/// Consumes an item without parameters: RFC 9651, section 4.2.3.1.
fn bare_item(input: &mut &[u8]) -> Option<()> {
    match *input.first()? {
        b'"' => string(input).map(drop),
        b'?' => {
            take(input, b'?');
            (take(input, b'0') || take(input, b'1')).then_some(())
        }
        b'@' => {
            take(input, b'@');
            number(input).filter(|is_integer| *is_integer).map(drop)
        }
        b'-' | b'0'..=b'9' => number(input).map(drop),
        b':' => {
            take(input, b':');
            take_while(input, |byte| {
                byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=')
            });
            take(input, b':').then_some(())
        }
        b'%' => {
            take(input, b'%');
            string(input).map(drop)
        }
        b'*' | b'a'..=b'z' | b'A'..=b'Z' => {
            take_while(input, |byte| {
                byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~:/".contains(&byte)
            });
            Some(())
        }
        _ => None,
    }
}

/// Consumes a number. Returns `true` if it is an integer.
fn number(input: &mut &[u8]) -> Option<bool> {
    take(input, b'-');
    let integer = take_while(input, |byte| byte.is_ascii_digit()).len();
    if !take(input, b'.') {
        return matches!(integer, 1..=15).then_some(true);
    }
    let fraction = take_while(input, |byte| byte.is_ascii_digit()).len();
    (matches!(integer, 1..=12) && matches!(fraction, 1..=3)).then_some(false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn read(values: &[&[u8]], accepts_bare: bool) -> Result<Option<String>, Invalid> {
        let mut headers = HeaderMap::new();
        for value in values {
            let value = HeaderValue::from_bytes(value).expect("a valid header value");
            headers.append(NAME, value);
        }
        let key = IdempotencyKey::read(&headers, accepts_bare)?;
        Ok(key.map(|key| key.as_str().to_owned()))
    }

    fn quoted(value: &str) -> Result<String, Invalid> {
        read(&[value.as_bytes()], false).map(|key| key.expect("there is a field"))
    }

    #[test]
    fn string_in_quotes_is_the_key() {
        assert_eq!(read(&[], false), Ok(None));
        let uuid = "8e03978e-40d5-43e8-bc93-6894a57f9324";
        assert_eq!(quoted(&format!("\"{uuid}\"")).as_deref(), Ok(uuid));
        assert_eq!(quoted(r#"  "a b"  "#).as_deref(), Ok("a b"));
        assert_eq!(quoted(r#""a\"b\\c""#).as_deref(), Ok(r#"a"b\c"#));
        assert_eq!(quoted(r#"" ~!;,=""#).as_deref(), Ok(" ~!;,="));
    }

    #[test]
    fn value_that_is_no_string_is_invalid() {
        for value in [
            "", "a", "1", "?1", ":YQ==:", "\"", "\"a", "a\"", "\"a\\", "\"a\\b\"", "\"a\\\"",
            "\"a\tb\"", "'a'", "(\"a\")",
        ] {
            assert_eq!(quoted(value), Err(NOT_A_STRING), "{value}");
        }
        assert_eq!(read(&[b"\"\xc3\xa4\""], false), Err(NOT_A_STRING));
    }

    #[test]
    fn list_or_repeated_field_is_invalid() {
        for value in [r#""a", "b""#, r#""a" "b""#, r#""a","#, r#""a"b"#] {
            assert_eq!(quoted(value), Err(NO_PARAMETER), "{value}");
        }
        for bare in [false, true] {
            let repeated = read(&[b"\"a\"", b"\"a\""], bare);
            assert_eq!(repeated, Err("the header field must not be repeated"));
        }
    }

    #[test]
    fn valid_parameters_are_ignored() {
        for parameters in [
            ";a",
            "; a",
            ";  a;b",
            ";a=1",
            ";a=-1.5",
            ";a=?0",
            ";a=tok/en:*",
            ";a=\"s\\\"\"",
            ";a=:YQ==:",
            ";a=@1659578233",
            ";*a_-.9=*",
            ";a=%\"f%c3%bc\"",
            ";a=1;a=2",
        ] {
            assert_eq!(
                quoted(&format!("\"k\"{parameters}")).as_deref(),
                Ok("k"),
                "{parameters}"
            );
        }
        for parameters in [
            ";",
            " ;a",
            ";A",
            ";1",
            ";a=",
            ";a= 1",
            ";a=1.",
            ";a=1.2345",
            ";a=?2",
            ";a=\"",
            ";a=:Y",
            ";a=@1.5",
            ";a=-",
            ";a b",
            ";a=1234567890123456",
            ";a=1234567890123.1",
            ";a=(1)",
            ";a=%a",
        ] {
            let value = format!("\"k\"{parameters}");
            assert_eq!(quoted(&value), Err(NO_PARAMETER), "{parameters}");
        }
    }

    #[test]
    fn key_has_at_most_255_bytes() {
        let longest = "a".repeat(255);
        assert_eq!(quoted(&format!("\"{longest}\"")), Ok(longest.clone()));
        let escaped = format!("\"{}\"", "\\\\".repeat(255));
        assert_eq!(quoted(&escaped), Ok("\\".repeat(255)));
        let (empty, long) = (
            "the key must not be empty",
            "the key must not exceed 255 bytes",
        );
        assert_eq!(quoted("\"\""), Err(empty));
        assert_eq!(quoted(&format!("\"{longest}a\"")), Err(long));
        let bare = |key: &str| read(&[key.as_bytes()], true).map(Option::unwrap_or_default);
        assert_eq!(bare(&longest), Ok(longest.clone()));
        assert_eq!(bare(&format!("{longest}a")), Err(long));
        assert_eq!(bare(""), Err(empty));
    }

    #[test]
    fn bare_key_is_accepted_by_option() {
        let bare = |key: &str| read(&[key.as_bytes()], true).map(Option::unwrap_or_default);
        let uuid = "8e03978e-40d5-43e8-bc93-6894a57f9324";
        assert_eq!(bare(uuid).as_deref(), Ok(uuid));
        // The same key as with quotes.
        assert_eq!(bare("\"abc\""), bare("abc"));
        for value in ["a b", "a,b", "a;b", "a\\b", "a\"b"] {
            assert!(bare(value).is_err(), "{value}");
        }
    }
}
