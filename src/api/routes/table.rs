//! Finds the route of a path. Pure; the table is built once for each set of settings.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::sync::Arc;

use fnv::FnvHashMap;

use super::super::identities::Identities;
use super::super::openapi::{Document, schema_document};
use super::super::respond::FixedAnswer;
use super::path::{Spelling, after_segments, encoded, spelling};
use super::rules::RouteRules;
use crate::file_cache::RootHandle;
use crate::record::{RecordOwner, nearest};
#[cfg(test)]
use crate::settings::RoutePlace;
use crate::settings::{Permission, RedirectSettings, ResourceSettings};
use crate::storage::CollectionId;
use crate::wire::Incoming;

/// For longer paths, no similar name is suggested.
const NEAR_BYTES_MAX: usize = 128;

/// One route: where it leads, and the rules for every answer.
#[derive(Debug)]
pub(crate) struct Route {
    /// Its host, if it has one, and its path, as the settings write them.
    pub pattern: String,
    /// The host whose requests it answers, in small letters; `None` is every host.
    pub host: Option<String>,
    /// `/`, or a decoded path without a slash at its end.
    pub path: String,
    /// The number of its pattern, for metrics and the access log, if there was room for it.
    pub number: Option<usize>,
    /// Headers, error pages, delay, requests at a time.
    pub rules: RouteRules,
    /// The target of the route.
    pub target: Target,
}

impl Route {
    /// The URL of what the route has in any case: the page of its folder, or the beginning of its list. `None` if its answer is
    /// written in the settings, so that any answer is meant.
    pub(crate) fn own_url(&self) -> Option<String> {
        let path = match &self.target {
            Target::Respond(_) => return None,
            Target::Files(_) if self.path == "/" => "/".to_owned(),
            Target::Files(_) => encoded(&self.path) + "/",
            Target::Redirect(_) => encoded(&self.path),
            Target::Resource(target) => format!("{}?_limit=1", target.url),
            Target::Batch | Target::Document(_) => self.path.clone(),
        };
        Some(match &self.host {
            Some(host) => format!("http://{host}{path}"),
            None => path,
        })
    }
}

impl Route {
    /// Whether a route that was found by its path, or by one below it, has this path.
    fn has(&self, decoded: &str) -> bool {
        !matches!(self.target, Target::Document(_)) || self.path == decoded
    }
}

#[cfg(test)]
impl Route {
    /// A route without rules.
    pub(crate) fn plain(pattern: &str, target: Target) -> Self {
        Self {
            pattern: pattern.to_owned(),
            host: RoutePlace::of(pattern).host.map(str::to_owned),
            path: RoutePlace::of(pattern).path.to_owned(),
            number: Some(0),
            rules: RouteRules::default(),
            target,
        }
    }
}

/// The target of a route.
#[derive(Debug)]
pub(crate) enum Target {
    /// A folder.
    Files(RootHandle),
    /// Another address.
    Redirect(Box<RedirectSettings>),
    /// An answer that is always the same.
    Respond(FixedAnswer),
    /// A resource.
    Resource(Box<ResourceTarget>),
    /// Changes of several resources at once.
    Batch,
    /// A document about the API. It has no path but its own.
    Document(Document),
}

impl Target {
    /// The folder from which a file or the page of an error can be taken.
    pub(crate) fn root(&self) -> Option<&RootHandle> {
        match self {
            Self::Files(root) => Some(root),
            Self::Redirect(_)
            | Self::Respond(_)
            | Self::Resource(_)
            | Self::Batch
            | Self::Document(_) => None,
        }
    }
}

/// A resource and where its records are.
#[derive(Debug)]
pub(crate) struct ResourceTarget {
    /// The records.
    pub collection: CollectionId,
    /// Its path, encoded for a URL.
    pub url: String,
    /// The settings of the resource.
    pub settings: ResourceSettings,
    /// Its JSON Schema.
    pub schema: Document,
}

impl ResourceTarget {
    /// The client of a request, if only its own records are for it.
    pub(crate) fn owner(
        &self,
        rules: &RouteRules,
        request: &Incoming,
        permission: Permission,
    ) -> Option<RecordOwner> {
        let field = self.settings.owner.as_ref()?;
        let except = &self.settings.owner_except;
        let name = rules.access.limited_client(request, permission, except)?;
        Some(RecordOwner::new(field, name, &self.settings.schema))
    }

    /// A resource at the path of its settings.
    pub(crate) fn new(collection: CollectionId, name: &str, settings: ResourceSettings) -> Self {
        Self {
            schema: schema_document(name, &settings),
            collection,
            url: encoded(&settings.path),
            settings,
        }
    }
}

