//! From what is written to what is meant.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use super::raw;
use super::route_value::{error_status, glob};
use super::value;
use super::{
    Backoff, CacheRule, ChaosSettings, FileCacheSettings, FolderSettings, HandlerCount,
    LimitSettings, Listen, LogFileSettings, LogFormat, LogSettings, MaxRestarts, NotListen, Put,
    QueueSettings, Reserve, ResourceSettings, Rotation, RouteSettings, RuleSettings,
    ServerSettings, Settings, StorageSettings, Strategy, SupervisionSettings, TargetSettings,
};
use crate::record::{IdScheme, Schema};

/// The prefix that is served when no route is written, and its folder.
const DEFAULT_ROUTE: (&str, &str) = ("/", "public");
const DEFAULT_INDEX: &str = "index.html";

/// What one value can't be; the walk has told before, so this is a gap between the two.
type Unfit = String;

impl raw::Raw {
    /// `schemas` are those of resources whose records are not just any objects, by name.
    pub(super) fn settings(self, schemas: &BTreeMap<String, Schema>) -> Result<Settings, Unfit> {
        let resources = self.resource.into_iter().map(|(name, written)| {
            let schema = schemas.get(&name).cloned().unwrap_or_default();
            Ok::<_, Unfit>((name.clone(), written.resource(&name, schema)?))
        });
        Ok(Settings {
            server: self.server.settings()?,
            limits: self.limits.settings()?,
            logging: self.logging.settings()?,
            supervision: self.supervision.settings()?,
            file_cache: FileCacheSettings {
                budget_bytes: length(&self.file_cache.budget)?,
                max_file_bytes: length(&self.file_cache.max_file)?,
                revalidate: time(&self.file_cache.revalidate)?,
            },
            storage: StorageSettings {
                cache_bytes: bytes(&self.storage.cache)?,
                reserve: match self.storage.reserve.as_str() {
                    "auto" => Reserve::Auto,
                    size => Reserve::Bytes(bytes(size)?),
                },
                flush_limit: time(&self.storage.flush_limit)?,
                log_keep: self.storage.log_keep,
            },
            routes: routes(self.route)?,
            resources: resources.collect::<Result<_, _>>()?,
            chaos: ChaosSettings {
                enabled: self.chaos.enabled,
            },
        })
    }
}

fn routes(
    mut written: BTreeMap<String, raw::Route>,
) -> Result<BTreeMap<String, RouteSettings>, Unfit> {
    let (prefix, folder) = DEFAULT_ROUTE;
    if written.is_empty() {
        let files = Some(raw::Files {
            root: Some(folder.into()),
            index: None,
        });
        let route = raw::Route {
            files,
            ..raw::Route::default()
        };
        written.insert(prefix.to_owned(), route);
    }
    let written = written.into_iter();
    written
        .map(|(prefix, route)| Ok((prefix, route.settings()?)))
        .collect()
}

impl raw::Resource {
    fn resource(self, name: &str, schema: Schema) -> Result<ResourceSettings, Unfit> {
        let ids = match self.id.as_deref() {
            Some("sequence") => IdScheme::Sequence,
            Some("client") => IdScheme::Client,
            _ => IdScheme::Uuid,
        };
        let put = match self.put.as_deref() {
            Some("merge") => Put::Merge,
            _ => Put::Replace,
        };
        Ok(ResourceSettings {
            path: self.path.unwrap_or_else(|| format!("/{name}")),
            ids,
            schema: Arc::new(schema),
            put,
            upsert: self.upsert,
            accept: self.accept,
            delete_matching: self.delete_matching,
            if_match_required: self.if_match.as_deref() == Some("required"),
            rules: rules(self.headers, self.delay, self.max_in_flight)?,
        })
    }
}

impl raw::Route {
    fn settings(self) -> Result<RouteSettings, Unfit> {
        let files = self.files.unwrap_or_default();
        let root = files.root.ok_or("a route leads nowhere")?;
        let index = files.index.unwrap_or_else(|| DEFAULT_INDEX.to_owned());
        let mut cache: Vec<_> = self.cache.into_iter().collect();
        // The longest first; of two as long, the order is that of their letters, so that it is always the same.
        cache.sort_by_key(|(pattern, _)| std::cmp::Reverse(pattern.len()));
        let folder = FolderSettings {
            root,
            index,
            cache: cache
                .into_iter()
                .map(cache_rule)
                .collect::<Result<_, _>>()?,
            types: self.types,
        };
        let mut rules = rules(self.headers, self.delay, self.max_in_flight)?;
        for (status, page) in self.errors {
            let status = error_status(&status).ok_or_else(|| format!("{status:?} is no error"))?;
            rules.errors.insert(status, page);
        }
        Ok(RouteSettings {
            rules,
            target: TargetSettings::Files(folder),
        })
    }
}

