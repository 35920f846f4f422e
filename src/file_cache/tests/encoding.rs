//! Encoded contents: made once, when somebody asks, within the budget, from the file or from one that its owner compressed.

use std::fs::{self, File};
use std::path::Path;
use std::time::SystemTime;

use super::super::budget::cost;
use super::super::compressor::tests::decoded;
use super::super::encodings::CodingState;
use super::site::{CachedSite, DEADLINE, limits, paused};
use super::*;
use crate::memory_file::Content;
use crate::settings::{ContentCoding, FileCacheSettings};

/// The largest file that is kept in memory.
const LARGEST: usize = 10_000;

/// A text of about this many bytes.
fn text_of(bytes: usize) -> String {
    let lines = (0..bytes / 16).map(|n| format!("line {n:05} = {:03}\n", n % 997));
    lines.collect()
}

/// A site whose files are compressed, and whose owner may have compressed some.
async fn site(budget_bytes: usize) -> CachedSite {
    let mut site = CachedSite::new(budget_bytes).await;
    let limits = FileCacheSettings {
        max_file_bytes: LARGEST,
        ..limits(budget_bytes)
    };
    site.files.set_limits(&limits, DEADLINE);
    let root = SiteRoot {
        compress: ContentCoding::ALL.to_vec(),
        precompressed: ContentCoding::ALL.to_vec(),
        ..SiteRoot::plain(site.folder.path())
    };
    site.root = site.files.add(root).unwrap();
    site
}

async fn entry(site: &CachedSite, path: &str) -> Arc<Entry> {
    match site.load(path).await.unwrap() {
        Loaded::Entry(entry) => entry,
        other @ (Loaded::Large(_) | Loaded::Moved | Loaded::Listing(_)) => {
            panic!("{path} gave {other:?}")
        }
    }
}

async fn encoded(site: &CachedSite, path: &str, coding: ContentCoding) -> Arc<Entry> {
    site.files.encoded(&site.root, path, coding).await.unwrap()
}

/// The bytes of an entry in a coding, as they are sent.
fn sent(entry: &Entry, coding: ContentCoding) -> Vec<u8> {
    match &entry.encoded(coding).expect("it was made").content {
        Content::Heap(bytes) => bytes.to_vec(),
        Content::File(file) => file.read(0..file.length()).unwrap().to_vec(),
    }
}

fn modify(path: &Path, time: SystemTime) {
    let file = File::options().write(true).open(path).unwrap();
    file.set_modified(time).unwrap();
}

#[test]
fn a_text_is_compressed_once_for_all_who_ask_and_counts_in_the_budget() {
    paused(async {
        let site = site(1 << 20).await;
        let text = text_of(4_000);
        site.write("a.txt", &text);
        let plain = entry(&site, "/a.txt").await;
        assert!(plain.about.varies);
        assert_eq!(plain.coding(ContentCoding::Br), CodingState::Unmade);
        let before = site.counted().bytes;
        let both = tokio::join!(
            encoded(&site, "/a.txt", ContentCoding::Br),
            encoded(&site, "/a.txt", ContentCoding::Br)
        );
        assert!(Arc::ptr_eq(&both.0, &plain) && Arc::ptr_eq(&both.1, &plain));
        let counters = &site.files.published.counters;
        assert_eq!(counters.compressed.get(), 1);
        let bytes = sent(&plain, ContentCoding::Br);
        assert_eq!(decoded(ContentCoding::Br, &bytes), text.as_bytes());
        let more = u64::try_from(cost(bytes.len())).unwrap();
        assert_eq!(site.counted().bytes, before + more);
        let about = &plain.encoded(ContentCoding::Br).unwrap().about;
        assert_ne!(about.etag, plain.about.etag);
        assert_eq!(about.content_encoding.as_deref(), Some(&b"br"[..]));
        assert_eq!(about.content_type, plain.about.content_type);
        assert_eq!(plain.coding(ContentCoding::Gzip), CodingState::Unmade);
        encoded(&site, "/a.txt", ContentCoding::Gzip).await;
        assert_eq!(
            decoded(ContentCoding::Gzip, &sent(&plain, ContentCoding::Gzip)),
            text.as_bytes()
        );
        encoded(&site, "/a.txt", ContentCoding::Gzip).await;
        assert_eq!(counters.compressed.get(), 2);
    });
}

#[test]
fn what_is_small_or_compressed_by_nature_is_left_alone() {
    paused(async {
        let site = site(1 << 20).await;
        let text = text_of(4_000);
        for (name, content) in [("a.png", &*text), ("short.txt", text.get(..1023).unwrap())] {
            site.write(name, content);
            let entry = entry(&site, &format!("/{name}")).await;
            assert_eq!(
                entry.coding(ContentCoding::Br),
                CodingState::Absent,
                "{name}"
            );
        }
        let numbers = (0_u32..2_000).map(|n| n.wrapping_mul(0x9E37_79B9));
        let noise = numbers.map(|n| char::from(33 + u8::try_from(n >> 25).unwrap() % 94));
        site.write("noise.txt", &noise.collect::<String>());
        let entry = entry(&site, "/noise.txt").await;
        encoded(&site, "/noise.txt", ContentCoding::Zstd).await;
        let state = entry.coding(ContentCoding::Zstd);
        assert_ne!(state, CodingState::Unmade, "it was tried");
    });
}