/// The route of a request.
#[derive(Debug, Clone)]
pub(crate) struct Matched {
    /// The route.
    pub route: Arc<Route>,
    /// The number of bytes of the path, as it was sent, that belong to the route.
    pub prefix_bytes: usize,
}

impl Matched {
    /// The rest of the path that the request was sent with: empty, or beginning with `/`.
    pub(crate) fn rest<'a>(&self, path: &'a str) -> &'a str {
        path.get(self.prefix_bytes..).unwrap_or_default()
    }
}

/// A path that no route answers.
#[derive(Debug)]
pub(crate) enum Unrouted {
    /// It leads to another path: a relative reference, for a redirect.
    Elsewhere(String),
    /// It leads nowhere.
    Nowhere,
}

/// Folders, redirects and fixed answers.
#[derive(Debug, Default)]
struct FolderTable {
    /// By path. Each has all paths below its own.
    routes: FnvHashMap<String, Arc<Route>>,
    /// The lengths of their paths, the longest first: a path is looked up at these only, however many there are.
    lengths: BTreeSet<Reverse<usize>>,
}

impl FolderTable {
    fn add(&mut self, route: Arc<Route>) {
        self.lengths.insert(Reverse(route.path.len()));
        self.routes.insert(route.path.clone(), route);
    }

    /// The routes that have a decoded path, the longest first.
    fn candidates<'a>(&'a self, decoded: &'a str) -> impl Iterator<Item = &'a Arc<Route>> {
        let at = |Reverse(length): &Reverse<usize>| above_or_at(decoded, *length);
        let lengths = self.lengths.iter();
        lengths.filter_map(move |length| self.routes.get(at(length)?))
    }
}

/// Every route.
#[derive(Debug, Default)]
pub(crate) struct RouteTable {
    /// Folders, redirects and fixed answers of every host.
    folders: FolderTable,
    /// Those of one host. They come before those of every host.
    of_hosts: FnvHashMap<String, FolderTable>,
    /// Resources, by path. Each has its own path, those of one more segment, and the histories of its records.
    resources: FnvHashMap<String, Arc<Route>>,
    /// All routes.
    pub(super) all: Vec<Arc<Route>>,
    /// Their clients that can show who they are.
    pub(super) identities: Arc<Identities>,
}

impl RouteTable {
    /// A table of these routes.
    pub(crate) fn new(routes: impl IntoIterator<Item = Route>) -> Self {
        let mut table = Self::default();
        for route in routes.into_iter().map(Arc::new) {
            table.all.push(Arc::clone(&route));
            match route.target {
                Target::Files(_) | Target::Redirect(_) | Target::Respond(_) => {
                    let folders = match route.host.clone() {
                        Some(host) => table.of_hosts.entry(host).or_default(),
                        None => &mut table.folders,
                    };
                    folders.add(route);
                }
                Target::Resource(_) | Target::Batch | Target::Document(_) => {
                    drop(table.resources.insert(route.path.clone(), route));
                }
            }
        }
        table
    }

    /// The pattern of each route.
    pub(crate) fn patterns(&self) -> Vec<&str> {
        let routes = self.all.iter();
        routes.map(|route| route.pattern.as_str()).collect()
    }

    /// The rules of each route by its pattern, for its next edition.
    pub(super) fn rules(&self) -> FnvHashMap<&str, &RouteRules> {
        let routes = self.all.iter();
        routes
            .map(|route| (route.pattern.as_str(), &route.rules))
            .collect()
    }

