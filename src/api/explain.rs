//! The answer that a request would get, and the reasons, in plain English: for `perennial explain`.
//!
//! Nothing is decided here. Routes, rules, methods, queries, plans and header fields come from the functions that serve; what
//! they need from the outside (a file, a record) is looked up by [`Explainer::alone`] on the disk, and by [`Explainer::running`] in
//! the running daemon. A request that would change something is never carried out.

mod asked;
mod explanation;
mod plan;
mod records;

use actix_web::http::header::HeaderMap;
use actix_web::http::{Method, StatusCode};
use tokio::time::Instant;

use super::answer::{empty, redirect};
use super::files;
use super::nowhere::nothing_at;
use super::redirects;
use super::resource::{NamedPart, NamedRecord};
use super::routes::{Matched, Route, RouteTable, Target, Unrouted};
use super::site::{Site, methods};
use crate::file_cache::containment::SafePath;
use crate::file_cache::{ContentPlace, EncodedPlace, Glance, RootHandle, glance};
use crate::num::as_u64;
use crate::settings::{ContentCoding, Listen, Settings, TlsSettings};
use crate::wire::{Code, Hosts, Problem, host_of, must_know};
pub(crate) use asked::AskedRequest;
pub(crate) use explanation::Explanation;
use explanation::{duration, size};
use records::AskedRecords;

/// All that an explanation needs.
pub(crate) struct Explainer<'a> {
    /// The routes.
    pub(crate) routes: &'a RouteTable,
    /// The limits of requests, and the names of the server.
    pub(crate) settings: &'a Settings,
}

/// A request that has a route.
struct RoutedRequest<'a> {
    asked: &'a AskedRequest,
    matched: Matched,
}

impl RoutedRequest<'_> {
    /// The path below the route, as it was sent.
    fn rest(&self) -> &str {
        self.matched.rest(&self.asked.path)
    }
}

