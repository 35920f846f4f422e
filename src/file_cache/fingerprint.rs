//! Hashes: of contents, for the `ETag`, and of keys, for the table.
//!
//! **Contents**: length, 64 bits of FNV-1a and 32 bits of CRC-32. A strong `ETag` promises equal bytes, and a wrong promise
//! is a page that never changes in somebody's browser; CRC-32 alone would break it once in four billion changes, and
//! changes are many. The three together are 96 bits beside the length, by two unlike constructions (the CRC also finds
//! *every* change within 32 neighbouring bits). Contents are the operator's own, so nobody is looking for collisions; a
//! cryptographic hash would cost time for nothing. Both are fixed by their definitions, unlike the hasher of `std`, which
//! may change with the compiler: two builds, or two machines, give one `ETag`.
//!
//! **Keys**: FNV-1a as well. Only paths of files which exist become keys, so a client can't choose them, and a keyed
//! hash against chosen keys is not needed.

use std::hash::{BuildHasherDefault, Hasher};

const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const PRIME: u64 = 0x0000_0100_0000_01b3;

/// FNV-1a with 64 bits (Fowler, Noll, Vo 1991).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fnv(u64);

/// Makes [`Fnv`]s for a hash map.
pub(crate) type FnvState = BuildHasherDefault<Fnv>;

impl Default for Fnv {
    fn default() -> Self {
        Self(OFFSET)
    }
}

impl Hasher for Fnv {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0 = bytes.iter().fold(self.0, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(PRIME)
        });
    }
}

/// FNV-1a of `bytes`.
pub(crate) fn fnv(bytes: &[u8]) -> u64 {
    let mut hasher = Fnv::default();
    hasher.write(bytes);
    hasher.finish()
}

/// The strong `ETag` of `content`, quotes included.
pub(crate) fn etag(content: &[u8]) -> String {
    let (length, hash, check) = (content.len(), fnv(content), crc32fast::hash(content));
    format!("\"{length:x}-{hash:016x}{check:08x}\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fnv_gives_its_published_values() {
        assert_eq!(fnv(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv(b"a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(fnv(b"foobar"), 0x8594_4171_f739_67e8);
    }

    #[test]
    fn an_etag_is_quoted_stable_and_differs_with_the_content() {
        assert_eq!(etag(b"foobar"), "\"6-85944171f73967e89ef61f95\"");
        assert_ne!(etag(b"foobar"), etag(b"foobaz"));
        assert_ne!(etag(b""), etag(b"\0"));
    }
}
