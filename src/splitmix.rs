//! Chance that is the same every time: SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014).

/// What the state grows by.
pub(crate) const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// A sequence from a seed.
#[derive(Debug)]
pub(crate) struct SplitMix(pub(crate) u64);

impl SplitMix {
    /// The next number.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(GOLDEN);
        finalise(self.0)
    }
}

/// The first number of the sequence from `seed`: a hash of it.
pub(crate) fn mix(seed: u64) -> u64 {
    SplitMix(seed).next()
}

/// Spreads what differs in few bits over all of them.
pub(crate) fn finalise(z: u64) -> u64 {
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The upper 53 bits as a number in `[0, 1)`.
pub(crate) fn fraction(bits: u64) -> f64 {
    (bits >> 11) as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first numbers of the authors' own `splitmix64.c` from 1234567.
    #[test]
    fn the_sequence_is_the_published_one() {
        let mut random = SplitMix(1_234_567);
        let first = [0; 5].map(|_| random.next());
        let published = [
            6_457_827_717_110_365_317,
            3_203_168_211_198_807_973,
            9_817_491_932_198_370_423,
            4_593_380_528_125_082_431,
            16_408_922_859_458_223_821,
        ];
        assert_eq!(first, published);
        assert_eq!(mix(1_234_567), published[0]);
        assert!(fraction(u64::MAX) < 1.0 && fraction(0) == 0.0);
    }
}