impl Explainer<'_> {
    /// Explains without a daemon. Files are looked at on the disk; records are not.
    pub(crate) async fn alone(&self, asked: &AskedRequest) -> Explanation {
        self.explain(asked, None).await
    }

    /// Explains with what the running daemon has in memory and in its store.
    pub(crate) async fn running(&self, asked: &AskedRequest, site: &Site) -> Explanation {
        self.explain(asked, Some(site)).await
    }

    async fn explain(&self, asked: &AskedRequest, site: Option<&Site>) -> Explanation {
        let mut told = Explanation::new(asked);
        let Some(routed) = self.route(asked, &mut told) else {
            return told;
        };
        match &routed.matched.route.target {
            Target::Files(root) => self.file(&routed, root, site, &mut told).await,
            Target::Redirect(redirect) => {
                told.add("target", "another address");
                told.add("answered by", "a request handler");
                let rest = routed.matched.rest(&asked.path);
                let answered = redirects::answer(redirect, &asked.method, rest, &asked.query);
                let rules = &routed.matched.route.rules;
                told.answered(&asked.path, answered, Some(rules));
            }
            Target::Respond(answer) => {
                told.add("target", "an answer that is always the same");
                told.add("answered by", "a request handler");
                let answered = Ok(answer.answer(&asked.method));
                let rules = &routed.matched.route.rules;
                told.answered(&asked.path, answered, Some(rules));
            }
            Target::Resource(target) => {
                let records = AskedRecords::new(self.settings, target, &routed);
                records.tell(site.map(|site| &*site.store), &mut told).await;
            }
            Target::Document(document) => {
                told.add("target", "a document that is made of the settings");
                told.add("answered by", "a request handler");
                let answered = document.answer(&asked.method, &HeaderMap::new());
                let rules = &routed.matched.route.rules;
                told.answered(&asked.path, answered, Some(rules));
            }
            Target::Batch => {
                told.add("target", "batches: changes of several resources");
                told.add("answered by", "writer, once its group is on the disk");
                let most = self.settings.limits.batch;
                told.add(
                    "limit",
                    format!("{most} operations, else 413 (limits.batch)"),
                );
            }
        }
        self.limits(&routed, &mut told);
        told
    }

    /// Tells the route, or the answer where there is none.
    fn route<'b>(
        &self,
        asked: &'b AskedRequest,
        told: &mut Explanation,
    ) -> Option<RoutedRequest<'b>> {
        self.tls(asked, told);
        let misdirected = self.host(asked, told);
        let host = asked.authority.as_deref().map(host_of);
        let resolved = self.routes.resolve(host, &asked.path);
        let refused = misdirected.or(must_know(&asked.method).err());
        let answered = match resolved {
            Ok(matched) => {
                let route = &matched.route;
                told.route = Some(route.pattern.clone());
                told.add(
                    "route",
                    format!("{}: {}", route.pattern, why(&matched, asked)),
                );
                let second = self.routes.runner_up(host, &asked.path);
                let second = second.map_or_else(
                    || "none: no other route has this path".to_owned(),
                    |second| format!("{}: {}", second.pattern, why_not(route, second)),
                );
                told.add("runner-up", second);
                let of_target = methods(&matched, &asked.path);
                let not_taken = route.rules.must_take(&asked.method, of_target).err();
                if let Some(problem) = refused.or(not_taken) {
                    told.answered(&asked.path, Err(problem), Some(&route.rules));
                    return None;
                }
                return Some(RoutedRequest { asked, matched });
            }
            Err(Unrouted::Elsewhere(reference)) => {
                told.add(
                    "route",
                    "none: the path has empty or dot segments, and leads elsewhere",
                );
                redirect(&reference, &asked.query)
            }
            Err(Unrouted::Nowhere) => {
                let patterns = self.routes.patterns().join(", ");
                told.add("route", format!("none; there are {patterns}"));
                Err(self.nothing_at(asked))
            }
        };
        told.answered(&asked.path, refused.map_or(answered, Err), None);
        told.add("answered by", "a request handler");
        None
    }

    /// The problem where nothing is at the path that is asked for.
    fn nothing_at(&self, asked: &AskedRequest) -> Problem {
        nothing_at(self.routes, &self.settings.resources, &asked.path)
    }

    /// Tells which certificate a client gets, and whether it is sent to TLS.
    fn tls(&self, asked: &AskedRequest, told: &mut Explanation) {
        let tls = &self.settings.tls;
        if tls.redirect_http && asked.over_tls != Some(true) {
            told.add(
                "without TLS",
                "308 to https at the addresses of server.listen, but for unix sockets and /.well-known/acme-challenge/",
            );
        }
        if asked.over_tls == Some(false) || tls.listen.is_empty() {
            return;
        }
        let host = asked.authority.as_deref().map(host_of);
        if let Some((name, pair)) = tls.pairs.of_host(host) {
            let key = TlsSettings::key_of(name);
            let hosts = pair.names.join(", ");
            told.add("certificate", format!("that of {key}, for {hosts}"));
        }
    }

    /// Tells whether the host of a URL is served, and refuses it if it is served at no address.
    fn host(&self, asked: &AskedRequest, told: &mut Explanation) -> Option<Problem> {
        let local = |listen: &Listen| matches!(listen, Listen::Tcp(at) if at.ip().is_loopback());
        let authority = asked.authority.as_ref()?;
        let hosts = Hosts::new(self.settings);
        let refused = hosts.known(authority).err();
        let listens = &self.settings.server.listen;
        let strict = hosts.must_be_known(false);
        let Some(problem) = refused.filter(|_| strict || listens.iter().any(local)) else {
            told.add("host", format!("{authority} is served"));
            return None;
        };
        let everywhere = strict || listens.iter().all(local);
        let elsewhere = if everywhere {
            ""
        } else {
            "; it is served at the other addresses"
        };
        let text = problem.text();
        told.add(
            "host",
            if strict {
                format!("421: {text}")
            } else {
                format!("421 on a loopback address: {text}{elsewhere}")
            },
        );
        everywhere.then_some(problem)
    }

    /// Tells which file is served.
    async fn file(
        &self,
        routed: &RoutedRequest<'_>,
        root: &RootHandle,
        site: Option<&Site>,
        told: &mut Explanation,
    ) {
        let (asked, rules) = (routed.asked, &routed.matched.route.rules);
        told.add(
            "target",
            format!("the folder {}", root.site().path.display()),
        );
        if asked.method == Method::OPTIONS {
            told.answered(&asked.path, Ok(files::methods()), Some(rules));
            told.add("answered by", "a request handler");
            return;
        }
        let found = if let Some(site) = site {
            let found = site.files.glance(root, routed.rest(), Instant::now()).await;
            found.map_err(Problem::from)
        } else {
            let most = self.settings.file_cache.max_file_bytes;
            glance(root, routed.rest(), most).map_err(Problem::from)
        };
        let mut by = "file-cache, which looks at the disk".to_owned();
        let found = found.and_then(|found| files::must_read(&asked.method).map(|()| found));
        let answered = match found {
            Ok(Glance::File {
                about,
                bytes,
                place,
                encodings,
            }) => {
                told.add(
                    "file",
                    root.site().path.join(&*about.name).display().to_string(),
                );
                told.add("content", self.place(bytes, place));
                for (coding, place) in encodings {
                    told.add("content", encoded(coding, place));
                }
                by = self.who_has(place);
                files::response(&HeaderMap::new(), &about, || {
                    Ok(files::described(empty(StatusCode::OK), &about))
                })
            }
            Ok(Glance::Moved) => files::to_folder(&asked.path, &asked.query),
            Ok(Glance::Listing(listing)) => {
                let count = listing.files.len();
                told.add(
                    "content",
                    format!("a list of {count} files and folders (files.listing)"),
                );
                let is_top = routed.rest() == "/";
                files::listed(&HeaderMap::new(), &asked.path, is_top, &listing)
            }
            Err(problem) if problem == Problem::new(Code::NotFound) => {
                absent(root, routed.rest(), told);
                Err(self.nothing_at(asked))
            }
            Err(problem) => Err(problem),
        };
        told.answered(&asked.path, answered, Some(rules));
        told.add("answered by", by);
        let deadline = duration(self.settings.supervision.children.file_cache.deadline);
        told.add(
            "limit",
            format!("waits for the file {deadline} at most, then 504"),
        );
    }

    /// The length of a file, and where it is.
    fn place(&self, bytes: u64, place: ContentPlace) -> String {
        let bytes = size(bytes);
        match place {
            ContentPlace::Memory(age) => format!(
                "{bytes} in memory, compared with the file {} ago",
                duration(age)
            ),
            ContentPlace::Disk => format!("{bytes} on the disk"),
            ContentPlace::DiskAlone => {
                let most = as_u64(self.settings.file_cache.max_file_bytes);
                format!(
                    "{bytes} on the disk; more than {} is not kept in memory",
                    size(most)
                )
            }
        }
    }

    fn who_has(&self, place: ContentPlace) -> String {
        let revalidate = self.settings.file_cache.revalidate;
        match place {
            ContentPlace::Memory(age) if age < revalidate => {
                "a request handler, from memory".to_owned()
            }
            ContentPlace::Memory(_) => format!(
                "file-cache, which compares what is in memory with the file: that was done more than {} ago",
                duration(revalidate)
            ),
            ContentPlace::Disk => {
                "file-cache, which reads the file; then a request handler, from memory".to_owned()
            }
            ContentPlace::DiskAlone => {
                "file-cache, which opens the file; a request handler sends it from the disk"
                    .to_owned()
            }
        }
    }

    /// Tells the rules of the route and the limits of every request.
    fn limits(&self, routed: &RoutedRequest<'_>, told: &mut Explanation) {
        let rules = &routed.matched.route.rules;
        let limits = &self.settings.limits;
        told.add("access", rules.access.text());
        told.add("other sites", rules.cors.text());
        if let Some(methods) = rules.methods_text() {
            told.add("rule", format!("only {methods}, else 405 (methods)"));
        }
        if !rules.delay.is_zero() {
            let delay = duration(rules.delay);
            told.add("rule", format!("answered after {delay} at the earliest"));
        }
        if let Some(gate) = &rules.gate {
            let (most, waiting, room) = (gate.most(), gate.waiting(), gate.waiting_max);
            told.add(
                "rule",
                format!("{most} at a time; {waiting} wait, and more than {room} get 503"),
            );
        }
        if let Some(rate) = &rules.rate {
            told.add("rule", rate.text());
        }
        let head = size(as_u64(limits.head_bytes));
        told.add("limit", format!("a head of {head}, else 431"));
        if routed.asked.method.is_safe() {
            let time = duration(limits.request_timeout);
            told.add("limit", format!("answered within {time}, else 504"));
        }
    }
}

