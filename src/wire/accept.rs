//! Reads which media types a client accepts (`Accept`, RFC 9110 section 12.5.1). Pure.

use actix_web::http::header::{self, HeaderMap};

/// The preference of a client for a media type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Wish {
    /// 0 to 1000: its weight in thousandths; 0 is "not acceptable".
    pub weight: u16,
    /// Whether the type itself was named, and not only a range such as `*/*`.
    pub named: bool,
}

/// The degree to which a client wants `kind`, such as `text/html`. The range that names it most closely decides. A client that
/// says nothing accepts everything.
pub(crate) fn wish(headers: &HeaderMap, kind: &str) -> Wish {
    let (main, _) = kind.split_once('/').unwrap_or((kind, ""));
    let mut found: Option<(u8, u16)> = None;
    let mut said = false;
    for value in headers.get_all(header::ACCEPT) {
        let ranges = value.as_bytes().split(|byte| *byte == b',');
        for range in ranges.filter(|range| !range.trim_ascii().is_empty()) {
            said = true;
            let mut parts = range.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
            let name = parts.next().unwrap_or_default();
            let closeness = if name.eq_ignore_ascii_case(kind.as_bytes()) {
                3
            } else if is_range_of(name, main) {
                2
            } else if name == b"*/*" {
                1
            } else {
                continue;
            };
            found = found.max(Some((closeness, parts.find_map(weight).unwrap_or(1000))));
        }
    }
    match found {
        Some((closeness, weight)) => Wish {
            weight,
            named: closeness == 3,
        },
        None => Wish {
            weight: if said { 0 } else { 1000 },
            named: false,
        },
    }
}

/// Whether a range is `main/*`.
fn is_range_of(range: &[u8], main: &str) -> bool {
    let main_of = range.strip_suffix(b"/*");
    main_of.is_some_and(|of| of.eq_ignore_ascii_case(main.as_bytes()))
}

/// The weight that a parameter `q=0.5` gives, in thousandths.
pub(crate) fn weight(parameter: &[u8]) -> Option<u16> {
    let (name, value) = parameter.split_at_checked(2)?;
    if !name.eq_ignore_ascii_case(b"q=") {
        return None;
    }
    let mut digits = value.iter().filter(|byte| byte.is_ascii_digit());
    let thousandths = (0..4).fold(0, |so_far, _| {
        so_far * 10 + digits.next().map_or(0, |digit| u16::from(digit - b'0'))
    });
    Some(thousandths.min(1000))
}

/// Whether an error is shown to this client as a page: it wants HTML, and JSON less.
pub(crate) fn prefers_html(headers: &HeaderMap) -> bool {
    let html = wish(headers, "text/html");
    html.named && html.weight > 0 && html > json(headers)
}

/// Whether this client can be shown a page for an error: it takes HTML, and does not ask for JSON instead.
pub(crate) fn takes_html(headers: &HeaderMap) -> bool {
    let (html, json) = (wish(headers, "text/html"), json(headers));
    html.weight > 0 && !(json.named && json.weight >= html.weight)
}

fn json(headers: &HeaderMap) -> Wish {
    wish(headers, "application/json").max(wish(headers, "application/problem+json"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::http::header::HeaderValue;

    fn headers(accept: &[&'static str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in accept {
            headers.append(header::ACCEPT, HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn the_closest_range_decides() {
        for (accept, weight, named) in [
            (&[][..], 1000, false),
            (&[""], 1000, false),
            (&["*/*"], 1000, false),
            (&["text/html, application/xhtml+xml, */*;q=0.8"], 800, false),
            (&["Application/JSON"], 1000, true),
            (&["application/*;q=0.1"], 100, false),
            (&["text/html", "application/json; q=0.5"], 500, true),
            (&["*/*;q=0, application/json"], 1000, true),
            (&["text/html"], 0, false),
            (&["application/json;q=0"], 0, true),
            (&["*/*, application/json;q=0.000"], 0, true),
            (&["application/xml, text/*"], 0, false),
            (&["application/json;v=1;Q=0.25"], 250, true),
        ] {
            let expected = Wish { weight, named };
            assert_eq!(
                wish(&headers(accept), "application/json"),
                expected,
                "{accept:?}"
            );
        }
    }

    #[test]
    fn people_get_pages_and_programs_get_json() {
        for (accept, prefers, takes) in [
            (&[][..], false, true),
            (&["*/*"], false, true),
            (
                &["text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"],
                true,
                true,
            ),
            (&["text/html"], true, true),
            (&["text/html, */*"], true, true),
            (&["text/html;q=0.5, */*"], false, true),
            (&["application/json"], false, false),
            (&["application/json, text/plain, */*"], false, false),
            (&["application/json, text/html"], false, false),
            (&["application/json;q=0.5, text/html"], true, true),
            (&["application/problem+json, text/html;q=0.9"], false, false),
            (&["text/html;q=0, */*"], false, false),
            (&["image/avif, image/webp, */*;q=0.8"], false, true),
        ] {
            let headers = headers(accept);
            assert_eq!(prefers_html(&headers), prefers, "{accept:?}");
            assert_eq!(takes_html(&headers), takes, "{accept:?}");
        }
    }
}