    /// All routes.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Route> {
        self.all.iter().map(|route| &**route)
    }

    /// The folders that its routes lead to.
    pub(crate) fn roots(&self) -> impl Iterator<Item = &RootHandle> {
        self.all.iter().filter_map(|route| route.target.root())
    }

    /// Applies the limits of this table to the queues that its routes share with those of the table before.
    pub(crate) fn resize(&self) {
        self.all.iter().for_each(|route| route.rules.resize());
    }

    /// The resource of this path.
    pub(crate) fn resource(&self, pattern: &str) -> Option<&Arc<Route>> {
        self.resources.get(pattern)
    }

    /// Whether some routes answer the requests for one host only.
    pub(crate) fn has_hosts(&self) -> bool {
        !self.of_hosts.is_empty()
    }

    /// Finds the route of a path, however it is spelt, at a host: a resource comes before a folder, a route of the host before
    /// one of every host, and the longest prefix before others.
    pub(crate) fn resolve(&self, host: Option<&str>, path: &str) -> Result<Matched, Unrouted> {
        let decoded = match spelling(path) {
            Spelling::Direct(decoded) => decoded,
            Spelling::Detour(reference) => return Err(Unrouted::Elsewhere(reference)),
        };
        let route = self.candidates(host, &decoded).next();
        let route = route.ok_or(Unrouted::Nowhere)?;
        let prefix = route.path.as_str();
        let prefix_bytes = if prefix == "/" {
            0
        } else if path.starts_with(prefix) {
            prefix.len()
        } else {
            after_segments(path, prefix.matches('/').count())
        };
        Ok(Matched {
            route: Arc::clone(route),
            prefix_bytes,
        })
    }

    /// The routes of this host, however it is spelt.
    fn of_host(&self, host: Option<&str>) -> Option<&FolderTable> {
        let host = host.filter(|_| self.has_hosts())?;
        let host = host.strip_suffix('.').unwrap_or(host);
        let known = self.of_hosts.get(host);
        known.or_else(|| self.of_hosts.get(&host.to_ascii_lowercase()))
    }

    /// The routes that have a decoded path at a host, the one that answers first.
    fn candidates<'a>(
        &'a self,
        host: Option<&str>,
        decoded: &'a str,
    ) -> impl Iterator<Item = &'a Arc<Route>> {
        let above = |path: &'a str| path.rsplit_once('/').map(|(above, _)| above);
        // A slash at the end means nothing to a resource.
        let path = decoded.strip_suffix('/').unwrap_or(decoded);
        let parent = above(path);
        // The history of a record is one segment below it.
        let record = parent.filter(|_| path.ends_with("/_history"));
        let of_record = record.and_then(above);
        let paths = [Some(path), parent, of_record].into_iter().flatten();
        let resources = paths.filter_map(|path| self.resources.get(path));
        let resources = resources.filter(move |route| route.has(decoded));
        let of_host = self.of_host(host).into_iter();
        let of_host = of_host.flat_map(|folders| folders.candidates(decoded));
        let folders = self.folders.candidates(decoded);
        resources.chain(of_host).chain(folders)
    }

    /// The path of the resource that was probably meant by a path that leads nowhere, or below which it was.
    pub(crate) fn nearest_resource(&self, path: &str) -> Option<&str> {
        let path = path.trim_matches('/');
        if path.len() > NEAR_BYTES_MAX {
            return None;
        }
        let resources = self.resources.values();
        let resources = resources.filter(|route| matches!(route.target, Target::Resource(_)));
        let known = || {
            resources
                .clone()
                .map(|route| route.pattern.trim_start_matches('/'))
        };
        let above = path.rsplit_once('/').map(|(above, _)| above);
        let near = nearest(path, known()).or_else(|| nearest(above?, known()))?;
        let mut routes = resources.clone();
        let route = routes.find(|route| route.pattern.trim_start_matches('/') == near)?;
        Some(&route.pattern)
    }

    /// The route that would have this path at a host if the one that has it were not there.
    pub(crate) fn runner_up(&self, host: Option<&str>, path: &str) -> Option<&Arc<Route>> {
        match spelling(path) {
            Spelling::Direct(decoded) => {
                let second = self.candidates(host, &decoded).nth(1)?;
                self.all.iter().find(|route| Arc::ptr_eq(route, second))
            }
            Spelling::Detour(_) => None,
        }
    }
}

