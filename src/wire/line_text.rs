//! The text of a request that its line in the access log shows, copied from its head, so that the head need not be kept.

/// The most bytes of a path and its query together. A longer one is cut.
const TARGET_BYTES_MAX: usize = 1024;
/// The most bytes of each header.
const FIELD_BYTES_MAX: usize = 256;
/// Stands at the end of what was cut.
const CUT: &str = "\u{2026}";

/// The parts of a head that a line shows, as they were sent.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct HeadText<'a> {
    pub(super) path: &'a [u8],
    /// Without its `?`.
    pub(super) query: Option<&'a [u8]>,
    pub(super) user_agent: Option<&'a [u8]>,
    pub(super) referer: Option<&'a [u8]>,
}

/// A copy of them in one piece of memory, cut to a bound.
#[derive(Debug)]
pub(super) struct LineText {
    text: Box<[u8]>,
    /// The places of the parts, in their order.
    places: [Option<(u16, u16)>; 4],
}

impl LineText {
    pub(super) fn new(shown: &HeadText<'_>) -> Self {
        let left = TARGET_BYTES_MAX.saturating_sub(shown.path.len());
        let parts = [
            (Some(shown.path), TARGET_BYTES_MAX),
            (shown.query, left),
            (shown.user_agent, FIELD_BYTES_MAX),
            (shown.referer, FIELD_BYTES_MAX),
        ];
        let bytes = parts.iter().filter_map(|(part, most)| {
            let length = part.as_ref()?.len();
            Some(length.min(most + CUT.len()))
        });
        let mut text = Vec::with_capacity(bytes.sum());
        let end = |text: &Vec<u8>| u16::try_from(text.len()).unwrap_or(u16::MAX);
        let places = parts.map(|(part, most)| {
            let part = part?;
            let from = end(&text);
            text.extend_from_slice(part.get(..most).unwrap_or(part));
            if part.len() > most {
                text.extend_from_slice(CUT.as_bytes());
            }
            Some((from, end(&text)))
        });
        Self {
            text: text.into(),
            places,
        }
    }

    pub(super) fn shown(&self) -> HeadText<'_> {
        let [path, query, user_agent, referer] = self.places.map(|place| {
            let (from, to) = place?;
            self.text.get(usize::from(from)..usize::from(to))
        });
        HeadText {
            path: path.unwrap_or_default(),
            query,
            user_agent,
            referer,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_short_is_kept_and_what_is_long_is_cut() {
        let short = HeadText {
            path: b"/a",
            query: Some(b""),
            user_agent: None,
            referer: Some(b"http://c/"),
        };
        let text = LineText::new(&short);
        let shown = text.shown();
        assert_eq!((shown.path, shown.query), (&b"/a"[..], Some(&b""[..])));
        assert_eq!(shown.user_agent, None);
        assert_eq!(shown.referer, short.referer);
        let long = vec![b'x'; 100_000];
        let text = LineText::new(&HeadText {
            path: &long,
            query: Some(&long),
            user_agent: Some(&long),
            referer: Some(&long),
        });
        let shown = text.shown();
        let lengths =
            [shown.query, shown.user_agent, shown.referer].map(|part| part.unwrap().len());
        assert_eq!(shown.path.len(), TARGET_BYTES_MAX + CUT.len());
        let field = FIELD_BYTES_MAX + CUT.len();
        assert_eq!(lengths, [CUT.len(), field, field]);
        assert!(shown.path.ends_with(CUT.as_bytes()));
        assert_eq!(
            text.text.len(),
            TARGET_BYTES_MAX + 2 * FIELD_BYTES_MAX + 4 * CUT.len()
        );
    }
}
