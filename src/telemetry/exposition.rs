//! The two formats numbers are exposed in. The library writes `OpenMetrics`; the older text format, which `promtool` and
//! people with `curl` read, differs in how it names the families.

/// A format of `/metrics`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exposition {
    /// `OpenMetrics` 1.0, for those who ask for it: Prometheus does.
    OpenMetrics,
    /// The text format 0.0.4.
    Text,
}

impl Exposition {
    /// The value of `Content-Type` for this format.
    pub(crate) fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
        }
    }

    /// The same numbers in this format.
    pub(super) fn of(self, open_metrics: String) -> String {
        match self {
            Self::OpenMetrics => open_metrics,
            Self::Text => text(&open_metrics),
        }
    }
}

/// Families of counters are called as their samples are, what is information is a gauge, and nothing marks the end.
fn text(open_metrics: &str) -> String {
    let mut out = String::with_capacity(open_metrics.len());
    let mut help = None;
    for line in open_metrics.lines() {
        let family = line.strip_prefix("# TYPE ");
        let family = family.and_then(|family| family.split_once(' '));
        if let Some(told) = line.strip_prefix("# HELP ") {
            help = told.split_once(' ');
        } else if let Some((name, kind)) = family {
            let (suffix, kind) = match kind {
                "counter" => ("_total", "counter"),
                "info" => ("_info", "gauge"),
                "unknown" => ("", "untyped"),
                kind => ("", kind),
            };
            if let Some((_, help)) = help.take().filter(|(of, _)| *of == name) {
                out.extend(["# HELP ", name, suffix, " ", help, "\n"]);
            }
            out.extend(["# TYPE ", name, suffix, " ", kind, "\n"]);
        } else if !line.starts_with('#') {
            out.extend([line, "\n"]);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_of_the_text_format_are_called_as_their_samples() {
        let open = "# HELP a_b What runs.\n# TYPE a_b info\na_b_info{version=\"1\"} 1\n\
                    # HELP c Some.\n# TYPE c counter\nc_total 3\n\
                    # HELP d_seconds How long.\n# TYPE d_seconds gauge\n# UNIT d_seconds seconds\nd_seconds 0.5\n\
                    # TYPE e unknown\ne 1\n# EOF\n";
        let text = "# HELP a_b_info What runs.\n# TYPE a_b_info gauge\na_b_info{version=\"1\"} 1\n\
                    # HELP c_total Some.\n# TYPE c_total counter\nc_total 3\n\
                    # HELP d_seconds How long.\n# TYPE d_seconds gauge\nd_seconds 0.5\n\
                    # TYPE e untyped\ne 1\n";
        assert_eq!(Exposition::Text.of(open.to_owned()), text);
        assert_eq!(Exposition::OpenMetrics.of(open.to_owned()), open);
    }
}
