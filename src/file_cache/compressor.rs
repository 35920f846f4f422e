//! Compresses contents, few at a time, away from the event loops.

// Decision: A file is compressed when the first client asks for it.

use std::io::{self, Write as _};
use std::num::NonZeroUsize;
use std::thread;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use super::root_io::CallThreads;
use crate::memory_file::Content;
use crate::num::as_u64;
use crate::settings::ContentCoding;

/// A shorter file is sent as it is: it fits into one packet either way.
pub(crate) const COMPRESSED_BYTES_MIN: u64 = 1024;
/// A longer file is sent as it is, or as it was compressed by its owner: it would take seconds.
pub(crate) const COMPRESSED_BYTES_MAX: u64 = 32 * 1024 * 1024;
/// A compressed content has to be shorter than the file by this part of it.
const SAVED_PART: usize = 8;
/// The effort of the libraries for what is sent once or a few times.
const QUICK: CompressionEffort = CompressionEffort {
    brotli: 4,
    zstd: 3,
    gzip: 4,
};
/// The same for files. Each file is compressed once and sent often, so they try harder than a proxy does, but not so hard
/// that the first client waits.
const THOROUGH: CompressionEffort = CompressionEffort {
    brotli: 7,
    zstd: 12,
    gzip: 8,
};
/// The window of brotli, as a power of two: 4 MiB.
const BROTLI_WINDOW_BITS: i32 = 22;
/// Of the cores, this part compresses at a time.
const CORES_PART: usize = 2;

/// The levels of the libraries.
struct CompressionEffort {
    brotli: i32,
    zstd: i32,
    gzip: u32,
}

/// The compressed text of an answer; `None` if it would not be much shorter. It takes about 5 ms for 1 MB.
pub(crate) fn compress_quickly(coding: ContentCoding, plain: &[u8]) -> Option<Bytes> {
    // Writing into memory does not fail.
    compress(coding, plain, &QUICK).ok().flatten()
}

/// Compresses contents.
#[derive(Debug)]
pub(crate) struct Compressor {
    threads: Handle,
    places: Semaphore,
}

impl Compressor {
    /// Compresses on threads that make file calls, beside these.
    pub(crate) fn new(threads: &CallThreads) -> Self {
        let cores = thread::available_parallelism().map_or(1, NonZeroUsize::get);
        Self {
            threads: threads.handle.clone(),
            places: Semaphore::new((cores / CORES_PART).max(1)),
        }
    }

    /// The result of `then` for the compressed content. `None` if there is nothing worth it: it would not be much shorter.
    pub(crate) async fn compress<T: Send + 'static>(
        &self,
        coding: ContentCoding,
        content: Content,
        then: impl FnOnce(Bytes) -> T + Send + 'static,
    ) -> Option<T> {
        let _place = self.places.acquire().await.ok()?;
        let work = move || {
            let compressed = whole(&content).and_then(|plain| compress(coding, &plain, &THOROUGH));
            let compressed = compressed.unwrap_or_else(|error| {
                let coding = coding.name();
                tracing::warn!(coding, %error, "a file could not be compressed; it is sent as it is");
                None
            });
            compressed.map(then)
        };
        // If it has panicked, the hook has told.
        self.threads.spawn_blocking(work).await.ok().flatten()
    }
}

fn whole(content: &Content) -> io::Result<Bytes> {
    match content {
        Content::Heap(bytes) => Ok(bytes.clone()),
        Content::File(file) => file.read(0..as_u64(content.length())),
    }
}

/// The compressed content, if it is much shorter.
fn compress(
    coding: ContentCoding,
    plain: &[u8],
    effort: &CompressionEffort,
) -> io::Result<Option<Bytes>> {
    let compressed = match coding {
        ContentCoding::Br => brotli(plain, effort.brotli)?,
        ContentCoding::Zstd => zstd::bulk::compress(plain, effort.zstd)?,
        ContentCoding::Gzip => {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::new(effort.gzip));
            encoder.write_all(plain)?;
            encoder.finish()?
        }
    };
    let most = plain.len() - plain.len() / SAVED_PART;
    Ok((compressed.len() < most).then(|| Bytes::from(compressed)))
}

fn brotli(mut plain: &[u8], quality: i32) -> io::Result<Vec<u8>> {
    let parameters = brotli::enc::BrotliEncoderParams {
        quality,
        lgwin: BROTLI_WINDOW_BITS,
        size_hint: plain.len(),
        ..brotli::enc::BrotliEncoderParams::default()
    };
    let mut compressed = Vec::new();
    brotli::BrotliCompress(&mut plain, &mut compressed, &parameters)?;
    Ok(compressed)
}

#[cfg(test)]
pub(super) mod tests {
    use std::io::Read as _;

    use super::*;

    /// The bytes as a client decodes them.
    pub(crate) fn decoded(coding: ContentCoding, mut bytes: &[u8]) -> Vec<u8> {
        let mut plain = Vec::new();
        match coding {
            ContentCoding::Br => brotli::BrotliDecompress(&mut bytes, &mut plain).unwrap(),
            ContentCoding::Zstd => plain = zstd::decode_all(bytes).unwrap(),
            ContentCoding::Gzip => {
                let mut decoder = flate2::read::GzDecoder::new(bytes);
                decoder.read_to_end(&mut plain).unwrap();
            }
        }
        plain
    }

    #[tokio::test]
    async fn the_small_stacks_of_file_calls_suffice() {
        let threads = CallThreads::new().unwrap();
        let compressor = Compressor::new(&threads);
        for coding in ContentCoding::ALL {
            let content = Content::Heap(Bytes::from(text()));
            let compressed = compressor.compress(coding, content, |bytes| bytes).await;
            assert!(compressed.is_some(), "{coding:?}");
        }
    }

    fn text() -> Vec<u8> {
        let lines = (0_u64..1_000).map(|n| format!("line {n} of {}\n", n * n));
        lines.collect::<String>().into_bytes()
    }

    #[test]
    fn a_text_becomes_shorter_and_is_the_same_again() {
        let text = text();
        for coding in ContentCoding::ALL {
            let compressed = compress(coding, &text, &THOROUGH)
                .unwrap()
                .expect("it is a text");
            assert!(compressed.len() < text.len() / 3, "{coding:?}");
            assert!(decoded(coding, &compressed) == text, "{coding:?}");
            let again = compress(coding, &text, &THOROUGH).unwrap();
            assert_eq!(again, Some(compressed), "{coding:?}: the tag is made of it");
        }
    }

    #[test]
    fn what_does_not_become_much_shorter_is_left_alone() {
        let numbers =
            (0_u64..1_000).flat_map(|n| n.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_le_bytes());
        let noise: Vec<u8> = numbers.collect();
        for coding in ContentCoding::ALL {
            assert_eq!(
                compress(coding, &noise, &THOROUGH).unwrap(),
                None,
                "{coding:?}"
            );
            assert_eq!(
                compress(coding, b"", &THOROUGH).unwrap(),
                None,
                "{coding:?}"
            );
        }
    }
}
