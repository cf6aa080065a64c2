//! The order of one key's events, as a number and as a text.

use std::{fmt, str::FromStr};

/// When an object changed: event time first, then the store's sequencer.
///
/// Of two events that tie in both, what they say decides (see `operators::latest`); partition and offset take no part, so
/// that the same events through other partitions give the same state.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    serde::Serialize,
    serde::Deserialize,
)]
pub struct Version {
    /// Event time, milliseconds since 1970-01-01 UTC. Finer digits are dropped: stores differ in what they send.
    pub time_ms: i64,
    /// The `sequencer` as a number, see [`Version::sequencer_from_hex`]; 0 where there is none.
    pub sequencer: u128,
}

/// Hex digits of a sequencer that count.
const SEQUENCER_DIGITS: usize = 32;
const TIME_DIGITS: usize = 16;
/// Maps the order of `i64` to the order of `u64`, so that hex digits sort like the times.
const SIGN_BIT: u64 = 1 << 63;

impl Version {
    /// A sequencer's value. AWS defines the order of two sequencers as that of their digits once the shorter one is
    /// padded on the right with zeros; here every one is padded to 32 digits. Digits beyond the 32nd are cut (AWS sends
    /// 16 to 18, MinIO and Ceph 16). Case does not matter and an empty text is 0. `None`: not hexadecimal.
    pub fn sequencer_from_hex(digits: &str) -> Option<u128> {
        let mut value = 0;
        for (place, digit) in digits.chars().enumerate() {
            let digit = u128::from(digit.to_digit(16)?);
            if place < SEQUENCER_DIGITS {
                value |= digit << (4 * (SEQUENCER_DIGITS - 1 - place));
            }
        }
        Some(value)
    }
}

/// Fixed-width text, `<time: 16 hex digits>-<sequencer: 32 hex digits>`, whose lexicographic order is the versions' order.
impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = self.time_ms as u64 ^ SIGN_BIT;
        write!(
            f,
            "{time:0TIME_DIGITS$x}-{:0SEQUENCER_DIGITS$x}",
            self.sequencer
        )
    }
}

/// The text is not what `Version`'s `Display` writes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no object version: expected 16 lower-case hex digits, a dash and 32 more")]
pub struct ParseVersionError(String);

impl FromStr for Version {
    type Err = ParseVersionError;

    fn from_str(text: &str) -> Result<Self, ParseVersionError> {
        // One text a version, no other spelling: texts are compared as they are.
        let is_hex = |digits: &str, count| {
            digits.len() == count
                && digits
                    .bytes()
                    .all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
        };
        text.split_once('-')
            .filter(|(time, sequencer)| {
                is_hex(time, TIME_DIGITS) && is_hex(sequencer, SEQUENCER_DIGITS)
            })
            .and_then(|(time, sequencer)| {
                Some(Self {
                    time_ms: (u64::from_str_radix(time, 16).ok()? ^ SIGN_BIT) as i64,
                    sequencer: u128::from_str_radix(sequencer, 16).ok()?,
                })
            })
            .ok_or_else(|| ParseVersionError(super::error::excerpt(text)))
    }
}
