//! Malformed heads of HTTP/2, which the h2 library refuses: most end their stream alone (RFC 9113 section 8.1.1). A header that the
//! library can't keep ends its connection (which section 5.4.1 allows), and nothing that was begun is lost.

use super::frames::{
    END_HEADERS, END_STREAM, FrameClient, GOAWAY, HEADERS, RST_STREAM, field, frame, get,
};
use super::{Served, run};

const METHOD: (&str, &str) = (":method", "GET");
const SCHEME: (&str, &str) = (":scheme", "http");
const PATH: (&str, &str) = (":path", "/now");
const AUTHORITY: (&str, &str) = (":authority", "a");
const REQUEST: [(&str, &str); 4] = [METHOD, SCHEME, PATH, AUTHORITY];
/// The code `PROTOCOL_ERROR`.
const PROTOCOL_ERROR: u32 = 1;

/// A head that is malformed, as stream 1.
fn head(fields: &[(&str, &str)]) -> Vec<u8> {
    let block: Vec<u8> = fields.iter().flat_map(|(n, v)| field(n, v)).collect();
    frame(HEADERS, END_HEADERS | END_STREAM, 1, &block)
}

/// A request with one header more.
fn with(header: (&'static str, &'static str)) -> Vec<u8> {
    head(&[&REQUEST[..], &[header]].concat())
}

#[test]
fn a_malformed_head_ends_its_stream_alone() {
    run(async {
        let served = Served::stage().await;
        for (section, malformed) in [
            ("8.2.2", with(("connection", "close"))),
            ("8.2.2", with(("keep-alive", "1"))),
            ("8.2.2", with(("proxy-connection", "close"))),
            ("8.2.2", with(("transfer-encoding", "chunked"))),
            ("8.2.2", with(("upgrade", "h2c"))),
            ("8.2.2", with(("te", "gzip"))),
            ("8.3", head(&[METHOD, SCHEME, AUTHORITY, ("x", "1"), PATH])),
            ("8.3", with(PATH)),
            ("8.3", with((":status", "200"))),
            ("8.3.1", head(&[SCHEME, PATH, AUTHORITY])),
            ("8.3.1", head(&[METHOD, PATH, AUTHORITY])),
            ("8.3.1", head(&[METHOD, SCHEME, AUTHORITY])),
            ("8.3.1", head(&[METHOD, SCHEME, (":path", ""), AUTHORITY])),
            (
                "8.3.1",
                head(&[METHOD, SCHEME, (":path", "/a b"), AUTHORITY]),
            ),
            (
                "8.3.1",
                head(&[METHOD, (":scheme", "h t"), PATH, AUTHORITY]),
            ),
            (
                "8.3.1",
                head(&[METHOD, SCHEME, PATH, (":authority", "a b")]),
            ),
            ("RFC 8441 section 4", with((":protocol", "websocket"))),
        ] {
            let refused = served.counters.faults();
            let mut client = FrameClient::connect(&served, &[]).await;
            client.send(&[malformed, get(3, "/now")].concat()).await;
            let reset = client.find(RST_STREAM).await;
            let told = (reset.stream, reset.number(0));
            assert_eq!(told, (1, PROTOCOL_ERROR), "{section}");
            assert_eq!(client.answer(3).await, 200, "{section}");
            assert_eq!(served.counters.faults(), refused + 1, "{section}");
        }
    });
}

#[test]
fn a_header_that_cannot_be_kept_ends_its_connection() {
    run(async {
        let served = Served::stage().await;
        for (section, malformed) in [
            ("8.2.1", with(("X-Upper", "1"))),
            ("8.2.1", with(("a b", "1"))),
            ("8.2.1", with(("a:b", "1"))),
            ("8.2.1", with(("", "1"))),
            ("8.2.1", with(("x", "1\n2"))),
            ("8.2.1", with(("x", "1\0"))),
            ("8.3", with((":unknown", "1"))),
            (
                "8.3.1",
                head(&[(":method", "G T"), SCHEME, PATH, AUTHORITY]),
            ),
        ] {
            let refused = served.counters.faults();
            let mut client = FrameClient::connect(&served, &[]).await;
            client.send(&malformed).await;
            let goodbye = client.find(GOAWAY).await;
            // The client may send everything again that comes after the last stream.
            let (last, reason) = (goodbye.number(0), goodbye.number(4));
            assert_eq!((last, reason), (0, PROTOCOL_ERROR), "{section}");
            assert_eq!(served.counters.faults(), refused + 1, "{section}");
        }
    });
}