/// Tells which file is not there, and which page may be shown instead.
fn absent(root: &RootHandle, path: &str, told: &mut Explanation) {
    let site = root.site();
    if let Ok(path) = SafePath::new(path) {
        let index = site.index.first().map_or("", |index| index);
        let file = path.under(&site.path, index);
        told.add("file", file.display().to_string());
    }
    let Some(page) = &site.fallback else {
        return;
    };
    let text = if files::is_page(site, path) {
        format!("a browser that opens a page gets {page} with 200; everybody else gets this answer")
    } else {
        format!("not {page}, since the path has the ending of a file")
    };
    told.add("fallback", text);
}

/// A coding in which a client may get a file.
fn encoded(coding: ContentCoding, place: EncodedPlace) -> String {
    let whence = match place {
        EncodedPlace::Memory(bytes) => format!("{} in memory", size(bytes)),
        EncodedPlace::Beside => format!("the file beside it that ends with {}", coding.ending()),
        EncodedPlace::DiskAlone(bytes) => {
            let ending = coding.ending();
            format!(
                "{} of the file beside it that ends with {ending}",
                size(bytes)
            )
        }
        EncodedPlace::Unmade => {
            "compressed when the first client that takes it asks, and kept in memory".to_owned()
        }
    };
    format!("for a client that takes {}: {whence}", coding.name())
}

