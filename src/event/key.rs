//! Object keys in `application/x-www-form-urlencoded`, as S3 notifications carry them.

use std::fmt::Write;

/// Decodes a form-encoded key: `+` is a space, `%XX` a byte. `None`: a `%` without two hex digits, or no UTF-8.
pub(super) fn decode(encoded: &str) -> Option<String> {
    let hex = |digit: Option<u8>| char::from(digit?).to_digit(16).map(|value| value as u8);
    let mut bytes = encoded.bytes();
    let mut decoded = Vec::with_capacity(encoded.len());
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'+' => b' ',
            b'%' => hex(bytes.next())? << 4 | hex(bytes.next())?,
            other => other,
        });
    }
    String::from_utf8(decoded).ok()
}

/// Form-encodes a key as AWS does: `/` and the unreserved characters stay, a space becomes `+`.
pub(super) fn encode(key: &str) -> String {
    let mut encoded = String::with_capacity(key.len());
    for byte in key.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'*' | b'/' => {
                encoded.push(char::from(byte));
            }
            b' ' => encoded.push('+'),
            other => {
                let _ = write!(encoded, "%{other:02X}"); // writing to a String can't fail
            }
        }
    }
    encoded
}
