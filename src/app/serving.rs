//! Makes what is served from the settings: the routes of one edition after the other.

use std::sync::Arc;

use crate::api::{Feeds, KeptLists, RouteTable, Site, declared};
use crate::file_cache::{Files, RootFault};
use crate::settings::Settings;
use crate::storage::{ProposedResources, Store};
use crate::wire::{
    ConnectionCounters, Edition, Hosts, HttpsRules, ProxyRules, RequestRules, RoutePatterns,
};

/// The parts that all editions share.
#[derive(Debug)]
pub(super) struct Serving {
    pub(super) files: Files,
    pub(super) store: Arc<dyn Store>,
    pub(super) feeds: Arc<Feeds>,
    pub(super) counters: Arc<ConnectionCounters>,
    pub(super) patterns: Arc<RoutePatterns>,
}

impl Serving {
    /// The edition of the start.
    pub(super) fn first(&self, settings: &Settings) -> Result<Edition<Site>, RootFault> {
        let resources = self.store.propose(&settings.resources);
        self.edition(1, &Arc::new(settings.clone()), &resources, None)
    }

    /// The edition of these settings, with the numbers of their resources. Routes that there were in the edition `before` go on
    /// with their queues.
    pub(super) fn edition(
        &self,
        number: u64,
        settings: &Arc<Settings>,
        resources: &ProposedResources,
        before: Option<&RouteTable>,
    ) -> Result<Edition<Site>, RootFault> {
        let routes = declared(
            settings,
            &self.patterns,
            before,
            |site| self.files.add(site),
            |name| resources.collection(name),
        )?;
        let site = Site {
            routes: Arc::new(routes),
            files: self.files.clone(),
            store: Arc::clone(&self.store),
            lists: KeptLists::new(settings.limits.kept_lists),
            feeds: Arc::clone(&self.feeds),
            counters: Arc::clone(&self.counters),
            hosts: Hosts::new(settings),
            settings: Arc::clone(settings),
        };
        let https = HttpsRules::new(&settings.tls);
        let (hosts, proxies) = (Hosts::new(settings), ProxyRules::new(&settings.server));
        Ok(edition(
            number,
            settings,
            hosts,
            proxies,
            https,
            Arc::new(site),
        ))
    }
}

/// An edition of what `responder` answers.
pub(super) fn edition<R>(
    number: u64,
    settings: &Settings,
    hosts: Hosts,
    proxies: ProxyRules,
    https: HttpsRules,
    responder: Arc<R>,
) -> Edition<R> {
    Edition {
        number,
        rules: RequestRules {
            limits: settings.limits,
            logs: settings.logging.access,
            logs_query: settings.logging.access_query,
        },
        hosts,
        proxies,
        https,
        responder,
    }
}