#[test]
fn what_does_not_fit_beside_its_file_is_not_kept() {
    paused(async {
        let text = text_of(4_000);
        let site = site(cost(text.len()) + 500).await;
        site.write("a.txt", &text);
        let plain = entry(&site, "/a.txt").await;
        encoded(&site, "/a.txt", ContentCoding::Br).await;
        assert_eq!(plain.coding(ContentCoding::Br), CodingState::Absent);
        assert_eq!(site.files.published.counters.encoding_full.get(), 1);
        assert!(site.hit("/a.txt").is_some(), "the file itself stays");
        assert_eq!(
            site.counted().bytes,
            u64::try_from(cost(text.len())).unwrap()
        );
    });
}

#[test]
fn what_was_made_stays_while_the_content_is_the_same() {
    paused(async {
        let site = site(1 << 20).await;
        let text = text_of(4_000);
        site.write("a.txt", &text);
        let first = entry(&site, "/a.txt").await;
        encoded(&site, "/a.txt", ContentCoding::Br).await;
        pass(2_000).await;
        // The same content at another time.
        let path = site.folder.path().join("a.txt");
        modify(
            &path,
            SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000),
        );
        let second = entry(&site, "/a.txt").await;
        assert!(!Arc::ptr_eq(&first, &second));
        assert_eq!(second.coding(ContentCoding::Br), CodingState::Ready);
        let about = &second.encoded(ContentCoding::Br).unwrap().about;
        assert_eq!(about.last_modified, second.about.last_modified);
        let bytes = site.counted().bytes;
        assert_eq!(bytes, u64::try_from(second.cost()).unwrap());
        pass(2_000).await;
        site.write("a.txt", &text.replace("line", "LINE"));
        let third = entry(&site, "/a.txt").await;
        assert_eq!(third.coding(ContentCoding::Br), CodingState::Unmade);
        assert_eq!(site.counted().bytes, u64::try_from(third.cost()).unwrap());
    });
}

#[test]
fn a_file_that_its_owner_compressed_is_sent_unless_it_is_older() {
    paused(async {
        let site = site(1 << 20).await;
        site.write("a.png", "a picture");
        site.write("a.png.gz", "its owner's gzip");
        let beside = site.folder.path().join("a.png.gz");
        let plain = entry(&site, "/a.png").await;
        assert_eq!(plain.coding(ContentCoding::Gzip), CodingState::Unmade);
        assert_eq!(plain.coding(ContentCoding::Br), CodingState::Absent);
        encoded(&site, "/a.png", ContentCoding::Gzip).await;
        assert_eq!(sent(&plain, ContentCoding::Gzip), b"its owner's gzip");
        // It changes, and the file itself does not.
        pass(2_000).await;
        fs::write(&beside, "another gzip").unwrap();
        let plain = entry(&site, "/a.png").await;
        encoded(&site, "/a.png", ContentCoding::Gzip).await;
        assert_eq!(sent(&plain, ContentCoding::Gzip), b"another gzip");
        // It becomes older than the file.
        pass(2_000).await;
        modify(&beside, SystemTime::UNIX_EPOCH);
        let plain = entry(&site, "/a.png").await;
        assert_eq!(plain.coding(ContentCoding::Gzip), CodingState::Absent);
        assert_eq!(site.files.published.counters.stale_siblings.get(), 1);
        // It is removed, and a text is compressed instead.
        site.write("a.txt", &text_of(4_000));
        site.write("a.txt.br", "its owner's brotli");
        let text = entry(&site, "/a.txt").await;
        encoded(&site, "/a.txt", ContentCoding::Br).await;
        assert_eq!(sent(&text, ContentCoding::Br), b"its owner's brotli");
        pass(2_000).await;
        site.remove("a.txt.br");
        let text = entry(&site, "/a.txt").await;
        encoded(&site, "/a.txt", ContentCoding::Br).await;
        let bytes = sent(&text, ContentCoding::Br);
        assert_eq!(
            decoded(ContentCoding::Br, &bytes),
            text_of(4_000).as_bytes()
        );
    });
}

#[test]
fn a_compressed_file_that_leads_out_of_the_folder_is_not_sent() {
    paused(async {
        let site = site(1 << 20).await;
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("secret"), "a secret").unwrap();
        site.write("a.txt", "short");
        let link = site.folder.path().join("a.txt.gz");
        std::os::unix::fs::symlink(outside.path().join("secret"), link).unwrap();
        fs::create_dir(site.folder.path().join("a.txt.br")).unwrap();
        let plain = entry(&site, "/a.txt").await;
        for coding in ContentCoding::ALL {
            assert_eq!(plain.coding(coding), CodingState::Absent, "{coding:?}");
        }
    });
}

#[test]
fn a_large_file_is_opened_with_those_beside_it() {
    paused(async {
        let site = site(1 << 20).await;
        site.write("a.txt", &"x".repeat(LARGEST + 1));
        site.write("a.txt.zst", "its owner's zstd");
        let large = site.large("/a.txt").await;
        assert!(large.encoded(ContentCoding::Br).is_none());
        let zstd = large.encoded(ContentCoding::Zstd).expect("it is there");
        assert_eq!(zstd.length(), 16);
        assert_ne!(zstd.about().etag, large.about().etag);
        assert_eq!(zstd.about().content_encoding.as_deref(), Some(&b"zstd"[..]));
        let pieces: Vec<_> = read_steps(&zstd, 0..16, any()).try_collect().await.unwrap();
        assert_eq!(pieces.concat(), b"its owner's zstd");
    });
}
