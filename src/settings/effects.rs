//! Finds settings that were written but have no effect. It is looked for in the settings as they were read, so that defaults count, too.

use globset::Glob;

use super::findings::Findings;
use super::listen::{AdminListen, Listen};
use super::{AutoCount, Settings};

/// Paths that a pattern for all files matches.
const ANY_FILES: [&str; 2] = ["a", "a/b.c/d.e"];

/// A key that may be written for nothing: the key, whether it is, and the reason.
type Idle = (&'static [&'static str], fn(&Settings) -> bool, &'static str);

/// The keys that depend on one other setting.
const IDLE: [Idle; 14] = [
    (
        &["server", "ipv6_only"],
        |settings| {
            let tcp = |listen: &Listen| matches!(listen, Listen::Tcp(at) if at.is_ipv6());
            let admin = matches!(settings.server.admin, AdminListen::Tcp(at) if at.is_ipv6());
            let mut public = settings.server.listen.iter().chain(&settings.tls.listen);
            !public.any(tcp) && !admin
        },
        "no address is one of IPv6",
    ),
    (
        &["server", "max_connections_per_peer"],
        |settings| match settings.server.max_connections_per_peer {
            AutoCount::Auto => false,
            AutoCount::Count(most) => most > settings.server.max_connections,
        },
        "it is more than server.max_connections",
    ),
    (
        &["server", "proxy_protocol"],
        |settings| settings.server.proxy_protocol && settings.server.trusted_proxies.is_empty(),
        "server.trusted_proxies names no proxy",
    ),
    (
        &["tls", "min_version"],
        |settings| settings.tls.listen.is_empty(),
        "tls.listen has no address",
    ),
    (
        &["tls", "handshake_timeout"],
        |settings| settings.tls.listen.is_empty(),
        "tls.listen has no address",
    ),
    (
        &["tls", "hsts"],
        |settings| settings.tls.listen.is_empty(),
        "tls.listen has no address",
    ),
    (
        &["tls", "redirect_port"],
        |settings| !settings.tls.redirect_http,
        "tls.redirect_http is off",
    ),
    (
        &["logging", "access_query"],
        |settings| !settings.logging.access,
        "logging.access is off",
    ),
    (
        &["logging", "file", "rotate"],
        |settings| settings.logging.file.is_none(),
        "logging.file.dir names no folder",
    ),
    (
        &["logging", "file", "keep"],
        |settings| settings.logging.file.is_none(),
        "logging.file.dir names no folder",
    ),
    (
        &["file_cache", "max_file"],
        |settings| settings.file_cache.max_file_bytes > settings.file_cache.budget_bytes,
        "it is more than file_cache.budget, and what is larger than that is not kept in memory",
    ),
    (
        &["storage", "archive_keep"],
        |settings| settings.storage.archive.is_none(),
        "storage.archive names no folder",
    ),
    (
        &["storage", "archive_sync"],
        |settings| settings.storage.archive.is_none(),
        "storage.archive names no folder",
    ),
    (
        &["storage", "archive_backlog"],
        |settings| settings.storage.archive.is_none(),
        "storage.archive names no folder",
    ),
];

/// Adds what has no effect to the warnings.
pub(super) fn check(settings: &Settings, found: &mut Findings) {
    for (key, is_idle, why) in IDLE {
        if is_idle(settings) {
            found.warn_of(key, format!("has no effect, since {why}"));
        }
    }
    let cache = &settings.file_cache;
    let keeps_none = cache.budget_bytes == 0 || cache.max_file_bytes == 0;
    for (prefix, route) in &settings.routes {
        let Some(folder) = route.target.folder() else {
            continue;
        };
        if keeps_none && !folder.compress.is_empty() {
            let problem = "has no effect, since no file is kept in memory, where it would be compressed: file_cache.budget or file_cache.max_file is 0";
            found.warn_of(&["route", prefix, "files", "compress"], problem);
        }
        let all = |pattern: &Glob| {
            // A name, or a part of one, does not match all; and making a matcher takes long.
            let named = pattern.glob().contains(char::is_alphanumeric);
            if named && !pattern.glob().contains('{') {
                return false;
            }
            let matcher = pattern.compile_matcher();
            ANY_FILES.iter().all(|path| matcher.is_match(path))
        };
        // The last one hides none.
        let before_others = route
            .cache
            .split_last()
            .map_or(&[][..], |(_, before)| before);
        let first = before_others.iter().position(|rule| all(&rule.pattern));
        let Some((rule, after)) = first.and_then(|n| route.cache.get(n..)?.split_first()) else {
            continue;
        };
        for idle in after {
            let (pattern, idle) = (written(&rule.pattern), written(&idle.pattern));
            let problem = format!(
                "the rule for {idle:?} has no effect, since {pattern:?} matches all files and is not shorter"
            );
            found.warn_of(&["route", prefix, "cache"], problem);
        }
    }
}

/// A pattern as it may have been written.
fn written(pattern: &Glob) -> String {
    let pattern = pattern.glob();
    let anywhere = pattern.strip_prefix("**/").map(str::to_owned);
    anywhere.unwrap_or_else(|| format!("/{pattern}"))
}
