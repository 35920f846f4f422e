//! Shows the content of a folder: as a page, or as JSON to clients that ask for it.

use std::time::SystemTime;

use actix_web::HttpResponse;
use actix_web::body::BoxBody;
use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderMap};
use bytes::Bytes;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

use super::super::answer::{Answered, set};
use super::super::conditional;
use crate::file_cache::{ListedFile, ListedKind, Listing, content_tag};
use crate::wire::{escape_html, takes_html};

/// The characters of a name that are encoded in a link: a name can't be taken for an address with a scheme.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// The answer to a GET or HEAD of a folder.
pub(in super::super) fn listed(
    headers: &HeaderMap,
    path: &str,
    is_top: bool,
    listing: &Listing,
) -> Answered {
    let path = crate::percent::decoded(path).unwrap_or_default();
    let (content_type, text) = if takes_html(headers) {
        ("text/html; charset=utf-8", page(&path, is_top, listing))
    } else {
        ("application/json", json_of(&path, listing).to_string())
    };
    let text = Bytes::from(text);
    let mut response = conditional::answer(headers, content_tag(&text), None, || {
        let mut response = HttpResponse::with_body(StatusCode::OK, BoxBody::new(text.clone()));
        set(&mut response, header::CONTENT_TYPE, content_type);
        response
    })?;
    set(&mut response, header::CACHE_CONTROL, "no-cache");
    set(&mut response, header::VARY, "accept");
    Ok(response)
}

fn json_of(path: &str, listing: &Listing) -> Value {
    let files = listing.files.iter().map(|file| {
        let (name, modified) = (&file.name, time(file.modified));
        match file.kind {
            ListedKind::Folder => json!({ "name": name, "type": "folder", "modified": modified }),
            ListedKind::File(bytes) => {
                json!({ "name": name, "type": "file", "bytes": bytes, "modified": modified })
            }
        }
    });
    let files: Vec<Value> = files.collect();
    json!({ "path": path, "files": files, "is_cut": listing.is_cut })
}

fn time(modified: SystemTime) -> String {
    humantime::format_rfc3339_seconds(modified).to_string()
}

fn page(path: &str, is_top: bool, listing: &Listing) -> String {
    let title = escape_html(path);
    let mut page = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\"><title>{title}</title>\
         <style>:root{{color-scheme:light dark}}body{{font:1rem/1.5 system-ui,sans-serif;max-width:60rem;\
         margin:2rem auto;padding:0 1rem;overflow-wrap:anywhere}}table{{border-collapse:collapse;width:100%}}\
         td,th{{padding:.2rem .6rem .2rem 0;text-align:left}}td+td{{white-space:nowrap}}</style></head>\
         <body><main><h1>{title}</h1><table>\
         <thead><tr><th scope=\"col\">Name<th scope=\"col\">Bytes<th scope=\"col\">Modified</thead><tbody>"
    );
    if !is_top {
        page.push_str("<tr><td><a href=\"../\">../</a><td><td>");
    }
    for file in &listing.files {
        row(&mut page, file);
    }
    page.push_str("</tbody></table>");
    if listing.is_cut {
        page.push_str("<p>There are more files than are shown.</p>");
    }
    page.push_str("</main></body></html>\n");
    page
}

fn row(page: &mut String, file: &ListedFile) {
    let (slash, bytes) = match file.kind {
        ListedKind::Folder => ("/", String::new()),
        ListedKind::File(bytes) => ("", bytes.to_string()),
    };
    let link = utf8_percent_encode(&file.name, ENCODED).to_string();
    let (name, modified) = (escape_html(&file.name), time(file.modified));
    page.extend(["<tr><td><a href=\"", &link, slash, "\">", &name, slash]);
    page.extend(["</a><td>", &bytes, "<td>", &modified]);
}