/// The first bytes of a path, if they are whole segments of it.
fn above_or_at(path: &str, length: usize) -> Option<&str> {
    let (above, rest) = path.split_at_checked(length)?;
    let whole = above == "/" || rest.is_empty() || rest.starts_with('/');
    whole.then_some(above)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> RouteTable {
        let folders = ["/", "/slow", "/slow/er", "/caf\u{e9}", "/a b"];
        let folders = folders
            .iter()
            .map(|prefix| Route::plain(prefix, Target::Files(RootHandle::unused())));
        let resources = ["/books", "/api/v1/pens"];
        let resources = resources.iter().zip(0..).map(|(path, n)| {
            let resource = ResourceTarget::new(CollectionId(n), "r", ResourceSettings::at(path));
            Route::plain(path, Target::Resource(Box::new(resource)))
        });
        RouteTable::new(folders.chain(resources))
    }

    /// The pattern of a path's route, and the rest of the path.
    fn resolved(path: &str) -> (String, String) {
        let matched = table().resolve(None, path).expect(path);
        let rest = matched.rest(path).to_owned();
        (matched.route.pattern.clone(), rest)
    }

    #[test]
    fn the_longest_prefix_wins_by_whole_segments_however_it_is_spelt() {
        for (path, pattern, rest) in [
            ("/", "/", "/"),
            ("/slower", "/", "/slower"),
            ("/slow", "/slow", ""),
            ("/slow/x", "/slow", "/x"),
            ("/slow/er/x", "/slow/er", "/x"),
            ("/bookshelf", "/", "/bookshelf"),
            ("/%73low/%78", "/slow", "/%78"),
            ("/sl%6Fw/e%72/", "/slow/er", "/"),
            ("/slow/er%2Fx", "/slow", "/er%2Fx"),
            ("/slow%2Fer/x", "/", "/slow%2Fer/x"),
            ("/caf%C3%A9/x", "/caf\u{e9}", "/x"),
            ("/a%20b", "/a b", ""),
        ] {
            let expected = (pattern.to_owned(), rest.to_owned());
            assert_eq!(resolved(path), expected, "{path}");
        }
    }

    #[test]
    fn a_resource_comes_before_a_folder() {
        for (path, pattern, rest) in [
            ("/books", "/books", ""),
            ("/books/", "/books", "/"),
            ("/books/1", "/books", "/1"),
            ("/books/1/", "/books", "/1/"),
            ("/%62ooks/%31", "/books", "/%31"),
            ("/api/v1/pens/7", "/api/v1/pens", "/7"),
            ("/books/1/_history", "/books", "/1/_history"),
            ("/books/1/%5Fhistory", "/books", "/1/%5Fhistory"),
            ("/books/1/2/_history", "/", "/books/1/2/_history"),
            ("/books/1/2", "/", "/books/1/2"),
        ] {
            let expected = (pattern.to_owned(), rest.to_owned());
            assert_eq!(resolved(path), expected, "{path}");
        }
        assert!(matches!(table().resolve(None, "*"), Err(Unrouted::Nowhere)));
    }

    #[test]
    fn a_hundred_times_the_routes_are_not_a_hundred_times_the_work() {
        let lookups = |count: usize| {
            let sites = (0..count).map(|n| format!("/site/{n}"));
            let root = || Target::Files(RootHandle::unused());
            let table = RouteTable::new(sites.map(|path| Route::plain(&path, root())));
            let last = format!("/site/{}", count - 1);
            assert_eq!(
                table
                    .resolve(None, &(last.clone() + "/x"))
                    .unwrap()
                    .route
                    .pattern,
                last
            );
            table.folders.lengths.len()
        };
        assert_eq!((lookups(10), lookups(1_000)), (1, 3));
    }

    #[test]
    fn the_routes_of_a_host_come_before_those_of_every_host() {
        let places = [
            "/",
            "/app",
            "example.org/",
            "example.org/app/x",
            "other.org/app",
        ];
        let root = || Target::Files(RootHandle::unused());
        let routes = places.iter().map(|place| Route::plain(place, root()));
        let books = ResourceTarget::new(CollectionId(0), "books", ResourceSettings::at("/books"));
        let books = Route::plain("/books", Target::Resource(Box::new(books)));
        let table = RouteTable::new(routes.chain([books]));
        for (host, path, pattern) in [
            (None, "/app", "/app"),
            (Some("example.org"), "/", "example.org/"),
            (Some("EXAMPLE.org."), "/app", "example.org/"),
            (Some("example.org"), "/app/x/y", "example.org/app/x"),
            (Some("example.org"), "/books/1", "/books"),
            (Some("other.org"), "/app", "other.org/app"),
            (Some("other.org"), "/apple", "/"),
            (Some("www.example.org"), "/app/x", "/app"),
            (Some(""), "/app", "/app"),
        ] {
            let matched = table.resolve(host, path).unwrap();
            assert_eq!(matched.route.pattern, pattern, "{host:?} {path}");
        }
        let second = table.runner_up(Some("example.org"), "/app/x").unwrap();
        assert_eq!(second.pattern, "example.org/");
        let urls: Vec<_> = table.all().filter_map(Route::own_url).collect();
        assert!(
            urls.contains(&"http://example.org/app/x/".to_owned()),
            "{urls:?}"
        );
    }

    #[test]
    fn a_detour_leads_elsewhere_and_never_to_a_route() {
        for path in ["//slow", "/x/../slow", "/slow/%2e%2e/books", "/books//1"] {
            let resolved = table().resolve(None, path);
            assert!(matches!(resolved, Err(Unrouted::Elsewhere(_))), "{path}");
        }
    }
}
