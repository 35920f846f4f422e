//! Conversions between numbers that saturate or round instead of failing.
//!
//! On the 64-bit machines that the daemon runs on, the first two never change a value.

use std::time::Duration;

/// A length as a `u64`.
pub(crate) fn as_u64(n: usize) -> u64 {
    u64::try_from(n).unwrap_or(u64::MAX)
}

/// A number of bytes or records as a `usize`.
pub(crate) fn as_usize(n: u64) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}

/// A length or number that is not negative as a `u32`.
pub(crate) fn as_u32(n: impl TryInto<u32>) -> u32 {
    n.try_into().unwrap_or(u32::MAX)
}

/// A length or number that is not negative as a `u16`.
pub(crate) fn as_u16(n: impl TryInto<u16>) -> u16 {
    n.try_into().unwrap_or(u16::MAX)
}

/// A length as a `u8`.
pub(crate) fn as_u8(n: usize) -> u8 {
    u8::try_from(n).unwrap_or(u8::MAX)
}

/// A duration in whole nanoseconds.
pub(crate) fn as_nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// A duration in whole milliseconds.
pub(crate) fn as_millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// A count as a float, exact up to 2^53.
#[expect(
    clippy::cast_precision_loss,
    clippy::as_conversions,
    reason = "metrics are floats"
)]
pub(crate) fn as_f64(n: u64) -> f64 {
    n as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_saturates() {
        assert_eq!(as_u64(7), 7);
        assert_eq!(as_usize(7), 7);
        assert_eq!(as_u32(7_u64), 7);
        assert_eq!(as_u32(1_u64 << 32), u32::MAX);
        assert_eq!(as_u16(7_usize), 7);
        assert_eq!(as_u16(1_i128 << 16), u16::MAX);
        assert_eq!(as_u8(255), 255);
        assert_eq!(as_u8(256), u8::MAX);
        assert_eq!(as_nanos(Duration::from_micros(2)), 2000);
        assert_eq!(as_nanos(Duration::MAX), u64::MAX);
        assert_eq!(as_millis(Duration::from_micros(1999)), 1);
        assert_eq!(as_millis(Duration::MAX), u64::MAX);
        assert!((as_f64(1 << 53) - 9_007_199_254_740_992.0).abs() < 0.5);
    }
}
