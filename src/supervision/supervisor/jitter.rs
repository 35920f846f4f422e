//! Randomness for jitter.

/// Where the jitter comes from: good enough to spread restarts, and nothing else.
#[derive(Debug)]
pub(crate) struct Dice {
    state: u64,
}

impl Dice {
    pub(crate) fn new(seed: &str) -> Self {
        use std::hash::{BuildHasher, RandomState};
        Self {
            state: RandomState::new().hash_one(seed) | 1,
        }
    }

    /// In 0.0..1.0 (xorshift64, Marsaglia 2003).
    pub(crate) fn roll(&mut self) -> f64 {
        let mut x = self.state;
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        self.state = x;
        let high = u32::try_from(x >> 32).unwrap_or(0);
        f64::from(high) / (f64::from(u32::MAX) + 1.0)
    }
}