fn rules(
    headers: BTreeMap<String, String>,
    delay: Option<String>,
    max_in_flight: Option<usize>,
) -> Result<RuleSettings, Unfit> {
    Ok(RuleSettings {
        headers,
        delay: delay.as_deref().map_or(Ok(Duration::ZERO), time)?,
        max_in_flight: max_in_flight.map(some).transpose()?,
        errors: BTreeMap::new(),
    })
}

fn cache_rule((pattern, value): (String, String)) -> Result<CacheRule, Unfit> {
    let pattern = glob(&pattern).ok_or_else(|| format!("{pattern:?} is no pattern"))?;
    Ok(CacheRule { pattern, value })
}

impl raw::Server {
    fn settings(self) -> Result<ServerSettings, Unfit> {
        let handlers = match self.handlers {
            raw::Handlers::Word(_) => HandlerCount::Auto,
            raw::Handlers::Count(count) => HandlerCount::Count(some(count)?),
        };
        let listen: Result<Vec<Listen>, NotListen> =
            self.listen.iter().map(|text| text.parse()).collect();
        Ok(ServerSettings {
            listen: listen.map_err(|error| error.to_string())?,
            admin: self.admin,
            data: self.data,
            handlers,
            max_connections: some(self.max_connections)?,
            drain: time(&self.drain)?,
            hosts: self
                .hosts
                .iter()
                .map(|host| host.to_ascii_lowercase())
                .collect(),
        })
    }
}

impl raw::Limits {
    fn settings(self) -> Result<LimitSettings, Unfit> {
        Ok(LimitSettings {
            body_bytes: length(&self.body)?,
            head_bytes: length(&self.headers)?,
            header_timeout: time(&self.header_timeout)?,
            request_timeout: time(&self.request_timeout)?,
            idle_timeout: time(&self.idle_timeout)?,
            stall_timeout: time(&self.stall_timeout)?,
        })
    }
}

impl raw::Logging {
    fn settings(self) -> Result<LogSettings, Unfit> {
        let rotate = match self.file.rotate.as_str() {
            "minutely" => Rotation::Minutely,
            "hourly" => Rotation::Hourly,
            "daily" => Rotation::Daily,
            "never" => Rotation::Never,
            other => return Err(format!("{other:?} is no rotation")),
        };
        let format = if self.format == "json" {
            LogFormat::Json
        } else {
            LogFormat::Text
        };
        let keep = some(self.file.keep)?;
        let file = self
            .file
            .dir
            .map(|dir| LogFileSettings { dir, rotate, keep });
        Ok(LogSettings {
            level: self.level,
            format,
            access: self.access,
            file,
        })
    }
}

impl raw::Supervision {
    fn settings(self) -> Result<SupervisionSettings, Unfit> {
        let strategy = match self.strategy.as_str() {
            "one_for_one" => Strategy::OneForOne,
            "one_for_all" => Strategy::OneForAll,
            "rest_for_one" => Strategy::RestForOne,
            other => return Err(format!("{other:?} is no strategy")),
        };
        Ok(SupervisionSettings {
            strategy,
            max_restarts: MaxRestarts {
                count: self.max_restarts.count,
                within: time(&self.max_restarts.within)?,
            },
            backoff: Backoff {
                first: time(&self.backoff.first)?,
                factor: self.backoff.factor,
                max: time(&self.backoff.max)?,
                jitter: self.backoff.jitter,
            },
            start_timeout: time(&self.start_timeout)?,
            storage: self.children.storage.settings()?,
            file_cache: self.children.file_cache.settings()?,
        })
    }
}

impl raw::ChildLimits {
    fn settings(self) -> Result<QueueSettings, Unfit> {
        Ok(QueueSettings {
            queue: some(self.queue)?,
            queue_bytes: some(length(&self.queue_bytes)?)?,
            deadline: time(&self.deadline)?,
        })
    }
}

fn time(text: &str) -> Result<Duration, Unfit> {
    value::duration(text).ok_or_else(|| format!("{text:?} is no duration"))
}

fn bytes(text: &str) -> Result<u64, Unfit> {
    value::size(text).ok_or_else(|| format!("{text:?} is no size"))
}

fn length(text: &str) -> Result<usize, Unfit> {
    usize::try_from(bytes(text)?).map_err(|_| format!("{text:?} is too large for this machine"))
}

fn some(count: usize) -> Result<NonZeroUsize, Unfit> {
    NonZeroUsize::new(count).ok_or_else(|| "0 is too few".to_owned())
}
