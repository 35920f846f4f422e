//! Reading a whole file as it was at one moment.

use std::fs::File;
use std::io::{self, Read};

use super::stamp::Stamp;

/// The result of reading a file.
#[derive(Debug)]
pub(crate) enum WholeRead {
    /// The file, as it was while it had the stamp.
    Whole(Vec<u8>),
    /// It changed meanwhile: what was read may be half of one state and half of another.
    Torn,
}

/// Reads `file`, which had `stamp` when it was opened, and looks at it again afterwards. `pause` is called between the two, for
/// tests that want to change the file just then.
pub(crate) fn read(mut file: &File, stamp: &Stamp, pause: impl FnOnce()) -> io::Result<WholeRead> {
    let expected = crate::num::as_usize(stamp.length());
    let mut bytes = Vec::new();
    bytes
        .try_reserve_exact(expected)
        .map_err(|_| io::ErrorKind::OutOfMemory)?;
    // One byte more than expected: a file that grew is noticed, and one that grows without end is not read without end.
    Read::by_ref(&mut file)
        .take(stamp.length().saturating_add(1))
        .read_to_end(&mut bytes)?;
    pause();
    let after = Stamp::of(&file.metadata()?);
    Ok(if bytes.len() == expected && after == *stamp {
        WholeRead::Whole(bytes)
    } else {
        WholeRead::Torn
    })
}
