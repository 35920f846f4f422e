//! Chooses the coding of a file or a list by `Accept-Encoding` (RFC 9110 section 12.5.3). Pure.

use actix_web::http::header::{self, HeaderMap};

use crate::file_cache::CodingState;
use crate::settings::ContentCoding;
use crate::wire::weight;

/// The codings that a client takes, with their weights in thousandths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct AcceptedCodings {
    /// In the order of [`ContentCoding::ALL`]; 0 is "not acceptable".
    weights: [u16; ContentCoding::ALL.len()],
    /// The weight of the content as it is; `None` if the client has not said any: then every coding that it takes is better.
    plain: Option<u16>,
}

/// The form in which a client gets a file or a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Choice {
    /// As it is.
    Plain,
    /// In this coding, which is there.
    Encoded(ContentCoding),
    /// In this coding, which has to be made first.
    Make(ContentCoding),
    /// Nothing: there is no coding that the client takes, and it refuses the content as it is.
    Refused,
}

impl AcceptedCodings {
    /// Reads the field. Without it a client gets the content as it is.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let mut named = [None; ContentCoding::ALL.len()];
        let (mut plain, mut others) = (None, None);
        for value in headers.get_all(header::ACCEPT_ENCODING) {
            for one in value.as_bytes().split(|byte| *byte == b',') {
                let mut parts = one.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
                let name = parts.next().unwrap_or_default();
                let weight = parts.find_map(weight).unwrap_or(1000);
                if name == b"*" {
                    others = Some(weight);
                } else if name.eq_ignore_ascii_case(b"identity") {
                    plain = Some(weight);
                } else if let Some(place) = place_of(&mut named, name) {
                    *place = Some(weight);
                }
            }
        }
        Self {
            weights: named.map(|weight| weight.or(others).unwrap_or(0)),
            plain: plain.or(others.filter(|weight| *weight == 0)),
        }
    }

    /// The weight of a coding; 0 if the client does not take it.
    pub(super) fn weight(&self, coding: ContentCoding) -> u16 {
        let all = ContentCoding::ALL.iter().zip(self.weights);
        let found = { all }.find(|(of, _)| **of == coding);
        found.map_or(0, |(_, weight)| weight)
    }

    /// Whether the client takes the content as it is.
    pub(super) fn takes_plain(&self) -> bool {
        self.plain != Some(0)
    }

    /// The coding that the client likes best of those that there are. One that has to be made is chosen only if
    /// somebody makes it.
    pub(super) fn choose(
        &self,
        state: impl Fn(ContentCoding) -> CodingState,
        makes: bool,
    ) -> Choice {
        let mut best = (self.plain.unwrap_or(0), Choice::Plain);
        if !self.takes_plain() {
            best.1 = Choice::Refused;
        }
        // The best one comes first, and wins against the later ones and the file as it is where the client likes them equally.
        for (coding, weight) in ContentCoding::ALL.into_iter().zip(self.weights).rev() {
            if weight == 0 || weight < best.0 {
                continue;
            }
            match state(coding) {
                CodingState::Ready => best = (weight, Choice::Encoded(coding)),
                CodingState::Unmade if makes => best = (weight, Choice::Make(coding)),
                CodingState::Unmade | CodingState::Absent => {}
            }
        }
        best.1
    }
}

/// The place of the weight of the coding with this name.
fn place_of<'a>(
    weights: &'a mut [Option<u16>; ContentCoding::ALL.len()],
    name: &[u8],
) -> Option<&'a mut Option<u16>> {
    // RFC 9110 section 8.4.1.3.
    let name = if name.eq_ignore_ascii_case(b"x-gzip") {
        b"gzip"
    } else {
        name
    };
    let mut all = ContentCoding::ALL.iter().zip(weights);
    let found = all.find(|(coding, _)| name.eq_ignore_ascii_case(coding.name().as_bytes()));
    found.map(|(_, weight)| weight)
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::HeaderValue;

    use super::Choice::{Encoded, Make, Plain, Refused};
    use super::ContentCoding::{Br, Gzip, Zstd};
    use super::*;

    fn accepted(values: &[&'static str]) -> AcceptedCodings {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header::ACCEPT_ENCODING, HeaderValue::from_static(value));
        }
        AcceptedCodings::of(&headers)
    }

    #[test]
    fn the_coding_that_the_client_likes_best_is_chosen() {
        let all = |_| CodingState::Ready;
        let gzip_alone = |coding| match coding {
            Gzip => CodingState::Ready,
            Br | Zstd => CodingState::Absent,
        };
        for (values, of_all, of_gzip) in [
            (&[][..], Plain, Plain),
            (&[""], Plain, Plain),
            (&["identity"], Plain, Plain),
            (&["gzip"], Encoded(Gzip), Encoded(Gzip)),
            (&["x-gzip"], Encoded(Gzip), Encoded(Gzip)),
            (&["GZip;Q=0.5"], Encoded(Gzip), Encoded(Gzip)),
            (&["gzip, deflate, br, zstd"], Encoded(Br), Encoded(Gzip)),
            (&["gzip", "zstd"], Encoded(Zstd), Encoded(Gzip)),
            (&["br;q=0.5, gzip;q=0.8"], Encoded(Gzip), Encoded(Gzip)),
            (
                &["br;q=0.5, gzip;q=0.5, zstd;q=0.4"],
                Encoded(Br),
                Encoded(Gzip),
            ),
            (&["br;q=0, gzip;q=0"], Plain, Plain),
            (&["deflate, compress"], Plain, Plain),
            (&["*"], Encoded(Br), Encoded(Gzip)),
            (&["*;q=0.1, br;q=0"], Encoded(Zstd), Encoded(Gzip)),
            (&["*;q=0"], Refused, Refused),
            (&["identity;q=0"], Refused, Refused),
            (&["identity;q=0, br"], Encoded(Br), Refused),
            (&["identity;q=0, *"], Encoded(Br), Encoded(Gzip)),
            (&["identity, *;q=0"], Plain, Plain),
            (&["gzip;q=0.5, identity"], Plain, Plain),
            (
                &["gzip;q=0.5, identity;q=0.5"],
                Encoded(Gzip),
                Encoded(Gzip),
            ),
            (
                &["gzip;q=0.5, identity;q=0.1"],
                Encoded(Gzip),
                Encoded(Gzip),
            ),
            (&["gzip;q=0.5, *;q=0.8"], Encoded(Br), Encoded(Gzip)),
            (&["gzip;q=x"], Plain, Plain),
            (&["gzip;q=2"], Encoded(Gzip), Encoded(Gzip)),
        ] {
            let accepted = accepted(values);
            assert_eq!(accepted.choose(all, true), of_all, "{values:?}");
            assert_eq!(accepted.choose(gzip_alone, true), of_gzip, "{values:?}");
        }
    }

    #[test]
    fn what_has_to_be_made_is_chosen_only_if_somebody_makes_it() {
        let state = |coding| match coding {
            Br => CodingState::Unmade,
            Gzip => CodingState::Ready,
            Zstd => CodingState::Absent,
        };
        let all = accepted(&["gzip, br, zstd"]);
        assert_eq!(all.choose(state, true), Make(Br));
        assert_eq!(all.choose(state, false), Encoded(Gzip));
        let refuses = accepted(&["br, identity;q=0"]);
        assert_eq!(refuses.choose(state, false), Refused);
        assert!(!refuses.takes_plain() && all.takes_plain());
        assert_eq!((refuses.weight(Br), refuses.weight(Gzip)), (1000, 0));
    }
}