/// The reason why a route has a path.
fn why(matched: &Matched, asked: &AskedRequest) -> &'static str {
    match &matched.route.target {
        Target::Files(_) | Target::Redirect(_) | Target::Respond(_) => {
            "the longest prefix of the path, by whole segments"
        }
        Target::Batch => "the path of batches",
        Target::Document(_) => "the path of a document about the API",
        Target::Resource(target) => match NamedRecord::of(target, matched, &asked.path) {
            None => "the path is that of the resource",
            Some(NamedRecord {
                part: NamedPart::History,
                ..
            }) => "the path is that of a record's history",
            Some(_) => "the path is that of a record, one segment below the resource",
        },
    }
}

/// The reason why another route does not have it.
fn why_not(route: &Route, second: &Route) -> &'static str {
    match (&route.target, &second.target) {
        (Target::Resource(_), Target::Files(_)) => "a folder comes after a resource",
        (Target::Resource(_), Target::Redirect(_)) => "a redirect comes after a resource",
        (Target::Resource(_), Target::Respond(_)) => "a fixed answer comes after a resource",
        (Target::Document(_), _) | (_, Target::Document(_)) => "a document has only one path",
        (Target::Batch, _) | (_, Target::Batch) => "batches have only one path",
        (Target::Files(_) | Target::Redirect(_) | Target::Respond(_), _) => "its path is shorter",
        (Target::Resource(_), Target::Resource(_)) => "its path is a less exact match",
    }
}
