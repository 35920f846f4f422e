//! `perennial explain`: what a request gets, and why, by the settings or by the running daemon.

use std::error::Error;
use std::sync::Arc;

use futures_util::FutureExt as _;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::{AdminArg, Exit, LoadOrSay as _, admin_client, complain, print};
use crate::api::{AskedRequest, Explainer, Explanation, declared};
use crate::file_cache::roots_alone;
use crate::settings::{CheckedFolders, Settings, SettingsSource};
use crate::storage::CollectionId;
use crate::wire::RoutePatterns;

/// `perennial explain`
#[derive(Debug, clap::Args)]
pub(super) struct ExplainArgs {
    /// The method, such as GET
    #[arg(value_name = "METHOD")]
    method: String,
    /// The path as a client sends it, such as /books?_sort=title, or the whole URL
    #[arg(value_name = "URL")]
    url: String,
    /// Ask the running daemon, which knows its files and records
    #[arg(long)]
    running: bool,
    /// Print the explanation as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    admin: AdminArg,
}

impl ExplainArgs {
    pub(super) fn run(self, source: SettingsSource) -> Exit {
        let asked = match AskedRequest::parse(&self.method, &self.url) {
            Ok(asked) => asked,
            Err(error) => return complain(&error, Exit::Usage),
        };
        let json = self.json;
        if !self.running && self.admin.admin.is_none() {
            return source.with_file(CheckedFolders::None, |loaded, _| {
                match by_settings(&Arc::new(loaded.settings), &asked) {
                    Ok(told) => told.map_or(Exit::Failed, |told| show(&told, json)),
                    Err(error) => complain(&*error, Exit::Failed),
                }
            });
        }
        let [method, url] =
            [&self.method, &self.url].map(|text| utf8_percent_encode(text, NON_ALPHANUMERIC));
        let path = format!("/explain?method={method}&url={url}");
        self.admin.ask(source, |address| {
            let told = match admin_client::get(address, &path) {
                Ok(told) => told,
                Err(error) => return complain(&error, Exit::Unavailable),
            };
            match serde_json::from_slice(&told) {
                Ok(told) => show(&told, json),
                Err(error) => complain(&error, Exit::Failed),
            }
        })
    }
}

/// The explanation by the settings alone. Nothing in it waits.
fn by_settings(
    settings: &Arc<Settings>,
    asked: &AskedRequest,
) -> Result<Option<Explanation>, Box<dyn Error>> {
    let deadline = settings.supervision.children.file_cache.deadline;
    let roots = roots_alone(&settings.file_cache, deadline)?;
    let place = |name: &str| settings.resources.keys().position(|known| known == name);
    let collection = |name: &str| place(name).map(CollectionId);
    let patterns = RoutePatterns::with_room(0);
    let root = |site| roots.add(site);
    let routes = &declared(settings, &patterns, None, root, collection)?;
    Ok(Explainer { routes, settings }.alone(asked).now_or_never())
}

fn show(told: &Explanation, json: bool) -> Exit {
    if !json {
        return print(&told.text());
    }
    match serde_json::to_string_pretty(told) {
        Ok(text) => print(&format!("{text}\n")),
        Err(error) => complain(&error, Exit::Failed),
    }
}
