//! Entity tags: of contents in memory, and of the states of files that are streamed.
//!
//! **Contents**: the length, 64 bits of FNV-1a and 32 bits of CRC-32. A strong `ETag` promises equal bytes, and a wrong
//! promise is a page that never changes in somebody's browser; CRC-32 alone would break it once in four billion changes,
//! and changes are many. The three together are 96 bits beside the length, by two unlike constructions (the CRC also finds
//! *every* change within 32 neighbouring bits). Contents are the operator's own, so nobody searches for collisions; a
//! cryptographic hash would cost time for nothing. Both are fixed by their definitions, unlike the hasher of `std`, which
//! may change with the compiler: two builds, or two machines, give one `ETag`.
//!
//! **States**: the same hashes of everything in a [`Stamp`]. The stamp itself is not shown to clients, since it has an
//! inode number. The tag survives a restart of the daemon, and two daemons on one machine give one `ETag`.

use std::hash::Hasher as _;

use fnv::FnvHasher;

use super::stamp::Stamp;

/// 64 bits of FNV-1a.
pub(crate) fn hash(bytes: &[u8]) -> u64 {
    let mut hasher = FnvHasher::default();
    hasher.write(bytes);
    hasher.finish()
}

/// The strong `ETag` of `content`, quotes included.
pub(crate) fn of_content(content: &[u8]) -> String {
    tag(crate::num::as_u64(content.len()), content)
}

/// The strong `ETag` of the state of a file, quotes included.
pub(crate) fn of_state(stamp: &Stamp) -> String {
    tag(stamp.length(), format!("{stamp:?}").as_bytes())
}

fn tag(length: u64, hashed: &[u8]) -> String {
    let (hash, check) = (hash(hashed), crc32fast::hash(hashed));
    format!("\"{length:x}-{hash:016x}{check:08x}\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_gives_its_published_values() {
        assert_eq!(hash(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(hash(b"a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(hash(b"foobar"), 0x8594_4171_f739_67e8);
    }

    #[test]
    fn a_tag_is_quoted_stable_and_differs_with_the_content() {
        assert_eq!(of_content(b"foobar"), "\"6-85944171f73967e89ef61f95\"");
        assert_ne!(of_content(b"foobar"), of_content(b"foobaz"));
        assert_ne!(of_content(b""), of_content(b"\0"));
    }
}
