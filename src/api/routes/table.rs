//! Where a path leads. Pure, built once for each set of settings.

use std::collections::HashMap;
use std::sync::Arc;

use super::gate::Gate;
use super::rules::RouteRules;
use crate::file_cache::RootId;
use crate::settings::ResourceSettings;
use crate::storage::CollectionId;

/// A path prefix that leads to a folder.
#[derive(Debug, Clone)]
pub(crate) struct StaticRoute {
    /// `/`, or a path without a slash at its end.
    pub prefix: String,
    /// The folder.
    pub root: RootId,
    /// Its number among the routes, for metrics.
    pub label: usize,
    /// What it says about its answers.
    pub rules: Arc<RouteRules>,
}

/// A path that leads to a resource.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ResourceRoute {
    /// What is served.
    pub collection: CollectionId,
    /// Where, and how.
    pub resource: ResourceSettings,
    /// Its number among the routes, for metrics.
    pub label: usize,
}

/// What a path leads to.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Resolved<'a> {
    /// The resource as a whole.
    List(&'a ResourceRoute),
    /// One record, by the id as it was sent.
    Item(&'a ResourceRoute, &'a str),
    /// A file: the rest of the path, empty or beginning with `/`.
    File(&'a StaticRoute, &'a str),
    /// Nothing.
    Nothing,
}

/// Every route.
#[derive(Debug, Clone, Default)]
pub(crate) struct RouteTable {
    /// The longest prefix first.
    statics: Vec<StaticRoute>,
    resources: HashMap<String, ResourceRoute>,
    labels: Vec<String>,
}

impl RouteTable {
    /// A table of these routes. Labels are numbered in the order given, statics first.
    pub(crate) fn new(
        statics: impl IntoIterator<Item = (String, RootId, RouteRules)>,
        resources: impl IntoIterator<Item = (CollectionId, ResourceSettings)>,
    ) -> Self {
        let mut table = Self::default();
        for (prefix, root, rules) in statics {
            let label = table.label(prefix.clone());
            table.statics.push(StaticRoute {
                prefix,
                root,
                label,
                rules: Arc::new(rules),
            });
        }
        for (collection, resource) in resources {
            let path = resource.path.clone();
            let label = table.label(path.clone());
            let route = ResourceRoute {
                collection,
                resource,
                label,
            };
            table.resources.insert(path, route);
        }
        table
            .statics
            .sort_by_key(|route| std::cmp::Reverse(route.prefix.len()));
        table
    }

    fn label(&mut self, pattern: String) -> usize {
        self.labels.push(pattern);
        self.labels.len() - 1
    }

    /// Where requests wait for their turn, with the pattern of their route.
    pub(crate) fn gates(&self) -> Vec<(String, Arc<Gate>)> {
        let statics = self.statics.iter();
        statics
            .filter_map(|route| Some((route.prefix.clone(), Arc::clone(route.rules.gate()?))))
            .collect()
    }

    /// The configured pattern of each route, by label.
    pub(crate) fn labels(&self) -> &[String] {
        &self.labels
    }

    /// Where `path` leads: a resource before a folder, and the longest prefix among folders.
    pub(crate) fn resolve<'a>(&'a self, path: &'a str) -> Resolved<'a> {
        if !self.resources.is_empty() {
            if let Some(resource) = self.resources.get(path) {
                return Resolved::List(resource);
            }
            if let Some((parent, last)) = path.rsplit_once('/')
                && let Some(resource) = self.resources.get(parent)
            {
                // `/books/` is the list too: clients that join paths produce it.
                return if last.is_empty() {
                    Resolved::List(resource)
                } else {
                    Resolved::Item(resource, last)
                };
            }
        }
        for route in &self.statics {
            if let Some(rest) = rest_below(&route.prefix, path) {
                return Resolved::File(route, rest);
            }
        }
        Resolved::Nothing
    }
}

/// What of `path` comes after `prefix`, if it lies below it: by whole segments.
fn rest_below<'a>(prefix: &str, path: &'a str) -> Option<&'a str> {
    if prefix == "/" {
        return path.starts_with('/').then_some(path);
    }
    path.strip_prefix(prefix)
        .filter(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> RouteTable {
        let root = |n| RootId::new(n);
        RouteTable::new(
            [
                ("/".to_owned(), root(0), RouteRules::default()),
                ("/slow".to_owned(), root(1), RouteRules::default()),
                ("/slow/er".to_owned(), root(2), RouteRules::default()),
            ],
            [
                (CollectionId(0), ResourceSettings::at("/books")),
                (CollectionId(1), ResourceSettings::at("/api/v1/pens")),
            ],
        )
    }

    #[test]
    fn the_longest_prefix_wins_by_whole_segments() {
        let table = table();
        let file = |path| match table.resolve(path) {
            Resolved::File(route, rest) => (route.prefix.as_str().to_owned(), rest.to_owned()),
            other @ (Resolved::List(_) | Resolved::Item(..) | Resolved::Nothing) => {
                panic!("{path}: {other:?}")
            }
        };
        let is = |prefix: &str, rest: &str| (prefix.to_owned(), rest.to_owned());
        assert_eq!(file("/"), is("/", "/"));
        assert_eq!(file("/slower"), is("/", "/slower"));
        assert_eq!(file("/slow"), is("/slow", ""));
        assert_eq!(file("/slow/x"), is("/slow", "/x"));
        assert_eq!(file("/slow/er/x"), is("/slow/er", "/x"));
        assert_eq!(file("/bookshelf"), is("/", "/bookshelf"));
    }

    #[test]
    fn a_resource_comes_before_a_folder() {
        let table = table();
        let pens = |resolved| matches!(resolved, Resolved::Item(r, "7") if r.collection.0 == 1);
        assert!(matches!(table.resolve("/books"), Resolved::List(r) if r.label == 3));
        assert!(matches!(table.resolve("/books/"), Resolved::List(_)));
        assert!(pens(table.resolve("/api/v1/pens/7")));
        assert!(matches!(table.resolve("/books/1/2"), Resolved::File(..)));
        assert!(matches!(table.resolve("*"), Resolved::Nothing));
    }
}
